"""Expressions: arithmetic with given numbers that has to come to a target (Game of 24, Countdown)."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, field_validator

from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.answers.normal import as_number, normalise

__all__ = ["Calculation", "Expression", "calculate"]


class Calculation(NamedTuple):
    """What an expression comes to, exactly, and the numbers that stand in it, in order of size."""

    value: Fraction
    numbers: tuple[Fraction, ...]


class Expression(Kind):
    """An expression over exactly the given numbers: equal if it comes to the same value.

    All right expressions are one class, as each reaches the target; wrong ones are grouped by what they
    come to. With other numbers than those given, or with a mistake in the writing, it is no answer.
    """

    per_question = frozenset({"numbers", "target", "spare"})

    kind: Literal["expression"] = "expression"
    numbers: tuple[int, ...] = Field((), description="to be used, each once")
    target: str = Field("24", description="what it has to come to: a number or a fraction")
    spare: bool = Field(False, description="whether numbers may be left over (Countdown)")

    @field_validator("numbers", mode="before")
    @classmethod
    def _read_numbers(cls, value: Any) -> Any:
        return tuple(re.split(r"[\s,]+", value.strip())) if isinstance(value, str) else value

    @field_validator("target", mode="before")
    @classmethod
    def _read_target(cls, value: Any) -> Any:
        text = str(value)
        if isinstance(value, bool) or as_number(normalise(text)) is None:
            raise ValueError(f"must be a number or a fraction, got {value!r}")
        return text

    def for_question(self, fields: Mapping[str, Any], gold: str | None) -> Self:
        """The kind with the question's numbers; a right answer that is a number is the target.

        Raises:
            ValueError: There are no numbers.
        """
        if gold is not None and "target" not in fields and as_number(normalise(gold)) is not None:
            fields = {**fields, "target": gold}
        found = super().for_question(fields, gold)
        if not found.numbers:
            raise ValueError(
                "the kind 'expression' needs the numbers that may be used: give the question a field "
                '"numbers", such as [4, 9, 10, 13]'
            )
        return found

    @property
    def goal(self) -> Fraction:
        """The target as a number."""
        value = as_number(normalise(self.target))
        assert value is not None, self.target  # checked when it was set
        return value

    async def form(self, answer: str) -> Fraction | None:
        """What the expression comes to; None if it is none, or its numbers are not those given."""
        found = calculate(answer)
        return found.value if found and self.uses_numbers(found) else None

    def uses_numbers(self, found: Calculation) -> bool:
        """Whether an expression has the given numbers in it, each as often as it was given."""
        given, used = Counter(map(Fraction, self.numbers)), Counter(found.numbers)
        return used <= given if self.spare else used == given

    async def gold(self, text: str) -> Fraction | None:
        """A right expression, or the target itself."""
        return self.goal if as_number(normalise(text)) == self.goal else await self.form(text)


_LONGEST = 300  # characters
_SIGNS = str.maketrans("\u00d7·÷\u2212\u2013[]", "**/--()")
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


@functools.lru_cache(maxsize=65_536)
def calculate(text: str) -> Calculation | None:
    r"""What an arithmetic expression comes to: whole numbers, `+ - * /`, brackets, `\times`, `\frac`.

    What follows an equals sign is a claim about the value, and passed over.

    Returns:
        None if it is written wrongly, divides by 0, or is longer than 300 characters.
    """
    text = text.strip().strip("$`").translate(_SIGNS)
    text = re.sub(r"\\(?:left|right)(?![a-zA-Z])", "", text)
    text = re.sub(r"\\(?:times|cdot)(?![a-zA-Z])", "*", text)
    text = re.sub(r"\\div(?![a-zA-Z])", "/", text)
    text = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))", text)
    text = text.partition("=")[0].strip()
    if not text or len(text) > _LONGEST:
        return None
    numbers: list[Fraction] = []
    try:
        value = _value(ast.parse(text, mode="eval").body, numbers)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    return Calculation(value, tuple(sorted(numbers)))


def _value(node: ast.expr, numbers: list[Fraction]) -> Fraction:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            numbers.append(Fraction(value))
            return numbers[-1]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, numbers), _value(right, numbers))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, numbers)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, numbers)
        case _:
            raise ValueError(f"{type(node).__name__} is no arithmetic")
