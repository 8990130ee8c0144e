"""Mathematical answers: the same after typography, as numbers, or by math-verify."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from dynasor_graph.answers.equal import math_equal
from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.answers.normal import as_number, normalise

__all__ = ["Math"]


class Math(Kind):
    """Equal after typography, as numbers, or by math-verify in both directions.

    math-verify reads a list without brackets, `1,2`, as a pair and as a set: only there may the order of
    arrival tell.
    """

    kind: Literal["math"] = "math"

    async def form(self, answer: str) -> str | None:
        """The normal form; None if nothing is left of it."""
        return normalise(answer) or None

    def differs(self, a: str, b: str) -> bool | None:
        """Decides between numbers, and between words."""
        x, y = as_number(a), as_number(b)
        if x is not None and y is not None:
            return x != y
        if _is_words(a) or _is_words(b):
            return a != b
        return None

    async def compare(self, form: str, classes: Sequence[Sequence[str]]) -> list[float]:
        """Ask math-verify, in a thread: about 2 ms a class."""
        pairs = [(forms[0], form) for forms in classes]
        equal = await asyncio.to_thread(lambda: [math_equal(a, b) for a, b in pairs])
        return [1.0 if same else -1.0 for same in equal]


def _is_words(form: str) -> bool:
    """Words are compared as they are; a single letter may be a variable or a choice."""
    return form.replace(" ", "").isalpha()
