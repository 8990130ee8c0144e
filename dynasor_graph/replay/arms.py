"""Arms: what a policy came to over the questions of a recording, and the lines of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from dynasor_graph.comparison import paired_bootstrap

__all__ = ["Floats", "Replayed", "Study", "StudyRow"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One policy in one window: columns over the questions, each the mean over their orders.

    Attributes:
        policy: As a person would write it.
        window: Branches in flight.
        right: Share of orders with a right answer; NaN without gold.
        agrees: Share of orders with the full budget's answer.
        tokens: Net tokens.
        samples: Finished branches.
        latency: Time to the answer, in tokens of one stream.
    """

    policy: str
    window: int
    right: Floats = field(repr=False)
    agrees: Floats = field(repr=False)
    tokens: Floats = field(repr=False)
    samples: Floats = field(repr=False)
    latency: Floats = field(repr=False)


class StudyRow(TypedDict):
    """One line of a study. Tokens and latencies are means a question.

    The difference of accuracy to the full budget in the same window, and `agreement` with its
    answer, come with paired bootstrap intervals over the questions (95 %); None without gold.
    `spent` is the share of the full budget's net tokens. `latency` is in tokens of one stream, and
    `slowdown` is against all branches of the full budget at once.
    """

    policy: str
    window: int
    questions: int
    accuracy: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    agreement: float
    samples: float
    tokens: float
    spent: float
    latency: float
    slowdown: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Policies in windows over the same questions.

    Attributes:
        questions: Ids of the questions: what the columns of the arms run over.
        groups: Of each question the set and the model that it belongs to.
        arms: The full budget first in each window.
        parallel: Latency of each question's full budget with all its branches at once.
    """

    questions: Sequence[str]
    groups: Sequence[str]
    arms: Sequence[Replayed]
    parallel: Floats = field(repr=False)

    def rows(self, group: str | None = None) -> list[StudyRow]:
        """A line for each arm, over all questions or those of one group."""
        full: dict[int, Replayed] = {}
        for arm in self.arms:
            full.setdefault(arm.window, arm)
        chosen = np.array([group in (None, name) for name in self.groups])
        parallel = float(self.parallel[chosen].mean())
        return [_row(arm, full[arm.window], chosen, parallel) for arm in self.arms]


def _row(arm: Replayed, base: Replayed, chosen: NDArray[np.bool_], parallel: float) -> StudyRow:
    known = chosen & ~np.isnan(arm.right)
    difference = (arm.right - base.right)[known]
    low, high = paired_bootstrap(difference, resamples=2000) if known.any() else (None, None)
    return StudyRow(
        policy=arm.policy,
        window=arm.window,
        questions=int(chosen.sum()),
        accuracy=float(arm.right[known].mean()) if known.any() else None,
        difference=float(difference.mean()) if known.any() else None,
        difference_low=low,
        difference_high=high,
        agreement=float(arm.agrees[chosen].mean()),
        samples=float(arm.samples[chosen].mean()),
        tokens=float(arm.tokens[chosen].mean()),
        spent=float(arm.tokens[chosen].sum() / max(1.0, base.tokens[chosen].sum())),
        latency=float(arm.latency[chosen].mean()),
        slowdown=float(arm.latency[chosen].mean() / max(1.0, parallel)),
    )
