r"""Writing: how a careful and a careless writer put down solutions, and think.

Styles of answer:
    direct: one line per step, then ``The answer is \boxed{N}.``
    think: attempts with re-checks as reasoning models write them, ``</think>``, then the answer.

The careless writer slips and misreads (see `problem`), and believes what he has worked out: his
answers are at times wrong, and the model that learns from him is wrong as often.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from dynasor_graph.abacus.problem import Problem
from dynasor_graph.errors import ConfigError

__all__ = [
    "CAREFUL",
    "CARELESS",
    "FIRST_THOUGHT",
    "SECOND_THOUGHT",
    "Care",
    "boxed_answer",
    "direct",
    "solve",
    "solve_with_mistake",
    "think",
]

_OPENINGS: Final = (
    "Let me work it out.",
    "Okay, step by step.",
    "Alright, let me see.",
    "Let me think.",
)
_RECHECKS: Final = (
    "Wait, let me double-check.",
    "Hmm, let me verify that.",
    "But let me check again.",
    "Hold on, let me recompute.",
    "Let me make sure.",
)
_AGREEMENTS: Final = ("That matches.", "Same as before.", "Good, that agrees.")
_DIFFERENCES: Final = (
    "That is different from before.",
    "Hmm, that does not match.",
    "No, that differs.",
)
_MOST_ATTEMPTS: Final = 4
_OVERTHINKS: Final = 0.4
_HIGHEST: Final = 9999
"""Slips can lead anywhere; no value that is written down exceeds this."""


@dataclass(frozen=True, slots=True)
class Care:
    """How carefully a solution is written.

    Attributes:
        slips: Factor on the chance of each operation's slip; 0 makes none.
        misreads: Factor on the chance of each misreading; 0 makes none.
        fatigue: How much the chance of a slip grows with each line, as a share.
    """

    slips: float
    misreads: float
    fatigue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("slips", "misreads", "fatigue"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")


CAREFUL: Final = Care(slips=0, misreads=0)
CARELESS: Final = Care(slips=1, misreads=1, fatigue=0.05)
FIRST_THOUGHT: Final = Care(slips=0.4, misreads=0.6, fatigue=0.05)
SECOND_THOUGHT: Final = Care(slips=0.25, misreads=0.3)


Errs = Callable[[int, Literal["misreading", "slip"], float], bool]
"""Whether a writer makes a mistake at the step of that position, of that kind and chance."""


def solve(problem: Problem, rng: random.Random, care: Care = CAREFUL) -> tuple[list[str], int]:
    """Write out a solution.

    Args:
        problem: The problem to solve.
        rng: The source of slips.
        care: How carefully.

    Returns:
        The lines of the solution and the value that they reach: later lines go on from a mistake.
    """

    def errs(position: int, kind: Literal["misreading", "slip"], chance: float) -> bool:
        if kind == "misreading":
            return rng.random() < care.misreads * chance
        return rng.random() < chance * care.slips * (1 + care.fatigue * position)

    return _write(problem, errs)


def solve_with_mistake(problem: Problem, rng: random.Random) -> tuple[list[str], int]:
    """Write out a solution with one mistake, of any kind with equal chance.

    Args:
        problem: The problem to solve.
        rng: The source of the kind and the place of the mistake.

    Returns:
        The lines of the solution and the value that they reach. Both are right where no step can
        go wrong, or where the mistake happens to make no difference.
    """
    places: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for position, step in enumerate(problem.plan):
        if step.operation is not None:
            places.setdefault(("slip", step.operation.text), []).append((position, "slip"))
        if step.misreading is not None and step.operation is not None:
            places.setdefault(("misreading", step.operation.text), []).append(
                (position, "misreading")
            )
    place = rng.choice(rng.choice(list(places.values()))) if places else None
    return _write(problem, lambda position, kind, chance: (position, kind) == place)


def _write(problem: Problem, errs: Errs) -> tuple[list[str], int]:
    reached: dict[str, int] = {}
    lines = []
    for position, step in enumerate(problem.plan):
        left, right = step.operands(reached)
        operation = step.operation
        if operation is None:
            reached[step.name] = left
            lines.append(step.line(None, left, right, left))
            continue
        if step.misreading and errs(position, "misreading", step.misreading.chance):
            operation = step.misreading.operation
        value = operation.apply(left, right)
        wrong, chance = operation.slip(left, right)
        if errs(position, "slip", chance):
            value = wrong
        reached[step.name] = value = min(max(value, 0), _HIGHEST)
        lines.append(step.line(operation, left, right, value))
    return lines, reached[problem.plan[-1].name]


def direct(problem: Problem, rng: random.Random, care: Care = CARELESS) -> tuple[str, int]:
    """Write a solution and the boxed answer; returns them, and the answer."""
    lines, value = solve(problem, rng, care)
    return "\n".join([*lines, boxed_answer(value)]), value


def think(
    problem: Problem,
    rng: random.Random,
    first: Care = FIRST_THOUGHT,
    later: Care = SECOND_THOUGHT,
) -> tuple[str, int]:
    """Write a reasoning trace that goes from ``<think>`` to the boxed answer, without that tag.

    The writer solves the problem again until two attempts agree, and at times goes on although they
    do: he overthinks, as reasoning models do. After at most four attempts he takes the answer that
    most of them came to, the later one of equals.

    Returns:
        The trace, and the answer that it ends on.
    """
    text = [rng.choice(_OPENINGS)]
    seen: list[int] = []
    while True:
        lines, value = solve(problem, rng, first if not seen else later)
        text += [*lines, f"So I get {value}."]
        if seen:
            text.append(rng.choice(_AGREEMENTS if value == seen[-1] else _DIFFERENCES))
        agreed = value in seen
        seen.append(value)
        if len(seen) == _MOST_ATTEMPTS or (agreed and rng.random() > _OVERTHINKS):
            break
        text.append(rng.choice(_RECHECKS))
    answer = max(reversed(seen), key=seen.count)
    return "\n".join([*text, "</think>", boxed_answer(answer)]), answer


def boxed_answer(value: int) -> str:
    """The line that ends every answer."""
    return f"The answer is \\boxed{{{value}}}."
