"""Run: a machine on the clock of an event loop, and one request on it as its reader waits for it."""

from __future__ import annotations

import asyncio

from dynasor_graph.errors import EngineError
from dynasor_graph.simulation.job import Ids, Job
from dynasor_graph.simulation.machine import Machine
from dynasor_graph.simulation.speed import Speed
from dynasor_graph.types import Load, Request

__all__ = ["Clocked", "Run"]


class Clocked:
    """Lets a machine go with the time of the event loop: under `run_virtual` that costs none.

    It belongs to the first loop that it is used from.

    Args:
        speed: Of the machine.
    """

    def __init__(self, speed: Speed) -> None:
        self.machine = Machine(speed)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._runs: dict[Job, Run] = {}

    def start(self, request: Request, most: int, ids: Ids) -> Run:
        """Take in a request that makes `most` tokens; 0 are made at once, at no cost.

        Raises:
            PromptTooLong: It could never run to its end.
            EngineError: It comes from another event loop.
        """
        job = Job(
            prompt=request.tokens,
            most=most,
            ids=ids,
            chunk=request.chunk,
            priority=request.priority,
            program=request.program,
        )
        run = Run(self, job)
        now = self._advance()
        if most:
            self.machine.submit(job, now)
            self._runs[job] = run
            self._arm()
        return run

    def load(self) -> Load:
        """What it does now."""
        return self.machine.load(self._advance())

    def made(self, job: Job) -> int:
        """Tokens of a job by now."""
        return self.machine.made(job, self._advance())

    def abort(self, job: Job) -> None:
        """End a job, if it runs or waits."""
        now = self._advance()
        if job in self._runs:
            self.machine.abort(job, now)
            self._forget(job)
            self._arm()

    def _forget(self, job: Job) -> None:
        self._runs.pop(job).told.set()

    def _advance(self, at_least: float = 0.0) -> float:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise EngineError("a simulated engine belongs to one event loop: make a new one")
        now = max(loop.time(), at_least)
        for job in self.machine.advance(now):
            if job.place == "ended":
                self._forget(job)
            else:
                self._runs[job].told.set()
        return now

    def _arm(self) -> None:
        """Wake when the machine has something to say."""
        when = self.machine.next_event
        if self._timer is not None:
            if self._timer.when() == when:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None and self._loop is not None:
            self._timer = self._loop.call_at(when, self._tick, when)

    def _tick(self, when: float) -> None:
        self._timer = None
        self._advance(when)
        self._arm()


class Run:
    """One request on a machine.

    Attributes:
        said: Tokens that were delivered.
        told: Set when there is something to deliver.
    """

    def __init__(self, clocked: Clocked, job: Job) -> None:
        self.said = 0
        self.told = asyncio.Event()
        self._clocked, self._job = clocked, job

    @property
    def made(self) -> int:
        """Tokens made by now, or until it was aborted."""
        return self._clocked.made(self._job)

    @property
    def cached(self) -> int:
        """Prompt tokens found in the prefix cache, once it has begun."""
        return self._job.cached

    def abort(self) -> None:
        """Keep what was made by now."""
        self._clocked.abort(self._job)

    async def until(self, tokens: int) -> bool:
        """Wait until so many are made; whether it came to that before it was aborted."""
        job = self._job
        while job.told < tokens and job.most and job.place != "ended":
            self.told.clear()
            await self.told.wait()
        return job.told >= tokens
