"""Pairs: answers that people found the same or not, and the threshold that tells them apart.

Two mistakes are possible: two answers that differ become one (a false merge), or two that are the same
become two (a false split). The threshold is chosen on one half of the pairs and measured on the other,
each rate with its exact interval (Clopper and Pearson 1934).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest

from dynasor_graph.answers import Embedding, Judge, Kind
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.types import JSON

__all__ = ["Pair", "Rate", "Separation", "read_pairs", "separate"]

LEAST = 10
"""Pairs of each label that are needed."""


class Pair(NamedTuple):
    """Two answers, and whether they are the same."""

    a: str
    b: str
    same: bool


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval, all in [0, 1]."""

    wrong: int
    of: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a kind of answers tells pairs apart.

    Attributes:
        kind: The kind, with the threshold that was chosen if it has one.
        merges: Different pairs that it takes for the same, of those not chosen on.
        splits: Equal pairs that it takes for different.
        close: Share of the pairs within the kind's margin of the threshold.
        fitted: Pairs that the threshold was chosen on; 0 if there was none to choose.
    """

    kind: JSON
    merges: Rate
    splits: Rate
    close: float
    fitted: int

    def to_json(self) -> JSON:
        """As plain JSON."""
        return asdict(self)


def read_pairs(path: Path | str) -> list[Pair]:
    """Read JSON lines `{"a": text, "b": text, "same": true or false}`.

    Raises:
        InputError: There is no such file, a line is no pair, or there are too few of one label.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    found = [
        _pair(line, f"{path}:{number}")
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if line.strip()
    ]
    same = sum(pair.same for pair in found)
    if min(same, len(found) - same) < LEAST:
        raise InputError(
            f"{path}: {same} pairs that are the same and {len(found) - same} that are not: at least "
            f"{LEAST} of each are needed, and a hundred for narrow intervals"
        )
    return found


def _pair(line: bytes, where: str) -> Pair:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: not a JSON object, but {type(row).__name__}")
    for name, type_, what in (("a", str, "a text"), ("b", str, "a text"), ("same", bool, "a bool")):
        if not isinstance(row.get(name), type_):
            raise InputError(f"{where}: the field {name!r} must be {what}, got {row.get(name)!r}")
    return Pair(row["a"], row["b"], row["same"])


def separate(
    pairs: Sequence[Pair], kind: Kind, *, confidence: float = 0.95, seed: int = 0
) -> Separation:
    """Choose the kind's threshold, if it has one, and measure how often it is wrong.

    Args:
        pairs: With both labels.
        kind: What makes two answers the same.
        confidence: Of each interval, in (0, 1).
        seed: Of the halves.

    Raises:
        ConfigError: The kind is a judge, which needs an engine.
    """
    if isinstance(kind, Judge):
        raise ConfigError("answers: a judge asks the engine of a program: there is none here")
    scores = np.array(asyncio.run(_margins(pairs, kind)))
    same = np.array([pair.same for pair in pairs])
    test = np.ones(len(pairs), bool)
    by = 0.0
    if isinstance(kind, Embedding):
        test = _half(same, seed)
        by = _cut(scores[~test], same[~test])
        kind = kind.model_copy(update={"threshold": round(kind.threshold + by, 4)})
    merged = scores >= by
    return Separation(
        kind=kind.model_dump(mode="json", exclude_defaults=True) | {"kind": kind.kind},
        merges=_rate(merged[test & ~same], confidence),
        splits=_rate(~merged[test & same], confidence),
        close=float(np.mean(np.abs(scores - by)[test] < kind.margin)),
        fitted=int(np.sum(~test)),
    )


async def _margins(pairs: Sequence[Pair], kind: Kind) -> list[float]:
    """How sure the kind is that each pair is the same, at its present threshold."""

    async def form(text: str) -> Any:
        return await kind.form(text)

    async with asyncio.TaskGroup() as group:
        tasks = [[group.create_task(form(text)) for text in pair[:2]] for pair in pairs]
    found = []
    for a, b in ((one.result(), other.result()) for one, other in tasks):
        if a is None or b is None:
            found.append(-1.0)
        elif a == b:
            found.append(1.0)
        elif (differs := kind.differs(a, b)) is None:
            found += await kind.compare(a, [[b]])
        else:
            found.append(-1.0 if differs else 1.0)
    return found


def _half(same: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """One half of the pairs at random, with its share of both labels."""
    draw = np.random.default_rng(seed)
    chosen = np.zeros(len(same), bool)
    for label in (True, False):
        places = draw.permutation(np.flatnonzero(same == label))
        chosen[places[: (len(places) + 1) // 2]] = True
    return chosen


def _cut(scores: np.ndarray[Any, Any], same: np.ndarray[Any, Any]) -> float:
    """The cut with the least sum of both error rates; of equals the one in the widest gap."""
    levels = np.unique(scores)
    cuts = np.concatenate([[levels[0]], (levels[1:] + levels[:-1]) / 2])
    gaps = np.concatenate([[0.0], np.diff(levels)])
    wrong = [np.mean(scores[~same] >= cut) + np.mean(scores[same] < cut) for cut in cuts]
    best = min(range(len(cuts)), key=lambda i: (round(float(wrong[i]), 9), -gaps[i]))
    return float(cuts[best])


def _rate(wrong: np.ndarray[Any, Any], confidence: float) -> Rate:
    count, of = int(wrong.sum()), len(wrong)
    interval = binomtest(count, of).proportion_ci(confidence)
    return Rate(count, of, count / of, float(interval.low), float(interval.high))
