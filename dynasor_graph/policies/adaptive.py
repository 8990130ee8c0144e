"""Rules over votes that other people published, each under its own name and with its own defaults.

Adaptive-Consistency (Aggarwal et al. 2023), ESC (Li et al. 2024), the doubling rule of its_hub, the
triple gate of ATTCC, short-m@k (Hassid et al. 2025), and Best of infinity (Komiyama et al. 2026).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from pydantic import Field
from scipy.special import gammainc, gammaln

from dynasor_graph.certaindex import entropy
from dynasor_graph.policies.base import Decision, Progress, Rule, go_on, terminate

__all__ = [
    "BayesFactor",
    "Dirichlet",
    "Doubling",
    "EqualWindow",
    "MajorityShare",
    "ShortFirst",
    "TripleGate",
    "VoteEntropy",
    "largest_probability",
]

_GRID: Final = 2000
_TOP: Final = 5
"""Adaptive-Consistency's code looks at so many answers; the others hardly matter."""
_LEAST: Final = 1e-9
"""No probability is taken to be closer to 1: the integral is not more exact."""


def largest_probability(weights: Sequence[float]) -> float:
    """P(the first share is the largest) under a Dirichlet distribution.

    With x_i independent gamma variables, that is the integral of the density of x_1 times the chance of
    all others to be smaller; taken numerically, so that it is the same each time.

    Args:
        weights: The parameters; at least one, each at least 0.05.
    """
    first, *others = weights
    # Past 12 standard deviations there is nothing to add.
    top = first + 12 * math.sqrt(first) + 12
    # Below 1 the density has no bound at 0; with steps that are finer there it has one.
    power = max(1.0, 1 / first)
    step = np.log((np.arange(_GRID) + 0.5) / _GRID)
    log_x = math.log(top) + power * step
    x = np.exp(log_x)
    log_density = (first - 1) * log_x - x - gammaln(first)
    weight = np.exp(log_density + math.log(top * power / _GRID) + (power - 1) * step)
    # Equal ones are many (answers with one vote each), and looked at once.
    below = [gammainc(other, x) ** count for other, count in Counter(others).items()]
    return float(min(1.0, np.sum(weight * np.prod(below, axis=0))))


class Dirichlet(Rule):
    """Stop when the leader very probably has the largest share of all answers (Adaptive-Consistency)."""

    rule: Literal["dirichlet"] = "dirichlet"
    confidence: float = Field(0.95, ge=0.5, lt=1)
    start: int = Field(2, ge=1, description="least number of answers")

    def decide(self, progress: Progress, /) -> Decision:
        """Over the top five answers, one count added to each; a unanimous answer has a rival of none."""
        if sum(progress.votes) < self.start:
            return go_on(self.rule, progress)
        votes = [*progress.votes, 0][: max(2, min(_TOP, len(progress.votes)))]
        value = largest_probability([vote + 1 for vote in votes])
        verdict = terminate if value >= self.confidence else go_on
        return verdict(self.rule, progress, evidence=value, threshold=self.confidence)


class BayesFactor(Rule):
    """Stop when the evidence for the leader is large: a Bayes factor (Best of infinity).

    P is exact here, not counted in 1,000 draws. The first answer alone has a factor of 14, so tests
    start at the second. The authors' code gives the answer not seen yet a weight of 1.3, counts it
    as one of the m, and tests the first answer too: a factor of 10 takes it three equal answers.
    """

    rule: Literal["boinf"] = "boinf"
    factor: float = Field(10.0, gt=0, description="least Bayes factor: m * P / (1 - P)")
    start: int = Field(2, ge=1, description="least number of answers")
    unseen: float = Field(0.3, ge=0.05, description="weight of answers not seen yet")

    def decide(self, progress: Progress, /) -> Decision:
        """P: the leader's share is the largest; m: distinct answers."""
        if sum(progress.votes) < self.start or not progress.votes:
            return go_on(self.rule, progress)
        chance = largest_probability([*(vote + 1 for vote in progress.votes), self.unseen])
        value = len(progress.votes) * chance / max(_LEAST, 1 - chance)
        verdict = terminate if value >= self.factor else go_on
        return verdict(self.rule, progress, evidence=value, threshold=self.factor)


