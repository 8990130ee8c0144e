"""Operations: the arithmetic of the problems, each with the slip that is typical of it.

The chances are those of a careless writer at temperature 1; they were chosen so that the model's
samples spread at temperature 0.7 (the model card has the measured curve).
"""

from __future__ import annotations

import operator
from typing import Final

from dynasor_graph.abacus.problem import Operation

__all__ = [
    "ADD",
    "DIVIDE",
    "HOURS",
    "LARGER",
    "MULTIPLY",
    "PERCENT",
    "PERCENT_OFF",
    "REMAINDER",
    "SMALLER",
    "SPAN",
    "SUBTRACT",
    "clock",
]

_PLAIN: Final = 0.03
_CARRY: Final = 0.15
_PERCENT: Final = 0.15
_REMAINDER: Final = 0.20
_PRODUCT: Final = 0.25
_CHOICE: Final = 0.10
_CLOCK: Final = 0.10


def _add_slip(a: int, b: int) -> tuple[int, float]:
    carried = a % 10 + b % 10 >= 10
    return (a + b - 10, _CARRY) if carried else (a + b + 1, _PLAIN)


def _subtract_slip(a: int, b: int) -> tuple[int, float]:
    borrowed = a % 10 < b % 10
    return (a - b + 10, _CARRY) if borrowed else (a - b + 1, _PLAIN)


def _multiply_slip(a: int, b: int) -> tuple[int, float]:
    if a >= 10 and b >= 10:
        return a * b - 10, _PRODUCT
    carried = (a % 10) * (b % 10) >= 10
    return (a * b - 10, _CARRY) if carried else (a * b + 1, _PLAIN)


def _divide_slip(a: int, b: int) -> tuple[int, float]:
    return a // b + 1, _PLAIN


def _percent(a: int, b: int) -> int:
    return a * b // 100


def _span_slip(start: int, end: int) -> tuple[int, float]:
    borrowed = end % 60 < start % 60
    return (end - start + 60, _CLOCK) if borrowed else (end - start + 1, _PLAIN)


def clock(minutes: int) -> str:
    """A time of day as people write it: 580 is 9:40."""
    return f"{minutes // 60}:{minutes % 60:02}"


ADD: Final = Operation("{0} + {1}", operator.add, _add_slip)
SUBTRACT: Final = Operation("{0} - {1}", operator.sub, _subtract_slip)
MULTIPLY: Final = Operation("{1} * {0}", operator.mul, _multiply_slip)
DIVIDE: Final = Operation("{0} / {1}", operator.floordiv, _divide_slip)
PERCENT: Final = Operation("{1}% of {0}", _percent, lambda a, b: (_percent(a, b) + 10, _PERCENT))
PERCENT_OFF: Final = Operation(
    "{0} - {1}% of {0}",
    lambda a, b: a - _percent(a, b),
    lambda a, b: (a - _percent(a, b) - 10, _PERCENT),
)
REMAINDER: Final = Operation(
    "{0} mod {1}", operator.mod, lambda a, b: ((a % b + 2) % b, _REMAINDER)
)
LARGER: Final = Operation("max({0}, {1})", max, lambda a, b: (min(a, b), _CHOICE))
SMALLER: Final = Operation("min({0}, {1})", min, lambda a, b: (max(a, b), _CHOICE))
HOURS: Final = Operation(
    "60 * {0} + {1}", lambda a, b: 60 * a + b, lambda a, b: (60 * a + b + 40 * a, _CLOCK)
)
SPAN: Final = Operation("{0} to {1}", lambda start, end: end - start, _span_slip, shown=clock)
