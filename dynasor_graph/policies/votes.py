"""Rules over many branches: the paper's Certaindex thresholds, Beta, lossless, fixed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from scipy.special import betainc

from dynasor_graph.certaindex import entropy_certaindex, is_certain, reward_certaindex
from dynasor_graph.policies.base import Decision, Progress, Rule, branch, go_on, terminate

__all__ = ["Beta", "Certaindex", "EveryCertaindex", "Fixed", "Lossless", "leader_probability"]


class Fixed(Rule):
    """Spend the whole cap on every question: the paper's even baseline."""

    rule: Literal["fixed"] = "fixed"

    def reads(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def decide(self, progress: Progress, /) -> Decision:
        """Never stops early."""
        return go_on(self.rule, progress)


class Certaindex(Rule):
    """Measure once, at the detection knob; stop if every indicator passes (paper, Table 3)."""

    rule: Literal["certaindex"] = "certaindex"
    threshold: float | None = Field(0.7, ge=0, le=1, description="of normalised entropy")
    at: int = Field(5, ge=2, description="the detection knob: finished branches")
    reward_threshold: float | None = Field(None, ge=0, le=1)
    reward: Literal["mean", "max"] = Field("mean", description="how rewards are put together")

    def reads(self) -> frozenset[str]:
        """Votes, rewards or both, as thresholds are set."""
        limits = {"votes": self.threshold, "rewards": self.reward_threshold}
        return frozenset(name for name, limit in limits.items() if limit is not None)

    def decide(self, progress: Progress, /) -> Decision:
        """Goes on to the detection knob, decides there, and then never again."""
        if progress.knob < self.at:
            return go_on(self.rule, progress, until=self.at)
        if progress.knob > self.at:
            return go_on(self.rule, progress)
        measured, limits = self._measure(progress)
        # The indicator closest to its limit is the one that decided.
        name = min(limits, key=lambda key: measured[key] - limits[key], default=None)
        evidence = measured[name] if name else None
        limit = limits[name] if name else None
        if limits and is_certain(measured, limits):
            return terminate(self.rule, progress, evidence=evidence, threshold=limit)
        return branch(self.rule, progress, evidence=evidence, threshold=limit)

    def _measure(self, progress: Progress) -> tuple[dict[str, float], dict[str, float]]:
        measured: dict[str, float] = {}
        limits: dict[str, float] = {}
        if self.threshold is not None:
            measured["entropy"] = entropy_certaindex(progress.votes, progress.empty)
            limits["entropy"] = self.threshold
        if self.reward_threshold is not None:
            measured["reward"] = reward_certaindex(progress.rewards, self.reward)
            limits["reward"] = self.reward_threshold
        return measured, limits


class EveryCertaindex(Rule):
    """Measure again every few branches, with one threshold (paper, App. G.4: 5-step, single-step).

    The threshold of Table 3 was chosen at 5 branches. The same number means less at a larger knob
    (a 10-10 tie among 20 scores 0.77), so a decision at another knob carries a warning.
    """

    rule: Literal["certaindex-every"] = "certaindex-every"
    threshold: float = Field(0.7, ge=0, le=1)
    every: int = Field(5, ge=1, description="branches between two measurements")
    start: int = Field(3, ge=2, description="first knob that may be measured")
    calibrated_at: int | None = Field(5, ge=2, description="knob that the threshold was chosen for")

    def decide(self, progress: Progress, /) -> Decision:
        """Measures whenever the knob is a multiple of `every`, from `start` on."""
        if progress.knob < self.start or progress.knob % self.every:
            return go_on(self.rule, progress)
        value = entropy_certaindex(progress.votes, progress.empty)
        if not is_certain({"entropy": value}, {"entropy": self.threshold}):
            return go_on(self.rule, progress, evidence=value, threshold=self.threshold)
        decision = terminate(self.rule, progress, evidence=value, threshold=self.threshold)
        if self.calibrated_at in (None, progress.knob) or value == 1.0:
            return decision
        warning = f"threshold chosen at knob {self.calibrated_at}, used at {progress.knob}"
        return Decision(
            verdict="terminate",
            width=decision.width,
            rule=decision.rule,
            evidence=value,
            threshold=self.threshold,
            saved=decision.saved,
            warning=warning,
        )


def leader_probability(first: int, second: int) -> float:
    """P(the leading answer is the more probable of the two), uniform prior (Adaptive-Consistency).

    `1 - I_0.5(first + 1, second + 1)`, the regularised incomplete beta function.

    Args:
        first: Votes of the leading answer.
        second: Votes of the runner-up; 0 if unanimous.
    """
    return float(1.0 - betainc(first + 1, second + 1, 0.5))


class Beta(Rule):
    """Stop when the leader very probably stays ahead of the runner-up (Adaptive-Consistency)."""

    rule: Literal["beta"] = "beta"
    confidence: float = Field(0.95, ge=0.5, lt=1)
    start: int = Field(2, ge=1, description="least number of answers")

    def decide(self, progress: Progress, /) -> Decision:
        """Tested at every answer; unanimous answers stop at the fourth with 0.95."""
        if sum(progress.votes) < self.start:
            return go_on(self.rule, progress)
        second = progress.votes[1] if len(progress.votes) > 1 else 0
        value = leader_probability(progress.votes[0], second)
        verdict = terminate if value >= self.confidence else go_on
        return verdict(self.rule, progress, evidence=value, threshold=self.confidence)


class Lossless(Rule):
    """Stop when the branches that are left cannot change the majority's answer any more."""

    rule: Literal["lossless"] = "lossless"

    def decide(self, progress: Progress, /) -> Decision:
        """The lead has to be larger than the number of branches that are left."""
        first, second = (*progress.votes, 0, 0)[:2]
        left = progress.remaining
        verdict = terminate if first - second > left else go_on
        return verdict(self.rule, progress, evidence=first - second, threshold=left + 1)
