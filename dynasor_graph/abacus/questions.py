"""Questions: draw problems of a chosen family and length, for benchmarks and for training."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dynasor_graph.abacus import amounts, schedule
from dynasor_graph.abacus.chat import THINK, chat
from dynasor_graph.abacus.problem import Problem
from dynasor_graph.abacus.writing import direct, think
from dynasor_graph.errors import ConfigError, UnknownName

__all__ = [
    "FAMILIES",
    "MAX_STEPS",
    "TRAINED_STEPS",
    "Example",
    "Question",
    "example",
    "make",
    "questions",
]

FAMILIES: Final[Mapping[str, Callable[[random.Random, int, float], Problem]]] = MappingProxyType(
    {amounts.FAMILY: amounts.draw, schedule.FAMILY: schedule.draw}
)
"""The name of each family of problems, and the function that draws one: from a source of
randomness, a number of steps, and how frequent relations are that are easily misread (training: 1).
"""
MAX_STEPS: Final = 20
TRAINED_STEPS: Final = 16
"""The bundled model saw problems of up to so many steps, and long ones seldom."""

_EASY: Final = 9
_TRICKIER: Final = 0.4
_RATIO: Final = 0.87
"""In training, problems of n + 1 steps are this much as frequent as those of n."""
_AMOUNTS: Final = 0.6
_DIRECT: Final = 0.6
_THINK: Final = 0.25
_FORCED_THOUGHTS: Final = 0.75
_LENGTHS: Final = tuple(range(1, TRAINED_STEPS + 1))
_FREQUENCIES: Final = tuple(_RATIO**steps for steps in _LENGTHS)


@dataclass(frozen=True, slots=True)
class Question:
    """A problem as a benchmark holds it.

    Attributes:
        id: Its name, unique in the list it came in: ``<family>-s<steps>-<position>``.
        question: The text to ask.
        answer: The true answer, in decimal digits.
        steps: The number of lines of a correct solution.
        family: The name of its family.
    """

    id: str
    question: str
    answer: str
    steps: int
    family: str


@dataclass(frozen=True, slots=True)
class Example:
    """One training example.

    Attributes:
        prompt: What the model is given, in chat format.
        completion: What it learns to write.
        forced: Where the completion is to be cut anywhere and forced: the answer that the writer
            would have come to. Else None.
    """

    prompt: str
    completion: str
    forced: str | None = None


def make(rng: random.Random, steps: int, family: str = amounts.FAMILY) -> Problem:
    """Draw a problem of an exact length, as a benchmark asks it.

    From 10 steps on, relations that are easily misread are more frequent than they were in training,
    by two fifths for each step: long problems are hard for two reasons.

    Args:
        rng: The source of randomness; it fixes the problem.
        steps: How many lines a correct solution has, 1 to `MAX_STEPS`.
        family: One of `FAMILIES`.

    Raises:
        ConfigError: `steps` is outside its range.
        UnknownName: There is no such family.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ConfigError(f"steps must be between 1 and {MAX_STEPS}, got {steps}")
    if family not in FAMILIES:
        raise UnknownName("family", family, FAMILIES)
    return FAMILIES[family](rng, steps, 1 + _TRICKIER * max(0, steps - _EASY))


def questions(
    n: int,
    *,
    seed: int,
    steps: tuple[int, int] = (1, TRAINED_STEPS),
    families: Sequence[str] = tuple(FAMILIES),
) -> list[Question]:
    """Draw different questions, spread evenly over lengths and families, shortest first.

    Args:
        n: How many questions, at least 1.
        seed: Fixes the questions; the same arguments give the same list on every machine.
        steps: The least and the greatest length, both included, within 1 to `MAX_STEPS`.
        families: The families, which take turns.

    Returns:
        The questions. Where `n` is a multiple of the number of lengths, all of them get equally
        many; else their counts differ by one at most.

    Raises:
        ConfigError: `n`, `steps` or `families` is outside its range.
        UnknownName: There is no such family.
    """
    if n < 1:
        raise ConfigError(f"n must be at least 1, got {n}")
    low, high = steps
    if not 1 <= low <= high <= MAX_STEPS:
        raise ConfigError(
            f"steps must be (low, high) with 1 <= low <= high <= {MAX_STEPS}, got {steps}"
        )
    if not families:
        raise ConfigError("families must name at least one family")
    for family in families:
        if family not in FAMILIES:
            raise UnknownName("family", family, FAMILIES)
    rng = random.Random(seed)
    span = high - low + 1
    asked: set[str] = set()
    drawn = []
    for position in range(n):
        # The middle of the position's share of the range, so that few questions cover it too.
        length = low + (2 * position + 1) * span // (2 * n)
        family = families[position % len(families)]
        problem = make(rng, length, family)
        while problem.question in asked:
            problem = make(rng, length, family)
        asked.add(problem.question)
        name = f"{family}-s{length}-{position:04d}"
        drawn.append(Question(name, problem.question, str(problem.answer), length, family))
    return drawn


def example(rng: random.Random) -> Example:
    """Draw one training example, written by the careless writer.

    Six in ten are direct answers, a quarter reasoning traces, the rest traces or answers to be cut
    and forced. Three in five are of the family "amounts". Long problems are rarer than short ones.
    """
    style = rng.random()
    family = amounts.FAMILY if rng.random() < _AMOUNTS else schedule.FAMILY
    problem = FAMILIES[family](rng, rng.choices(_LENGTHS, _FREQUENCIES)[0], 1.0)
    forced = style >= _DIRECT + _THINK
    if style < _DIRECT or (forced and rng.random() >= _FORCED_THOUGHTS):
        text, answer = direct(problem, rng)
        return Example(chat(problem.question), text, str(answer) if forced else None)
    text, answer = think(problem, rng)
    return Example(chat(problem.question, THINK), text, str(answer) if forced else None)
