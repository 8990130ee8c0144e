"""Value of computation: another branch only if it is worth its tokens.

Votes are not all that finished branches tell. A fitted model reads every signal that is there
(votes, log-probabilities, lengths, rewards) as one number: the probability that the leading answer is
the one to return. A table, measured on recorded programs, then says how much further branches raise
that probability per 1,000 tokens. `dynasor-graph calibrate` fits both.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from dynasor_graph.policies.base import Decision, Progress, Rule, go_on, terminate
from dynasor_graph.policies.votes import leader_probability

__all__ = ["SIGNALS", "Leader", "Value", "leader_of", "signals"]

Goal = Literal["right", "same"]

SIGNALS: Final[Mapping[str, tuple[str, ...]]] = {
    "votes": ("lead", "share", "margin", "branches", "distinct", "empty"),
    "logprobs": ("surer", "surest", "sure"),
    "lengths": ("long", "longer"),
    "rewards": ("best", "rival", "rewarded"),
}
"""What a model may read, by the column of `Progress` that it comes from; see `signals`."""

_LIMIT: Final = 9.0
"""Odds of about 1 in 10,000: more certainty than that is not believed."""


class Leader(NamedTuple):
    """The answer that would be returned now.

    Attributes:
        answer: Its class; None if no branch has an answer.
        votes: How many branches gave it.
        rival: Votes of the strongest other answer.
    """

    answer: int | None
    votes: int
    rival: int


def leader_of(progress: Progress, vote: Literal["majority", "best"]) -> Leader:
    """Who leads: the most votes, or the highest reward; of equals the earlier seen.

    Needs `order`, and for "best" also `rewards`.
    """
    counts: dict[int, int] = {}
    best: int | None = None
    top = -1.0
    for i, number in enumerate(progress.order):
        if number is None:
            continue
        counts[number] = counts.get(number, 0) + 1
        if vote == "best" and progress.rewards[i] > top:
            best, top = number, progress.rewards[i]
    if not counts:
        return Leader(None, 0, 0)
    answer = max(counts, key=counts.__getitem__) if best is None else best
    others = (count for number, count in counts.items() if number != answer)
    return Leader(answer, counts[answer], max(others, default=0))


def signals(progress: Progress, leader: Leader, kinds: Sequence[str]) -> list[float]:
    """The signals of these kinds, in the order of `SIGNALS`; all 0 without an answer.

    * votes: log-odds of `leader_probability`; the leader's share; its margin over the root of the
      number of branches; log of that number; distinct answers and branches without one, as shares.
    * logprobs: mean log-probability of the leader's branches against all, of its surest, of all.
    * lengths: log of the mean length; the same of the leader's branches against all.
    * rewards: log-odds of the leader's highest reward, of the highest other, the mean of all.
    """
    if leader.answer is None:
        return [0.0] * sum(len(SIGNALS[kind]) for kind in kinds)
    mine = [i for i, number in enumerate(progress.order) if number == leader.answer]
    n = len(progress.order)
    found: list[float] = []
    if "votes" in kinds:
        voters = n - progress.empty
        found += [
            log_odds(leader_probability(leader.votes, leader.rival)),
            leader.votes / voters,
            (leader.votes - leader.rival) / math.sqrt(n),
            math.log(n),
            len(progress.votes) / voters,
            progress.empty / n,
        ]
    if "logprobs" in kinds:
        sure = [0.0 if value is None else value for value in progress.logprobs]
        mean = math.fsum(sure) / n
        own = [sure[i] for i in mine]
        found += [math.fsum(own) / len(own) - mean, max(own), mean]
    if "lengths" in kinds:
        mean = max(1.0, sum(progress.lengths) / n)
        own_mean = max(1.0, sum(progress.lengths[i] for i in mine) / len(mine))
        found += [math.log(mean), math.log(own_mean / mean)]
    if "rewards" in kinds:
        odds = [log_odds(value) for value in progress.rewards]
        others = (
            odds[i]
            for i, number in enumerate(progress.order)
            if number not in (None, leader.answer)
        )
        found += [max(odds[i] for i in mine), max(others, default=-_LIMIT), math.fsum(odds) / n]
    return found


def log_odds(probability: float) -> float:
    """Log-odds, cut at 1 in 10,000."""
    if probability <= 0:
        return -_LIMIT
    if probability >= 1:
        return _LIMIT
    return min(_LIMIT, max(-_LIMIT, math.log(probability / (1 - probability))))


class Value(Rule):
    """Stop when no further branch is worth its tokens: ours, fitted by `dynasor-graph calibrate`."""

    rule: Literal["value"] = "value"
    price: float = Field(
        0.01, gt=0, description="1,000 tokens must gain more probability than this"
    )
    vote: Literal["majority", "best"] = Field("majority", description="how the answer is chosen")
    kinds: tuple[str, ...] = Field(min_length=1, description="signals that the model reads")
    bias: float
    weights: tuple[float, ...]
    edges: tuple[float, ...] = Field(description="where the table's columns of probability part")
    worth: tuple[tuple[float, ...], ...] = Field(
        min_length=1, description="gain per 1,000 tokens: a row a branch, a column a probability"
    )
    ages: tuple[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(ge=0)]], ...] = Field(
        (),
        description="pairs: length of a branch over the program's mean, and what its further tokens "
        "gain over those of a new branch",
    )
    spends: tuple[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(ge=0)]], ...] = Field(
        (), description="pairs: price, mean tokens of a program at it; prices grow, tokens fall"
    )

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        for kind in self.kinds:
            if kind not in SIGNALS:
                raise ValueError(f"kinds: {kind!r} is none of {', '.join(SIGNALS)}")
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds: one comes twice: {', '.join(self.kinds)}")
        if self.vote == "best" and "rewards" not in self.kinds:
            raise ValueError("vote 'best' needs 'rewards' among the kinds")
        count = sum(len(SIGNALS[kind]) for kind in self.kinds)
        if len(self.weights) != count:
            raise ValueError(f"weights: {count} belong to these kinds, got {len(self.weights)}")
        if list(self.edges) != sorted(self.edges):
            raise ValueError("edges must grow")
        for (low, more), (high, less) in pairwise(self.spends):
            if high <= low or less >= more:
                raise ValueError("spends: prices must grow, and tokens must fall")
        if any(len(row) != len(self.edges) + 1 for row in self.worth):
            raise ValueError(f"worth: each row needs {len(self.edges) + 1} columns")
        return self

    def reads(self) -> frozenset[str]:
        """Votes in their order, and what its model was fitted on."""
        return frozenset({"votes", "order", *self.kinds})

    @property
    def expected(self) -> float:
        """Mean tokens of a program at this price, on the questions it was fitted on."""
        prices, tokens = zip(*self.spends, strict=True)
        return float(np.interp(math.log(self.price), np.log(prices), tokens))

    def priced(self, tokens: float) -> Value:
        """The same policy at the price at which a program spends so many tokens in the mean."""
        prices, spent = zip(*self.spends, strict=True)
        price = np.exp(np.interp(-tokens, [-x for x in spent], np.log(prices)))
        return self.model_copy(update={"price": float(price)})

    def probability(self, progress: Progress) -> float:
        """The model's probability that the leading answer is the one to return."""
        found = signals(progress, leader_of(progress, self.vote), self.kinds)
        z = self.bias + math.fsum(w * x for w, x in zip(self.weights, found, strict=True))
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, z))))

    def branch_tokens(self, progress: Progress, /) -> int | None:
        """Where a new branch is worth more for each token than to go on with one that is so late.

        Lengths may have long tails: who is late has most of the way before him, and is seldom right.
        """
        late = next((age for age, factor in self.ages if factor < 1), None)
        if late is None or not progress.lengths:
            return None
        return max(1, math.ceil(late * sum(progress.lengths) / len(progress.lengths)))

    def decide(self, progress: Progress, /) -> Decision:
        """At each branch that has ended, from the first on; beyond the table's end it stops."""
        if not progress.knob:
            return go_on(self.rule, progress)
        if progress.knob > len(self.worth):
            return terminate(self.rule, progress, evidence=0.0, threshold=-self.price)
        column = bisect.bisect_left(self.edges, self.probability(progress))
        gain = self.worth[progress.knob - 1][column]
        # Evidence at or above its threshold is what ends a program: both with their sign turned.
        verdict = terminate if gain <= self.price else go_on
        return verdict(self.rule, progress, evidence=-gain, threshold=-self.price)
