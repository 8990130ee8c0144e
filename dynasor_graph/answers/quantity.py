"""Quantities: numbers with units, equal exactly or within a tolerance."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.answers.normal import as_number, normalise

__all__ = ["Number", "Quantity"]


class Quantity(NamedTuple):
    """A number in base units (SI), and what it measures, such as "[length]^1"; "" for a bare number."""

    value: Fraction
    measures: str


class Number(Kind):
    r"""A number, perhaps with a unit: `1.5 km`, `1,500 m` and `\frac{3}{2}` km are the same answer.

    Without a tolerance numbers are compared exactly. With one, a number belongs to the class whose first
    number is nearest, and the order of arrival may tell. `%` is a unit, 1/100.
    """

    kind: Literal["number"] = "number"
    tolerance: float = Field(0.0, ge=0, lt=1, description="relative, of the larger number")
    absolute: float = Field(0.0, ge=0, description="absolute, in base units (SI)")
    unit: str | None = Field(
        None, description="of numbers that have none; others must convert to it"
    )

    @model_validator(mode="after")
    def _check_unit(self) -> Self:
        if self.unit is not None and _unit(self.unit) is None:
            raise ValueError(f"unit {self.unit!r} is none that is known: write km, m/s**2, kg, %")
        return self

    @property
    def order_free(self) -> bool:
        """Only numbers that are compared exactly are."""
        return not (self.tolerance or self.absolute)

    @property
    def margin(self) -> float:
        """A tenth of the tolerance."""
        return 0.1

    async def form(self, answer: str) -> Quantity | None:
        """The quantity; None if it is no number, or its unit is unknown or measures something else."""
        found = await asyncio.to_thread(_read, answer, self.unit)  # the first unit takes a second
        if found is None or self.unit is None:
            return found
        return found if found.measures == _measures(self.unit) else None

    def differs(self, a: Quantity, b: Quantity) -> bool | None:
        """Decides unless the numbers are about as far apart as is tolerated."""
        if self.order_free or a.measures != b.measures:
            return True
        return None if abs(a.value - b.value) <= 2 * self._tolerated(a, b) else True

    async def compare(self, form: Quantity, classes: Sequence[Sequence[Quantity]]) -> list[float]:
        """How much nearer than tolerated the first number of each class is, in tolerances."""
        return [
            float(1 - abs(form.value - first.value) / self._tolerated(form, first))
            for first, *_ in classes
        ]

    def _tolerated(self, a: Quantity, b: Quantity) -> Fraction:
        largest = max(abs(a.value), abs(b.value))
        return max(Fraction(self.absolute), Fraction(self.tolerance) * largest)


_SPLIT = re.compile(
    r"(?P<currency>[€£¥]?)\s*(?P<number>[-+]?[\d./ ]*\d\.?(?:e[-+]?\d{1,3})?)(?P<unit>.*)"
)
_UNIT = re.compile(r"[a-zA-Zµμ°Ω%\s*/·^().\d{}-]{0,60}")
_POWER = re.compile(r"\d{2,}|(?:\^|\*\*)\D*\d\D*(?:\^|\*\*)\s*\(")
_TIMES_TEN = re.compile(r"\s*(?:\\times|\\cdot|\u00d7|\*|x)\s*10\s*\^\s*\{?\s*([-+]?\d{1,3})\s*\}?")


@functools.lru_cache(maxsize=65_536)
def _read(answer: str, unit: str | None) -> Quantity | None:
    # `normalise` folds case and drops percent signs: of units both matter.
    text = re.sub(r"\\(?:text|mathrm|rm)\s*\{([^{}]*)\}", r" \1 ", answer.replace("\\%", "%"))
    text = _TIMES_TEN.sub(r"e\1", text.replace("\u2212", "-")).strip().strip("$").strip()
    text = re.sub(r"\\frac\s*\{(\d+)\}\s*\{(\d+)\}", r"\1/\2", text)
    text = (
        re.sub(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))", "", text)
        .replace("\\ ", " ")
        .replace("\\,", " ")
    )
    split = _SPLIT.fullmatch(text.strip().rstrip(".").replace("$", ""))
    if split is None:
        return None
    value = _value(split["number"])
    given = split["unit"].strip() or unit or ""
    scale = _unit(given)
    if value is None or scale is None:
        return None
    return Quantity(value * scale[0] + scale[1], scale[2])


def _value(text: str) -> Fraction | None:
    number, _, exponent = text.strip().partition("e")
    value = as_number(normalise(number))
    return None if value is None else value * Fraction(10) ** int(exponent or 0)


def _measures(unit: str) -> str:
    found = _unit(unit)
    return "" if found is None else found[2]


@functools.lru_cache(maxsize=4096)
def _unit(text: str) -> tuple[Fraction, Fraction, str] | None:
    """Factor and offset to base units, and what the unit measures; None if there is no such unit."""
    if not text:
        return Fraction(1), Fraction(0), ""
    # Checked before it is parsed: the text is a model's, and a power of a power takes for ever.
    if not _UNIT.fullmatch(text) or _POWER.search(text):
        return None
    written = text.replace("{", "").replace("}", "").replace("°", "deg").replace("·", "*")
    written = re.sub(r"^deg\s*(?=[CF]$)", "deg", written)
    try:
        zero, one = (_registry().Quantity(Fraction(i), written).to_base_units() for i in (0, 1))
        measures = " ".join(f"{base}^{power}" for base, power in sorted(one.dimensionality.items()))
    except Exception:  # noqa: BLE001 - pint and what it parses with raise many kinds
        return None
    start = Fraction(zero.magnitude)
    return Fraction(one.magnitude) - start, start, measures


@functools.cache
def _registry() -> Any:
    """Units, with exact numbers: a mile is 1609.344 m, not nearly."""
    import pint

    return pint.UnitRegistry(non_int_type=Fraction, autoconvert_offset_to_baseunit=True)
