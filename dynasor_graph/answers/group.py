"""Grouping: which answers are the same answer: exact, then as numbers, then by math-verify."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dynasor_graph.answers.actions import is_action
from dynasor_graph.answers.equal import math_equal
from dynasor_graph.answers.normal import as_number, normalise

__all__ = ["Grouping"]


class Grouping:
    """A partition of answers that grows one by one; classes are numbered in order of arrival.

    Always a true partition: where an answer equals two classes, they become one (union-find). An
    answer is compared with one representative of each class, and only if neither its normal form
    nor its value as a number decides. An answer with nothing in it equals none, not even another.
    """

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._spelling: list[str] = []  # the first spelling seen, of each class
        self._form: list[str] = []
        self._by_form: dict[str, int] = {}

    async def add(self, answer: str) -> int:
        """The class of `answer`; a new one if it equals none. Comparing happens off the event loop."""
        form = answer if is_action(answer) else normalise(answer)
        same: list[int] = []
        compared = 0
        # Other branches may bring new classes, or this very answer, while this one waits.
        while compared < len(self._parent) and form not in self._by_form:
            new = range(compared, len(self._parent))
            compared = len(self._parent)
            same += await self._equal_among(form, [i for i in new if self._parent[i] == i])
        if form in self._by_form:
            return self._root(self._by_form[form])
        if not same:
            self._parent.append(len(self._parent))
            self._spelling.append(answer)
            self._form.append(form)
            same = [len(self._parent) - 1]
        first = min(self._root(i) for i in same)
        for i in same:
            self._parent[self._root(i)] = first
        if form:
            self._by_form[form] = first
        return first

    async def _equal_among(self, form: str, classes: Sequence[int]) -> list[int]:
        told = {i: self._differs(form, self._form[i]) for i in classes}
        same = [i for i, differs in told.items() if differs is False]
        unclear = [i for i, differs in told.items() if differs is None]
        if unclear:
            pairs = [(self._form[i], form) for i in unclear]
            found = await asyncio.to_thread(lambda: [math_equal(a, b) for a, b in pairs])
            same += [i for i, equal in zip(unclear, found, strict=True) if equal]
        return same

    def root(self, number: int) -> int:
        """The number that the class goes by now: classes may have been joined since."""
        return self._root(number)

    def spelling(self, number: int) -> str:
        """How the class was spelled when it was first seen."""
        return self._spelling[self._root(number)]

    def _root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = i = self._parent[self._parent[i]]
        return i

    @staticmethod
    def _differs(a: str, b: str) -> bool | None:
        """True or False where the normal forms decide, None where mathematics has to."""
        if not a or not b:
            return True
        x, y = as_number(a), as_number(b)
        if x is not None and y is not None:
            return x != y
        if any(_is_words(form) or is_action(form) for form in (a, b)):
            return a != b
        return None


def _is_words(form: str) -> bool:
    """Words are compared as they are; a single letter may be a variable or a choice."""
    return form.replace(" ", "").isalpha()
