"""Rolling: keeps jobs in flight, launching the next as soon as one ends.

A barrier would wait for the slowest job of each wave. What a job is, when there is a next one, and
what its result means is said by `Window` (branches) and by `Growth` (steps of a tree).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dynasor_graph.budget import Grant
from dynasor_graph.types import StopReason

if TYPE_CHECKING:
    from dynasor_graph.executor.program import Program

__all__ = ["Rolling"]

R = TypeVar("R")


class Rolling(ABC, Generic[R]):
    """One round of rolling jobs. Single-use.

    Args:
        program: The open round.
        index: The number of the first job; jobs are started in the order of their numbers, always,
            which is what lets LangGraph find finished ones again.
    """

    def __init__(self, program: Program[Any], index: int) -> None:
        self.p, self.index = program, index
        self.jobs: dict[asyncio.Future[R], tuple[int, Grant]] = {}
        self._arrived: asyncio.Queue[asyncio.Future[R]] = asyncio.Queue()

    @abstractmethod
    def may_launch(self) -> bool:
        """Whether there is a next job, and the policy wants it."""

    @abstractmethod
    def want(self) -> tuple[int, int]:
        """Tokens to ask of the ledger for the next job, and the fewest that are of use."""

    @abstractmethod
    def prepare(self, index: int, grant: Grant) -> Callable[[], Awaitable[R]]:
        """Choose the job of that number; what it returns is called unless a crash came later."""

    @abstractmethod
    async def observe(self, index: int, grant: Grant, result: R) -> None:
        """Take in the result of a job, and settle its grant."""

    async def run(self) -> None:
        """Run until nothing is in flight and nothing may be launched."""
        p = self.p
        try:
            while await self._fill():
                finished = await p.before_deadline(self._arrived)
                if finished is None:
                    await p.stop(StopReason.DEADLINE)
                    continue
                index, grant = self.jobs.pop(finished)
                await self.observe(index, grant, finished.result())
        finally:
            # Bites only if the caller cancelled, or a job failed.
            for job in self.jobs:
                job.cancel()

    async def _fill(self) -> bool:
        """Launch what may be launched; whether anything is in flight."""
        p = self.p
        while True:
            while self._has_room() and (grant := self._grant()) is not None:
                self._start(grant)
            if self.jobs or not self._has_room():
                return bool(self.jobs)
            if not await p.wait_for_others(self.want()[1]):
                return False

    def _has_room(self) -> bool:
        p = self.p
        return (
            p.stop_reason is None
            and len(self.jobs) < p.settings.budget.concurrency
            and self.may_launch()
        )

    def _grant(self) -> Grant | None:
        most, useful = self.want()
        # While others run, wait for what they give back: a branch that is cut has no answer.
        return self.p.ledger.reserve(most, most if self.jobs else useful)

    def _start(self, grant: Grant) -> None:
        index = self.index
        job = self.p.tasks.start(index, self.prepare(index, grant))
        job.add_done_callback(self._arrived.put_nowait)
        self.jobs[job] = (index, grant)
        self.index += 1
