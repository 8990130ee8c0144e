"""Collections: sets, lists and JSON, compared as what they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from fractions import Fraction
from typing import Any, Literal

from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.answers.normal import as_number, normalise

__all__ = ["JsonValue", "ListOf", "SetOf"]


class SetOf(Kind):
    r"""A set: `{1, 2}`, `2, 1`, `[2, 1, 1]` and `\{1,2\}` are the same answer."""

    kind: Literal["set"] = "set"

    async def form(self, answer: str) -> frozenset[Hashable] | None:
        """The elements; None if a bracket is open or an element is empty."""
        elements = _elements(answer)
        return None if elements is None else frozenset(elements)


class ListOf(Kind):
    """A list: the order counts, and how often an element stands in it; the brackets do not."""

    kind: Literal["list"] = "list"

    async def form(self, answer: str) -> tuple[Hashable, ...] | None:
        """The elements; None if a bracket is open or an element is empty."""
        elements = _elements(answer)
        return None if elements is None else tuple(elements)


class JsonValue(Kind):
    """JSON: spaces, the order of keys and the spelling of numbers (`1`, `1.0`) do not count."""

    kind: Literal["json"] = "json"

    async def form(self, answer: str) -> Hashable | None:
        """The value; None if it is not JSON."""
        text = answer.strip()
        if fenced := _FENCE.fullmatch(text):
            text = fenced[1]
        try:
            value = json.loads(
                text, parse_float=_number, parse_int=_number, parse_constant=_no_json
            )
            return "json", _frozen(value)
        except (ValueError, RecursionError):
            return None


_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_EMPTY = {"", r"\emptyset", r"\varnothing", "∅"}
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_LONGEST = 400  # characters of a number in JSON


def _elements(answer: str) -> list[Hashable] | None:
    """What stands between the commas; numbers by their value."""
    text = answer.strip().strip("$").strip().replace(r"\{", "{").replace(r"\}", "}")
    text = re.sub(r"\\(?:left|right)(?![a-zA-Z])", "", text).strip().rstrip(".")
    if text in _EMPTY:
        return None if not text else []
    parts = _split(text)
    if parts is not None and len(parts) == 1 and text[0] in _PAIRS and text[-1] == _PAIRS[text[0]]:
        inner = text[1:-1].strip()
        parts = [] if inner in _EMPTY else _split(inner)
    if parts is None:
        return None
    forms = [normalise(part.strip().strip("\"'")) for part in parts]
    if not all(forms):
        return None
    numbers = [as_number(form) for form in forms]
    return [form if number is None else number for form, number in zip(forms, numbers, strict=True)]


def _split(text: str) -> list[str] | None:
    """Parts between commas (or semicolons) outside of brackets; None if the brackets do not match."""
    closing: list[str] = []
    parts = [""]
    sign = ";" if ";" in text else ","
    for char in text:
        if char in _PAIRS:
            closing.append(_PAIRS[char])
        elif char in _PAIRS.values() and (not closing or closing.pop() != char):
            return None
        if char == sign and not closing:
            parts.append("")
        else:
            parts[-1] += char
    return None if closing else parts


def _number(text: str) -> Fraction:
    # "1e999999999" would be written out.
    exponent = re.search(r"[eE][-+]?(\d+)$", text)
    if len(text) > _LONGEST or (exponent and int(exponent[1]) > _LONGEST):
        raise ValueError(f"a number too long to compare: {text[:20]}...")
    return Fraction(text)


def _no_json(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _frozen(value: Any) -> Hashable:
    """A hashable that equals another's exactly where the values are equal; true is not 1."""
    match value:
        case dict():
            return "object", frozenset((key, _frozen(one)) for key, one in value.items())
        case list():
            return "array", tuple(map(_frozen, value))
        case bool():
            return "true" if value else "false", None
        case _:
            return type(value).__name__, value
