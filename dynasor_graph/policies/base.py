"""Policy: decides whether a program branches, continues or terminates. Pure: value in, value out."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from dynasor_graph.types import JSON, Verdict

__all__ = [
    "Decision",
    "Policy",
    "Probe",
    "Progress",
    "RULES",
    "Rule",
    "branch",
    "go_on",
    "terminate",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One forced answer on the way.

    Attributes:
        at: Tokens the chain of thought had when it was probed.
        answer: Class number of the answer (equal answers share it), or None.
        text: The whole response, where hesitation shows.
        confidence: Probability of the response, the geometric mean over its tokens, in [0, 1]; None
            if it was not asked for.
    """

    at: int
    answer: int | None
    text: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """All that a policy may know of a program.

    Attributes:
        algorithm: Name of the algorithm.
        knob: How far the algorithm's own scale has come: finished branches, iterations; for a
            chain of thought, its tokens.
        cap: Where that scale ends.
        votes: How many finished branches gave each distinct answer, most first; of equals the
            earlier seen first.
        empty: Finished branches without an answer.
        order: Class number of each finished branch's answer (equal answers share it), in the order in
            which they finished; None for a branch without one.
        lengths: Tokens of each finished branch, in the same order.
        logprobs: Mean log-probability of each finished branch's tokens, in the same order; None where
            it was not asked for.
        probes: Forced answers, oldest first (chain of thought).
        rewards: Rewards of finished paths, each in [0, 1] (search).
        groups: Least group confidence of each finished branch, in nats, in the same order as `order`;
            None where it was not asked for (see `confidence`).
        tokens: Tokens generated so far, of every kind.
        mean_tokens: Mean tokens of a finished branch; 0 before the first.
    """

    algorithm: str = ""
    knob: int = 0
    cap: int
    votes: tuple[int, ...] = ()
    empty: int = 0
    order: tuple[int | None, ...] = ()
    lengths: tuple[int, ...] = ()
    logprobs: tuple[float | None, ...] = ()
    probes: tuple[Probe, ...] = ()
    rewards: tuple[float, ...] = ()
    groups: tuple[float | None, ...] = ()
    tokens: int = 0
    mean_tokens: float = 0.0

    @property
    def remaining(self) -> int:
        """Knob steps between here and the cap."""
        return max(0, self.cap - self.knob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a policy said, and why.

    Attributes:
        verdict: `continue`: go on within `width`. `branch`: this round is over, open one up to
            `width`. `terminate`: the answer is settled.
        width: How far the knob may go before the policy wants to be asked again.
        rule: Which rule spoke.
        evidence: The value it measured, or None if it did not measure.
        threshold: What the value was compared with, or None.
        saved: Tokens not spent against the cap, estimated from this program's own mean.
        warning: Set if the rule was used where its threshold does not belong.
        parts: The decisions that a combination was made of.
    """

    verdict: Verdict
    width: int
    rule: str
    evidence: float | None = None
    threshold: float | None = None
    saved: int = 0
    warning: str | None = None
    parts: tuple[Decision, ...] = field(default=())

    @property
    def margin(self) -> float | None:
        """Evidence less threshold; at or above 0 the rule is satisfied."""
        if self.evidence is None or self.threshold is None:
            return None
        return self.evidence - self.threshold

    def to_json(self) -> JSON:
        """The form in traces and streams, without what is not set."""
        row: JSON = {"verdict": self.verdict, "width": self.width, "rule": self.rule}
        if self.evidence is not None:
            row["evidence"] = round(self.evidence, 6)
        if self.threshold is not None:
            row["threshold"] = self.threshold
        if (margin := self.margin) is not None:
            row["margin"] = round(margin, 6)
        if self.saved:
            row["saved"] = self.saved
        if self.warning:
            row["warning"] = self.warning
        if self.parts:
            row["parts"] = [part.to_json() for part in self.parts]
        return row


class Policy(Protocol):
    """Anything that decides. `decide` is pure: no clock, no I/O, no hidden state."""

    def decide(self, progress: Progress, /) -> Decision: ...


RULES: dict[str, type[Rule]] = {}
"""Rule name -> class. A subclass of `Rule` enters itself."""


class Rule(BaseModel):
    """A policy that is a value: frozen, compared by content, written as JSON.

    Each concrete rule has a field `rule` that holds its name; the rest are its parameters. To add
    a rule of your own, subclass and write `decide`; it can then be named like the built-in ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Make the rule known by its name, a user's own rules too."""
        super().__pydantic_init_subclass__(**kwargs)
        if "rule" in inspect.get_annotations(cls):  # its own name, not one that it inherits
            RULES[str(cls.model_fields["rule"].default)] = cls

    def reads(self) -> frozenset[str]:
        """What the rule needs to see of a program; empty if nothing.

        Of `votes` (with `empty` and the knob), `order`, `lengths`, `logprobs`, `rewards`, `groups` (the
        confidence of a branch's tokens), `probes`, and `confidence` (of probes). A rule that says
        "votes" alone is given equal verdicts on equal votes.
        """
        return frozenset({"votes"})

    def bar(self, progress: Progress, /) -> float | None:
        """The least group confidence, in nats, that a running branch must keep; None for none.

        Asked with each verdict, by algorithms that give `groups`; a branch below it is ended at once.
        """
        return None

    def branch_tokens(self, progress: Progress, /) -> int | None:
        """Tokens after which the next branch is not worth finishing, >= 1; None for no limit.

        Asked with each verdict, where branches are whole answers; a longer one is ended, without one.
        """
        return None

    def decide(self, progress: Progress, /) -> Decision:
        """The verdict on this progress."""
        raise TypeError(f"{type(self).__name__} does not say how to decide")


def terminate(
    rule: str, progress: Progress, *, evidence: float | None, threshold: float | None = None
) -> Decision:
    """The answer is settled."""
    saved = round(progress.remaining * (progress.mean_tokens or 1)) if progress.knob else 0
    return Decision(
        verdict="terminate",
        width=progress.knob,
        rule=rule,
        evidence=evidence,
        threshold=threshold,
        saved=saved,
    )


def go_on(
    rule: str,
    progress: Progress,
    *,
    until: int | None = None,
    evidence: float | None = None,
    threshold: float | None = None,
) -> Decision:
    """Go on, up to `until` (default: the cap)."""
    return Decision(
        verdict="continue",
        width=progress.cap if until is None else min(until, progress.cap),
        rule=rule,
        evidence=evidence,
        threshold=threshold,
    )


def branch(
    rule: str, progress: Progress, *, evidence: float | None, threshold: float | None = None
) -> Decision:
    """This round did not settle it: open the next, up to the cap."""
    return Decision(
        verdict="branch", width=progress.cap, rule=rule, evidence=evidence, threshold=threshold
    )
