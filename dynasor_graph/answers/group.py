"""Grouping: which answers are the same answer: a true partition that grows one by one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence

from dynasor_graph.answers.actions import Action, is_action
from dynasor_graph.answers.equivalence import Equivalence, Form
from dynasor_graph.answers.mathematical import Math

__all__ = ["Grouping", "agrees"]


class Grouping:
    """A partition of answers that grows one by one; classes are numbered in order of arrival.

    Always a true partition: where an answer equals two classes, they become one (union-find). An
    answer is compared once with each class, and only if its form does not decide. What is no answer of
    the kind has no class.

    Args:
        kind: What makes two answers the same; mathematics by default.

    Attributes:
        compared: Comparisons made.
        close: Those that came out within the kind's margin: a little more or less, and the classes
            were others.
    """

    def __init__(self, kind: Equivalence | None = None) -> None:
        self.kind: Equivalence = Math() if kind is None else kind
        self.compared = self.close = 0
        self._parent: list[int] = []
        self._spelling: list[str] = []  # the first spelling seen, of each class
        self._forms: list[list[Form]] = []  # the distinct forms of each class, the first seen first
        self._by_form: dict[Form, int] = {}
        self._turn = asyncio.Lock()  # fair: answers that have to be compared take turns in order

    async def add(self, answer: str, number: int | None = None) -> int | None:
        """The class of `answer`, a new one if it equals none; None if it is no answer of the kind.

        Args:
            answer: As it was given.
            number: Its class, where that was found out before: it is not compared again.
        """
        return await self._add(answer, await self._read(answer), number)

    async def add_all(self, answers: Iterable[str]) -> list[int | None]:
        """The class of each answer, added in this order; all are read in one batch.

        Later ones may have joined earlier classes: ask `root`.
        """
        answers = list(answers)
        async with asyncio.TaskGroup() as group:
            read = [group.create_task(self._read(answer)) for answer in answers]
        forms = [task.result() for task in read]
        return [await self._add(answer, form) for answer, form in zip(answers, forms, strict=True)]

    async def _read(self, answer: str) -> Form | None:
        return Action(answer) if is_action(answer) else await self.kind.form(answer)

    async def _add(self, answer: str, form: Form | None, number: int | None = None) -> int | None:
        if form is None:
            return None
        if form not in self._by_form:
            async with self._turn:
                if form not in self._by_form:  # it may have come while this one waited
                    if number is None:
                        same = await self._equal_to(form)
                    else:
                        same = [number] if number < len(self._parent) else []
                    self._by_form[form] = self._place(answer, form, same)
        return self.root(self._by_form[form])

    def _place(self, answer: str, form: Form, same: Sequence[int]) -> int:
        if not same:
            self._parent.append(len(self._parent))
            self._spelling.append(answer)
            self._forms.append([form])
            return len(self._parent) - 1
        first, *others = sorted(same)
        self._forms[first].append(form)
        for other in others:
            self._parent[other] = first
            self._forms[first] += self._forms[other]
            self._forms[other] = []
        return first

    async def _equal_to(self, form: Form) -> list[int]:
        """The classes that an answer belongs to; at most one unless the kind is free of order."""
        if isinstance(form, Action):
            return []
        classes = [
            i
            for i, parent in enumerate(self._parent)
            if parent == i and not isinstance(self._forms[i][0], Action)
        ]
        told = {i: self.kind.differs(form, self._forms[i][0]) for i in classes}
        sure = {i: math.inf for i, differs in told.items() if differs is False}
        if unclear := [i for i, differs in told.items() if differs is None]:
            found = await self.kind.compare(form, [self._forms[i] for i in unclear])
            self.compared += len(unclear)
            self.close += sum(abs(by) < self.kind.margin for by in found)
            sure |= dict(zip(unclear, found, strict=True))
        same = [i for i in classes if sure.get(i, -1.0) >= 0]
        return same if self.kind.order_free else same and [max(same, key=sure.__getitem__)]

    @property
    def fragile(self) -> bool:
        """Whether one comparison in ten, and three at the least, came out within the margin."""
        return self.close >= max(3, self.compared / 10)

    def root(self, number: int) -> int:
        """The number that the class goes by now: classes may have been joined since."""
        while self._parent[number] != number:
            self._parent[number] = number = self._parent[self._parent[number]]
        return number

    def spelling(self, number: int) -> str:
        """How the class was spelled when it was first seen."""
        return self._spelling[self.root(number)]


async def agrees(answer: str, gold: str, kind: Equivalence | None = None) -> bool:
    """Whether an answer is the same as a reference answer."""
    by: Equivalence = Math() if kind is None else kind
    given, wanted = await by.form(answer), await by.gold(gold)
    if given is None or wanted is None:
        return False
    if given == wanted:
        return True
    differs = by.differs(given, wanted)
    if differs is None:
        (sure,) = await by.compare(given, [[wanted]])
        return sure >= 0
    return not differs
