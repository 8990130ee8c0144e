"""Judging: the engine compares answers, in one token each, on the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dynasor_graph.answers import Equivalence, Judge, Kind
from dynasor_graph.budget import Ledger, Usage
from dynasor_graph.engine import Engine, complete
from dynasor_graph.types import Message, Request

__all__ = ["Judging", "equivalence_of"]


class Judging:
    """A judge with an engine to ask.

    Args:
        judge: How it is asked.
        engine: Who is asked.
        question: What the answers answer.
        ledger: What comparisons are paid from, as probes are. Without a token left in it answers are
            compared by their words alone.
        program: For the scheduler.

    Attributes:
        unclear: Comparisons in which the engine said neither yes nor no.
        unasked: Comparisons for which the budget had no token.
    """

    kind = "judge"
    order_free = False

    def __init__(
        self, judge: Judge, engine: Engine, question: str, ledger: Ledger, program: str = ""
    ) -> None:
        self.form, self.gold, self.differs = judge.form, judge.gold, judge.differs
        self.margin = judge.margin
        self.unclear = self.unasked = 0
        self._judge, self._engine, self._question = judge, engine, question
        self._ledger, self._program = ledger, program

    async def compare(self, form: str, classes: Sequence[Sequence[str]]) -> list[float]:
        """Ask for each class whether its first answer is the same: all at once."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._ask(form, first)) for first, *_ in classes]
        found = [task.result() for task in asked]
        return [-1.0 if sure is None else sure - self._judge.threshold for sure in found]

    async def _ask(self, a: str, b: str) -> float | None:
        grant = self._ledger.reserve(1)
        if grant is None:
            self.unasked += 1
            return None
        used = Usage()
        try:
            text = self._judge.ask(self._question, a, b)
            prompt = await self._engine.render([Message(role="user", content=text)])
            request = Request(
                tokens=tuple(prompt),
                max_tokens=1,
                temperature=0.0,
                priority=-1,  # before the streams: it is short, and it may end them
                logprobs=True,
                program=self._program,
            )
            whole = await complete(self._engine, request)
            if whole.tokens:
                used = Usage(
                    probe=whole.tokens,
                    probe_prefill=len(prompt) - whole.cached,
                    probe_cached=whole.cached,
                )
        finally:
            self._ledger.settle(grant, used)
        sure = self._judge.sure(whole.text, whole.logprob)
        self.unclear += sure is None
        return sure


def equivalence_of(
    kind: Kind, engine: Engine, question: str, ledger: Ledger, program: str = ""
) -> Equivalence:
    """What makes two answers of a program the same; a judge gets the engine to ask."""
    if isinstance(kind, Judge):
        return Judging(kind, engine, question, ledger, program)
    return kind