class VoteEntropy(Rule):
    """Stop when the answers have little entropy for their number (Adaptive-Consistency, entropy)."""

    rule: Literal["vote-entropy"] = "vote-entropy"
    threshold: float = Field(0.75, ge=0, le=1, description="of H / log(distinct answers), at most")

    def decide(self, progress: Progress, /) -> Decision:
        """From two answers on; unanimous answers count as if one more had differed."""
        if sum(progress.votes) < 2:
            return go_on(self.rule, progress)
        votes = [*progress.votes, 1] if len(progress.votes) == 1 else progress.votes
        value = entropy(votes) / math.log(len(votes))
        verdict = terminate if value <= self.threshold else go_on
        return verdict(self.rule, progress, evidence=value, threshold=self.threshold)


class MajorityShare(Rule):
    """Stop when the leader has a large share of the answers (Adaptive-Consistency, majority)."""

    rule: Literal["majority-share"] = "majority-share"
    share: float = Field(0.8, gt=0, le=1)
    start: int = Field(2, ge=1, description="least number of answers")

    def decide(self, progress: Progress, /) -> Decision:
        """From two answers on."""
        return _by_share(self.rule, progress, self.share, sum(progress.votes) >= self.start)


class EqualWindow(Rule):
    """Stop when all answers of a window are equal (ESC).

    ESC returns the answer of that window; here the majority of all answers wins, as always.
    """

    rule: Literal["esc"] = "esc"
    window: int = Field(5, ge=2, description="answers of a window; windows do not overlap")

    def reads(self) -> frozenset[str]:
        """Votes in their order."""
        return frozenset({"votes", "order"})

    def decide(self, progress: Progress, /) -> Decision:
        """Whenever another window is full."""
        last = progress.order[-self.window :]
        if not progress.order or len(progress.order) % self.window:
            return go_on(self.rule, progress)
        equal = last.count(last[-1]) if last[-1] is not None else 0
        verdict = terminate if equal == self.window else go_on
        return verdict(self.rule, progress, evidence=float(equal), threshold=float(self.window))


class Doubling(Rule):
    """Stop after a batch whose leader has a large share; each batch doubles (its_hub, adaptive)."""

    rule: Literal["doubling"] = "doubling"
    first: int = Field(2, ge=1, description="answers of the first batch")
    share: float = Field(0.75, gt=0, le=1)

    def decide(self, progress: Progress, /) -> Decision:
        """At 2, 6, 14, 30 answers, and so on; nothing is started beyond a batch."""
        end = batch = self.first
        while end < progress.knob:
            batch *= 2
            end += batch
        if progress.knob < end:
            return go_on(self.rule, progress, until=end)
        decision = _by_share(self.rule, progress, self.share, tested=True)
        if decision.verdict == "terminate":
            return decision
        following = end + 2 * batch
        return go_on(
            self.rule, progress, until=following, evidence=decision.evidence, threshold=self.share
        )


class TripleGate(Rule):
    """Stop when there are enough answers, enough votes and a large enough share (ATTCC)."""

    rule: Literal["triple-gate"] = "triple-gate"
    answers: int = Field(4, ge=1)
    votes: int = Field(3, ge=1, description="of the leader")
    share: float = Field(0.7, gt=0, le=1)
    step: int = Field(2, ge=1, description="tested whenever so many more answers are there")

    def decide(self, progress: Progress, /) -> Decision:
        """Every second answer."""
        count, leader = sum(progress.votes), max(progress.votes, default=0)
        open_ = count >= self.answers and leader >= self.votes and count % self.step == 0
        return _by_share(self.rule, progress, self.share, open_)


class ShortFirst(Rule):
    """Stop as soon as a few branches have finished: the shortest of those in flight (short-m@k).

    It does what it promises only where the window holds all branches at a time.
    """

    rule: Literal["short"] = "short"
    finished: int = Field(3, ge=1, description="branches that may finish: m of k")

    def decide(self, progress: Progress, /) -> Decision:
        """Counts branches, with an answer or without."""
        verdict = terminate if progress.knob >= self.finished else go_on
        return verdict(
            self.rule, progress, evidence=float(progress.knob), threshold=float(self.finished)
        )


def _by_share(rule: str, progress: Progress, share: float, tested: bool) -> Decision:
    if not tested or not progress.votes:
        return go_on(rule, progress)
    value = progress.votes[0] / sum(progress.votes)
    verdict = terminate if value >= share else go_on
    return verdict(rule, progress, evidence=value, threshold=share)
