"""Group: the arms of one algorithm, and the numbers that are drawn of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dynasor_graph.comparison import Arm, Row, paired_bootstrap
from dynasor_graph.errors import InputError
from dynasor_graph.report.plots import Bar, Point, Series
from dynasor_graph.results import Result

__all__ = ["Group", "groups_of"]

_STEPS = re.compile(r"-s(\d+)-")
_RESAMPLES = 2_000  # for error bars; the table's interval has its own
_CLASS = 8  # questions that a class of difficulty should have at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The arms of one algorithm, the baseline first, and their rows of the comparison."""

    algorithm: str
    arms: Sequence[Arm]
    rows: Sequence[Row]

    @property
    def questions(self) -> list[Result]:
        """The baseline's results, in the natural order of their ids."""
        return sorted(self.arms[0].results, key=lambda r: _natural(r.id))

    @property
    def scored(self) -> bool:
        """Whether there is an accuracy; an arm of which every program failed may still have none."""
        return any(row["accuracy"] is not None for row in self.rows)

    def points(self) -> list[Point]:
        """Accuracy and net tokens of each arm that has them, with intervals over the questions."""
        return [
            Point(
                arm.policy,
                _interval([100 * float(bool(r.correct)) for r in self._graded(arm)]),
                _interval([r.usage.net for r in arm.results]),
            )
            for arm, row in zip(self.arms, self.rows, strict=True)
            if row["accuracy"] is not None
        ]

    def bars(self) -> list[Bar]:
        """Tokens a question of each arm, by the lines of the ledger."""
        return [
            Bar(arm.policy, {k: n / len(arm.results) for k, n in asdict(arm.usage).items()})
            for arm in self.arms
        ]

    def difficulty(self) -> tuple[list[str], list[Series]] | None:
        """Classes of steps and each arm over them; None if ids do not tell, or there is one class."""
        steps = {r.id: int(m[1]) for r in self.questions if (m := _STEPS.search(r.id))}
        if len(steps) < len(self.questions):
            return None
        classes = _classes(steps)
        if len(classes) < 2:
            return None
        return list(classes), [self._series(arm, classes) for arm in self.arms]

    def _series(self, arm: Arm, classes: Mapping[str, set[str]]) -> Series:
        graded = self._graded(arm)
        return Series(
            arm.policy,
            [
                _mean([100 * float(bool(r.correct)) for r in graded if r.id in ids])
                for ids in classes.values()
            ]
            if self.scored
            else None,
            [_mean([r.usage.net for r in arm.results if r.id in ids]) for ids in classes.values()],
        )

    def _graded(self, arm: Arm) -> list[Result]:
        """What the comparison's accuracy is the mean of: graded here and in the baseline."""
        known = {r.id for r in self.arms[0].results if r.correct is not None}
        return [r for r in arm.results if r.correct is not None and r.id in known]


def groups_of(arms: Sequence[Arm], rows: Sequence[Row]) -> list[Group]:
    """The arms by algorithm, in the order in which they come.

    Raises:
        InputError: There is no arm, an arm without results, or the rows are another comparison's.
    """
    if not arms or not all(arm.results for arm in arms):
        raise InputError("there is nothing to report: a comparison needs at least one question")
    if [(a.algorithm, a.policy) for a in arms] != [(r["algorithm"], r["policy"]) for r in rows]:
        raise InputError("the rows belong to other arms: make them with `compare(arms)`")
    return [
        Group(
            algorithm=name,
            arms=[arm for arm in arms if arm.algorithm == name],
            rows=[row for row in rows if row["algorithm"] == name],
        )
        for name in dict.fromkeys(arm.algorithm for arm in arms)
    ]


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    return (_mean(values), *paired_bootstrap(values, resamples=_RESAMPLES))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "q9" before "q10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _classes(steps: Mapping[str, int]) -> dict[str, set[str]]:
    """Label -> ids, as many classes as still have enough questions each."""
    low, high = min(steps.values()), max(steps.values())
    width = next(
        w
        for w in range(1, high - low + 2)
        if len(steps) >= _CLASS * -(-(high - low + 1) // w) or w > high - low
    )
    found: dict[str, set[str]] = {}
    for start in range(low, high + 1, width):
        end = min(start + width - 1, high)
        ids = {name for name, n in steps.items() if start <= n <= end}
        if ids:
            found[str(start) if start == end else f"{start}\N{EN DASH}{end}"] = ids
    return found
