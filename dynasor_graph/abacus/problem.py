"""Problem: a question, the steps of its solution, and how each step tempts into a mistake.

A step works out one value from earlier ones by an `Operation`. Operations know their characteristic
slip (a forgotten carry, an hour of 100 minutes), and a step may carry a misreading: the operation
that a hasty reader takes for the one that the sentence means. Both make up the careless writer of
`writing`, from whom the tutorial model learns to err as people do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "MAX_VALUE",
    "Misreading",
    "Operation",
    "Problem",
    "Step",
    "evaluate",
    "in_reading_order",
]

MAX_VALUE: Final = 999
"""The greatest amount in a problem; the least is 1."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a step does with its inputs.

    Attributes:
        text: The expression, with `{0}` and `{1}` for the inputs.
        apply: The value of the expression.
        slip: The value that a slip gives instead, and its chance in [0, 1] for a careless writer.
        shown: How an input is written.
    """

    text: str
    apply: Callable[[int, int], int]
    slip: Callable[[int, int], tuple[int, float]]
    shown: Callable[[int], str] = str

    def expression(self, left: int, right: int) -> str:
        """The expression in numbers: "12 + 5"."""
        return self.text.format(self.shown(left), self.shown(right))


@dataclass(frozen=True, slots=True)
class Misreading:
    """What a hasty reader takes a sentence for.

    Attributes:
        operation: The operation used instead.
        chance: How often a careless writer falls for it, in [0, 1].
    """

    operation: Operation
    chance: float


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a solution.

    Attributes:
        name: What the line works out, as later steps refer to it; the line begins with it.
        inputs: Names of earlier steps, or numbers; as many as the operation takes.
        operation: None where the value is stated outright: then it is the only input.
        misreading: What else the sentence could be taken for.
        spelled: Whether the line says names before numbers ("Ben = Mia + 5 = 12 + 5 = 17.").
    """

    name: str
    inputs: tuple[str | int, ...]
    operation: Operation | None = None
    misreading: Misreading | None = None
    spelled: bool = True

    def line(self, operation: Operation | None, left: int, right: int, value: int) -> str:
        """The line of a solution, with the operation and the numbers as its writer took them."""
        if operation is None:
            return f"{self.name} = {value}."
        parts = [self.name]
        if self.spelled and any(isinstance(x, str) for x in self.inputs):
            parts.append(operation.text.format(*(str(x) for x in self.inputs)))
        return " = ".join([*parts, operation.expression(left, right), f"{value}."])

    def operands(self, values: Mapping[str, int]) -> tuple[int, int]:
        """The numbers that go into the operation; a single input stands twice."""
        found = [x if isinstance(x, int) else values[x] for x in self.inputs]
        return found[0], found[-1]


@dataclass(frozen=True, slots=True)
class Problem:
    """A word problem with its solution.

    Attributes:
        family: The name of the family it belongs to.
        question: The full text: statements, then what is asked.
        plan: The steps of the solution, each after those it builds on; the last gives the answer.
    """

    family: str
    question: str
    plan: tuple[Step, ...]

    @property
    def steps(self) -> int:
        """The number of lines of a correct solution, without the line that boxes the answer."""
        return len(self.plan)

    @property
    def answer(self) -> int:
        """The right answer, 1 to `MAX_VALUE`."""
        return evaluate(self.plan)[self.plan[-1].name]


def evaluate(plan: Sequence[Step]) -> dict[str, int]:
    """The true value of every step, by name."""
    values: dict[str, int] = {}
    for step in plan:
        left, right = step.operands(values)
        values[step.name] = left if step.operation is None else step.operation.apply(left, right)
    return values


def in_reading_order(steps: Sequence[Step]) -> list[Step]:
    """Steps in the order in which a reader can take them.

    Args:
        steps: The steps in the order in which the text states them.

    Returns:
        The same: next comes always the first in the text of which all inputs are known.
    """
    waiting, known, ordered = list(steps), set[str](), list[Step]()
    while waiting:
        step = next(
            s for s in waiting if known.issuperset(x for x in s.inputs if isinstance(x, str))
        )
        waiting.remove(step)
        known.add(step.name)
        ordered.append(step)
    return ordered
