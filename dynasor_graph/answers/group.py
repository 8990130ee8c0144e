"""Grouping: which answers are the same answer: exact, then as numbers, then by math-verify."""

from __future__ import annotations

import asyncio

from dynasor_graph.answers.equal import math_equal
from dynasor_graph.answers.normal import as_number, normalise

__all__ = ["Grouping"]


class Grouping:
    """A partition of answers that grows one by one; classes are numbered in order of arrival.

    Always a true partition: where an answer equals two classes, they become one (union-find). An
    answer is compared with one representative of each class, and only if neither its normal form
    nor its value as a number decides.
    """

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._spelling: list[str] = []  # the first spelling seen, of each class
        self._form: list[str] = []
        self._by_form: dict[str, int] = {}

    async def add(self, answer: str) -> int:
        """The class of `answer`; a new one if it equals none. Comparing happens off the event loop."""
        form = normalise(answer)
        if form in self._by_form:
            return self._root(self._by_form[form])
        known = [i for i in range(len(self._parent)) if self._parent[i] == i]
        unclear = [i for i in known if self._differs(form, self._form[i]) is None]
        same = [i for i in known if self._differs(form, self._form[i]) is False]
        if unclear:
            pairs = [(self._form[i], form) for i in unclear]
            found = await asyncio.to_thread(lambda: [math_equal(a, b) for a, b in pairs])
            same += [i for i, equal in zip(unclear, found, strict=True) if equal]
        if form in self._by_form:  # another branch brought the same answer while this one waited
            return self._root(self._by_form[form])
        if not same:
            self._parent.append(len(self._parent))
            self._spelling.append(answer)
            self._form.append(form)
            same = [len(self._parent) - 1]
        first = min(self._root(i) for i in same)
        for i in same:
            self._parent[self._root(i)] = first
        self._by_form[form] = first
        return first

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
        x, y = as_number(a), as_number(b)
        if x is not None and y is not None:
            return x != y
        if _is_words(a) or _is_words(b):
            return a != b
        return None


def _is_words(form: str) -> bool:
    """Words are compared as they are; a single letter may be a variable or a choice."""
    return form.replace(" ", "").isalpha()
