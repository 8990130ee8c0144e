"""Rules that give a program its budget: the paper's allocation policies and what it compares with.

Even and Length are its baselines (App. F.2). Skyline (App. G.4) and Pareto (App. B.2) map Certaindex
to a budget. The paper gives neither the curves nor how to fit them, so their points are parameters:
measure them on your own questions. As JSON: `{"rule": "skyline", "points": [[0.4, 10], [0.7, 5]]}`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from dynasor_graph.certaindex import EPSILON, entropy_certaindex
from dynasor_graph.policies.base import Decision, Progress, Rule, branch, go_on, terminate

__all__ = ["Even", "Length", "Pareto", "Skyline"]

Point = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[int, Field(ge=0)]]
"""Certaindex at least this, and the budget that goes with it."""


class Even(Rule):
    """Stop at the same knob on every question: the paper's even baseline with a smaller cap (SC@k)."""

    rule: Literal["even"] = "even"
    at: int = Field(8, ge=1, description="the knob at which every question stops")

    def decide(self, progress: Progress, /) -> Decision:
        """Counts branches, with an answer or without; nothing is started beyond the knob."""
        if progress.knob < self.at:
            return go_on(self.rule, progress, until=self.at)
        return terminate(
            self.rule, progress, evidence=float(progress.knob), threshold=float(self.at)
        )


class Length(Rule):
    """Measure once, the tokens at the detection knob; stop if they are few (paper's length baseline).

    The paper says neither which length it compares with nor in which direction, so `most` has no
    default, and `stop` is our guess: who thinks briefly is taken to be sure.
    """

    rule: Literal["length"] = "length"
    most: int = Field(ge=0, description="tokens that are still short")
    at: int = Field(5, ge=1, description="the detection knob: finished branches")
    stop: Literal["short", "long"] = Field(
        "short", description="whom to stop: up to `most` tokens, or above"
    )

    def reads(self) -> frozenset[str]:
        """The knob, and tokens: equal votes may have different ones."""
        return frozenset({"votes", "lengths"})

    def decide(self, progress: Progress, /) -> Decision:
        """Goes on to the detection knob, decides there, and then never again."""
        if progress.knob < self.at:
            return go_on(self.rule, progress, until=self.at)
        if progress.knob > self.at:
            return go_on(self.rule, progress)
        short = progress.tokens <= self.most
        verdict = terminate if short == (self.stop == "short") else branch
        return verdict(
            self.rule, progress, evidence=float(progress.tokens), threshold=float(self.most)
        )


class _Envelope(Rule):
    """A budget for each Certaindex: a step function that never rises."""

    points: tuple[Point, ...] = Field(
        min_length=1, description="pairs: Certaindex at least this, budget"
    )
    at: int = Field(5, ge=1, description="first knob that is measured: finished branches")

    @field_validator("points")
    @classmethod
    def _check_points(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        for (low, more), (high, less) in pairwise(points):
            if high <= low:
                raise ValueError(
                    f"Certaindex must rise from point to point, got {low}, then {high}"
                )
            if less > more:
                raise ValueError(
                    f"who is more certain cannot get more: {more} at {low}, then {less} at {high}"
                )
        return points

    def _budget(self, certaindex: float) -> int | None:
        """The budget of the last point that this Certaindex reaches; None if it reaches none."""
        reached = (budget for least, budget in self.points if certaindex >= least - EPSILON)
        return min(reached, default=None)

    def _least(self, small: Callable[[int], bool]) -> float | None:
        """The Certaindex from which on the budget is so small; None if it never is."""
        return next((least for least, budget in self.points if small(budget)), None)


class Skyline(_Envelope):
    """Spend as many branches as a curve gives for the Certaindex measured (paper, App. G.4).

    Once (`every=0`) is the paper's "initial-step curve fit"; again and again, its "dynamic curve
    fitting". Below the first point a program may spend its whole cap.
    """

    rule: Literal["skyline"] = "skyline"
    every: int = Field(
        0, ge=0, description="branches between two measurements; 0 measures once, at `at`"
    )

    def reads(self) -> frozenset[str]:
        """Votes; to measure once, their order too: which branches were the first."""
        return frozenset({"votes"} if self.every else {"votes", "order"})

    def budget(self, certaindex: float, cap: int) -> int:
        """The knob at which a program of this Certaindex ends."""
        budget = self._budget(certaindex)
        return cap if budget is None else min(budget, cap)

    def decide(self, progress: Progress, /) -> Decision:
        """Measured again, it stops only where it is measured."""
        if progress.knob < self.at:
            return go_on(self.rule, progress, until=self.at)
        if self.every and progress.knob != self.at and progress.knob % self.every:
            following = progress.knob + self.every - progress.knob % self.every
            return go_on(self.rule, progress, until=following)
        value = self._measure(progress)
        # From this Certaindex on, what was spent is enough.
        limit = self._least(lambda budget: budget <= progress.knob)
        if limit is not None and value >= limit - EPSILON:
            return terminate(self.rule, progress, evidence=value, threshold=limit)
        until = self.budget(value, progress.cap)
        return go_on(self.rule, progress, until=until, evidence=value, threshold=limit)

    def _measure(self, progress: Progress) -> float:
        if self.every:
            return entropy_certaindex(progress.votes, progress.empty)
        # The first to finish stay the first: the value is the same at every later knob.
        counts = Counter(progress.order[: self.at])
        empty = counts.pop(None, 0)
        return entropy_certaindex([*counts.values()], empty)


class Pareto(_Envelope):
    """Stop when the tokens still worth spending are fewer than a branch needs (paper, App. B.2).

    The points map Certaindex to a remaining budget of tokens. Below the first point a program may
    spend its whole cap.
    """

    rule: Literal["pareto"] = "pareto"

    def reads(self) -> frozenset[str]:
        """Votes, and how long a branch is."""
        return frozenset({"votes", "lengths"})

    def decide(self, progress: Progress, /) -> Decision:
        """At every branch; nothing is started beyond what the budget pays for."""
        if progress.knob < self.at:
            return go_on(self.rule, progress, until=self.at)
        mean = progress.mean_tokens
        if mean <= 0:
            return go_on(self.rule, progress)
        value = entropy_certaindex(progress.votes, progress.empty)
        budget = self._budget(value)
        # The Certaindex from which on a budget is too small for a whole branch.
        limit = self._least(lambda tokens: tokens < mean)
        if budget is None:
            return go_on(self.rule, progress, evidence=value, threshold=limit)
        if budget < mean:
            return terminate(self.rule, progress, evidence=value, threshold=limit)
        until = progress.knob + int(budget / mean)
        return go_on(self.rule, progress, until=until, evidence=value, threshold=limit)
