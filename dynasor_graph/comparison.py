"""Comparison: the same questions under several policies: accuracy, net tokens, latency, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from typing_extensions import TypedDict

from dynasor_graph.budget import Usage
from dynasor_graph.errors import InputError
from dynasor_graph.results import Result

__all__ = ["Arm", "Row", "compare", "paired_bootstrap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One policy's results on a set of questions.

    Attributes:
        algorithm: Name of the algorithm.
        policy: The policy as a person would write it.
        results: One for each question; the same questions in every arm of an algorithm.
        trace: Where the events of its programs are, if they were recorded.
    """

    algorithm: str
    policy: str
    results: Sequence[Result] = field(repr=False)
    trace: Path | None = None

    @property
    def usage(self) -> Usage:
        """Tokens of all its programs."""
        return sum((result.usage for result in self.results), Usage())


class Row(TypedDict):
    """One line of a comparison. Tokens are sums over the questions, latencies seconds.

    `saved` is the share of the baseline's net tokens that this arm did not spend. The difference of
    accuracy to the baseline comes with a paired bootstrap interval (95 %); None without gold.
    """

    algorithm: str
    policy: str
    questions: int
    accuracy: float | None
    net_tokens: int
    gross_tokens: int
    saved: float
    accuracy_difference: float | None
    difference_low: float | None
    difference_high: float | None
    agreement: float
    latency_mean_s: float
    latency_p90_s: float
    usage: dict[str, int]


def paired_bootstrap(
    differences: Sequence[float], *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of paired differences, one for each question.

    Args:
        differences: This arm's score less the baseline's, question by question.
        resamples: Bootstrap samples.
        level: Probability that the interval covers.
        seed: Of the resampling: equal input gives an equal interval.
    """
    values = np.asarray(differences, dtype=float)
    if values.size == 0:
        raise ValueError("there is nothing to resample: no question has a gold answer")
    picks = np.random.default_rng(seed).integers(0, values.size, (resamples, values.size))
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(values[picks].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def compare(arms: Sequence[Arm]) -> list[Row]:
    """One row an arm; the first arm of each algorithm is the baseline of its others.

    Raises:
        InputError: Two arms of one algorithm were not asked the same questions, or one none.
    """
    first: dict[str, Arm] = {}
    for arm in arms:
        if not arm.results:
            raise InputError(f"{arm.algorithm}: {arm.policy!r} was not asked a single question")
        first.setdefault(arm.algorithm, arm)
    return [_row(arm, first[arm.algorithm]) for arm in arms]


def _row(arm: Arm, base: Arm) -> Row:
    mine = {result.id: result for result in arm.results}
    theirs = {result.id: result for result in base.results}
    if mine.keys() != theirs.keys():
        raise InputError(
            f"{arm.algorithm}: {arm.policy!r} and {base.policy!r} were not asked the same questions"
        )
    pairs = [(mine[key], theirs[key]) for key in theirs]
    scored = [(a, b) for a, b in pairs if a.correct is not None and b.correct is not None]
    differences = [float(bool(a.correct)) - float(bool(b.correct)) for a, b in scored]
    low, high = paired_bootstrap(differences) if scored else (None, None)
    latencies = np.array([result.latency_s for result in arm.results])
    return Row(
        algorithm=arm.algorithm,
        policy=arm.policy,
        questions=len(pairs),
        accuracy=float(np.mean([bool(a.correct) for a, _ in scored])) if scored else None,
        net_tokens=arm.usage.net,
        gross_tokens=arm.usage.gross,
        saved=1 - arm.usage.net / max(1, base.usage.net),
        accuracy_difference=float(np.mean(differences)) if scored else None,
        difference_low=low,
        difference_high=high,
        agreement=float(np.mean([a.answer == b.answer for a, b in pairs])),
        latency_mean_s=float(latencies.mean()),
        latency_p90_s=float(np.percentile(latencies, 90)),
        usage=arm.usage.lines(),
    )
