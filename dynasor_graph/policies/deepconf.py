"""DeepConf: end branches that lose confidence, and the program once confident ones agree.

Fu et al., "Deep think with confidence", 2025, online. The first branches run to their end and set a
bar; each later branch is ended as soon as a group of its tokens (see `confidence`) falls below it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from dynasor_graph.policies.base import Decision, Progress, Rule, go_on, terminate

__all__ = ["DeepConf"]


class DeepConf(Rule):
    """End branches that lose confidence, and stop when the sure ones agree (DeepConf, online).

    The authors call `keep` 0.1 "low" and 0.9 "high". Of the branches that set the bar those below it
    do not count. Where the released code never stops a program early, the paper does: by `consensus`.
    """

    rule: Literal["deepconf"] = "deepconf"
    warm_up: int = Field(16, ge=2, description="branches that run to their end and set the bar")
    keep: float = Field(
        0.1, gt=0, le=1, description="share of them that is above the bar: low 0.1, high 0.9"
    )
    consensus: float | None = Field(
        0.95, gt=0, le=1, description="least weighted share of the leader; null never stops"
    )

    def reads(self) -> frozenset[str]:
        """Votes in their order, and the least group confidence of each."""
        return frozenset({"votes", "order", "groups"})

    def bar(self, progress: Progress, /) -> float | None:
        """The percentile of the first branches' scores that `keep` of them are above."""
        first = [value for value in progress.groups[: self.warm_up] if value is not None]
        if progress.knob < self.warm_up or not first:
            return None
        return float(np.percentile(first, 100 * (1 - self.keep)))

    def decide(self, progress: Progress, /) -> Decision:
        """At the end of the first branches, and at each one after that."""
        if progress.knob < self.warm_up:
            return go_on(self.rule, progress, until=self.warm_up)
        bar = self.bar(progress)
        if bar is None or self.consensus is None:
            return go_on(self.rule, progress)
        weights: dict[int, float] = {}
        for answer, score in zip(progress.order, progress.groups, strict=True):
            if answer is not None and score is not None and score >= bar:
                weights[answer] = weights.get(answer, 0.0) + score
        total = math.fsum(weights.values())
        share = max(weights.values()) / total if total else 0.0
        verdict = terminate if share >= self.consensus else go_on
        return verdict(self.rule, progress, evidence=share, threshold=self.consensus)
