"""The numbers of the model card, from answers that were sampled: pure functions of plain values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

import numpy as np

__all__ = ["Answered", "auc", "calibration_error", "reward_quality", "spread", "thirds", "thoughts"]

_BINS: Final = 10
Row = dict[str, float]


@dataclass(slots=True)
class Answered:
    """A problem and the direct answers that the model gave.

    Attributes:
        steps: The number of lines of its solution.
        family: The family it belongs to.
        gold: The right answer.
        answers: What each sample answered; None where it did not.
        lengths: Tokens of each sample.
        half: The reward of each sample halfway through its lines; empty without a reward model.
        end: The reward of each sample at its end.
    """

    steps: int
    family: str
    gold: str
    answers: list[str | None]
    lengths: list[int]
    half: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)

    @property
    def right(self) -> list[bool]:
        """Which samples are right."""
        return [answer == self.gold for answer in self.answers]

    @property
    def majority(self) -> bool:
        """Whether the answer most samples gave is right; ties go to the one seen first."""
        given = [answer for answer in self.answers if answer is not None]
        return bool(given) and Counter(given).most_common(1)[0][0] == self.gold

    def row(self) -> Row:
        """What a table says about this problem."""
        row = {
            "single": fmean(self.right),
            "majority": float(self.majority),
            "any": float(any(self.right)),
            "misleading": float(any(self.right) and not self.majority),
            "unanswered": fmean(answer is None for answer in self.answers),
            "tokens": fmean(self.lengths),
        }
        if self.end:
            row["best"] = float(self.right[int(np.argmax(self.end))])
        return row


def spread(answered: Sequence[Answered]) -> dict[str, Row]:
    """A row for each number of steps, then for each family, then for all."""
    groups: dict[str, list[Answered]] = {}
    for one in answered:
        groups.setdefault(f"steps {one.steps}", []).append(one)
    for one in answered:
        groups.setdefault(one.family, []).append(one)
    groups["all"] = list(answered)
    return {name: _mean([one.row() for one in group]) for name, group in groups.items()}


def thirds(answered: Sequence[Answered]) -> dict[str, Row]:
    """A row for the short, the middle and the long third of the numbers of steps."""
    most = max(one.steps for one in answered)
    groups: dict[str, list[Row]] = {"short third": [], "middle third": [], "long third": []}
    names = list(groups)
    for one in answered:
        groups[names[3 * (2 * one.steps - 1) // (2 * most)]].append(one.row())
    return {name: _mean(rows) for name, rows in groups.items() if rows}


def auc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The chance that a right sample scores above a wrong one, 0 to 1; ties count half."""
    score, truth = np.asarray(scores), np.asarray(right, dtype=bool)
    _, rank, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = (np.cumsum(count) - (count - 1) / 2)[rank]
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    above = middle[truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def calibration_error(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The expected calibration error: 10 bins of equal width, weighted by their size."""
    score, truth = np.asarray(scores), np.asarray(right, dtype=float)
    bins = np.minimum((score * _BINS).astype(int), _BINS - 1)
    gaps = [
        (bins == b).mean() * abs(score[bins == b].mean() - truth[bins == b].mean())
        for b in range(_BINS)
        if (bins == b).any()
    ]
    return float(sum(gaps))


def reward_quality(answered: Sequence[Answered]) -> Row:
    """How well rewards tell right samples from wrong ones, halfway and at the end."""
    right = [flag for one in answered for flag in one.right]
    half = [score for one in answered for score in one.half]
    end = [score for one in answered for score in one.end]
    # The same, but only between samples of one question: difficulty cannot help there.
    mixed = [one for one in answered if 0 < sum(one.right) < len(one.right)]
    return {
        "auc half": auc(half, right),
        "auc end": auc(end, right),
        "auc half, same question": _average([auc(one.half, one.right) for one in mixed]),
        "auc end, same question": _average([auc(one.end, one.right) for one in mixed]),
        "ece half": calibration_error(half, right),
        "ece end": calibration_error(end, right),
        "samples": float(len(right)),
    }


def thoughts(texts: Sequence[str], golds: Sequence[str], answers: Sequence[str | None]) -> Row:
    """What reasoning traces do after their first attempt.

    Args:
        texts: The traces.
        golds: The right answers.
        answers: What the traces answered.

    Returns:
        Shares of all traces, but "repaired" (of those whose first attempt was wrong) and "broken"
        (of those whose first attempt was right). "settled" is how much of a trace comes after its
        final answer was first reached.
    """
    attempts = [re.findall(r"So I get (\d+)\.", text) for text in texts]
    first = [bool(a) and a[0] == gold for a, gold in zip(attempts, golds, strict=True)]
    final = [answer == gold for answer, gold in zip(answers, golds, strict=True)]
    wrong = [last for was, last in zip(first, final, strict=True) if not was]
    good = [last for was, last in zip(first, final, strict=True) if was]
    settled = [
        1 - text.find(f"So I get {answer}.") / len(text)
        for text, answer in zip(texts, answers, strict=True)
        if answer is not None and f"So I get {answer}." in text
    ]
    return {
        "right": fmean(final),
        "first attempt wrong": 1 - fmean(first),
        "repaired": _average(wrong),
        "broken": 1 - _average(good),
        "attempts": fmean(map(len, attempts)),
        "settled": _average(settled),
        "unanswered": fmean(answer is None for answer in answers),
    }


def _average(values: Sequence[float]) -> float:
    """The mean; not a number where there is nothing to average."""
    return fmean(values) if values else float("nan")


def _mean(rows: Sequence[Row]) -> Row:
    return {name: fmean(row[name] for row in rows) for name in rows[0]} | {"questions": len(rows)}
