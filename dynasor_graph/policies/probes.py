"""Rules over one chain of thought: agreement of its probed answers, and their confidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from dynasor_graph.certaindex import EPSILON, probe_certaindex
from dynasor_graph.policies.base import Decision, Probe, Progress, Rule, go_on, terminate

__all__ = ["HESITATION", "ProbeConfidence", "ProbeConsistency", "hesitates"]

HESITATION = ("wait", "hold", "but", "okay", "no", "hmm")
"""The words that the paper's code looks for; here they count as whole words only."""


def hesitates(text: str, words: tuple[str, ...] = HESITATION) -> bool:
    """Whether a response holds one of the words, as a whole word, in any case."""
    if not words:
        return False
    pattern = r"\b(?:" + "|".join(map(re.escape, words)) + r")\b"
    return re.search(pattern, text, re.IGNORECASE) is not None


class ProbeConsistency(Rule):
    """Stop when the last probed answers agree (paper, section 2.1: `C_k >= tau`)."""

    rule: Literal["probe-consistency"] = "probe-consistency"
    window: int = Field(3, ge=1, description="probes that are compared")
    agreement: float = Field(1.0, gt=0, le=1, description="tau: least share of them that agree")
    min_tokens: int = Field(0, ge=0, description="tokens of thought before a stop is allowed")
    hesitation: Literal["omit", "fail", "ignore"] = Field(
        "omit", description="omit the probe (paper), let the window fail (its code), or ignore"
    )
    words: tuple[str, ...] = HESITATION

    def reads(self) -> frozenset[str]:
        """Probes."""
        return frozenset({"probes"})

    def decide(self, progress: Progress, /) -> Decision:
        """Looks at the newest probes, oldest first."""
        value = self._measure(progress)
        settled = value >= self.agreement - EPSILON and progress.probes[-1].at >= self.min_tokens
        verdict = terminate if settled else go_on
        return verdict(self.rule, progress, evidence=value, threshold=self.agreement)

    def _measure(self, progress: Progress) -> float:
        answers = [
            (probe.answer, self.hesitation != "ignore" and hesitates(probe.text, self.words))
            for probe in progress.probes
        ]
        if self.hesitation == "omit":
            answers = [pair for pair in answers if not pair[1]]
        elif any(doubt for _, doubt in answers[-self.window :]):
            return 0.0
        return probe_certaindex([answer for answer, _ in answers], self.window)


class ProbeConfidence(Rule):
    """Stop when the model is confident of its probed answer (CGR, DEER).

    Confidence is the geometric mean of the probabilities of the response's tokens. DEER takes the
    arithmetic mean from the second token on (for Qwen3 the geometric one), and wants more than 0.95.
    """

    rule: Literal["probe-confidence"] = "probe-confidence"
    confidence: float = Field(0.95, gt=0, le=1, description="least confidence of a probe")
    window: int = Field(1, ge=1, description="newest probes that must have it, and agree")
    min_tokens: int = Field(0, ge=0, description="tokens of thought before a stop is allowed")
    checks: int | None = Field(
        None, ge=1, description="most probes that are looked at (DEER: 10); null for all"
    )

    def reads(self) -> frozenset[str]:
        """Probes, and the confidence of each."""
        return frozenset({"probes", "confidence"})

    def decide(self, progress: Progress, /) -> Decision:
        """Looks at the newest probes; the least confident of them decides."""
        if self.checks is not None and len(progress.probes) > self.checks:
            return go_on(self.rule, progress)
        value = self._measure(progress.probes[-self.window :])
        if value is None:
            return go_on(self.rule, progress)
        settled = value >= self.confidence and progress.probes[-1].at >= self.min_tokens
        verdict = terminate if settled else go_on
        return verdict(self.rule, progress, evidence=value, threshold=self.confidence)

    def _measure(self, newest: Sequence[Probe]) -> float | None:
        """None where it is not known; 0 where there is no one answer that it could be of."""
        known = [probe.confidence for probe in newest if probe.confidence is not None]
        if len(newest) < self.window or len(known) < self.window:
            return None
        answer = newest[-1].answer
        agree = answer is not None and all(probe.answer == answer for probe in newest)
        return min(known) if agree else 0.0
