"""Virtual clock: an event loop that jumps to the next timer, so that simulated hours run in seconds."""

from __future__ import annotations

import asyncio
import itertools
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["VirtualLoop", "run_virtual"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new virtual clock and close everything, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose seconds pass only while nothing is left to do.

    When nothing is ready the clock jumps to the next timer. While a job that was given to
    `run_in_executor` or `asyncio.to_thread` is under way, the clock stands still and the loop
    waits for it: what it computes takes no time. Timers that are due together fire in the order
    in which they were set, so that a run repeats itself.

    With timers set, it waits neither for real I/O nor for threads that it was not given: the clock
    jumps past them. Without, it waits for them as any loop does. A job that waits for a timer of
    this loop waits for ever, and so does a task that looks again and again without a pause.
    """

    def __init__(self) -> None:
        self._virtual = _Clock()
        self._serial = itertools.count()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    @property
    def _clock_resolution(self) -> float:
        """Timers within this are due; asyncio's nanosecond is lost in the seconds of a few months."""
        return max(1e-9, 2 * math.ulp(self._virtual.now))

    @_clock_resolution.setter
    def _clock_resolution(self, value: float) -> None:
        """As asyncio would have it: that of the real clock."""

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at that time; after those that were set before for the same time."""
        moment = _Moment(when, next(self._serial))
        return super().call_at(moment, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run in a thread or process; the clock stands still until that is done or cancelled."""
        job = super().run_in_executor(executor, func, *args)
        self._virtual.jobs += 1
        job.add_done_callback(self._job_ended)
        return job

    def _job_ended(self, job: asyncio.Future[Any]) -> None:
        self._virtual.jobs -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for its threads in real time: from Python 3.12 on there is a timer beside them."""
        with self._virtual.held():
            await super().shutdown_default_executor(*args)


class _Clock(selectors.DefaultSelector):
    """Where a loop waits for I/O and for its next timer: this one passes the time instead.

    Attributes:
        now: Virtual seconds.
        jobs: What it stands still for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.jobs = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.jobs:
            return super().select(None)  # a job that ends wakes it
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready

    @contextmanager
    def held(self) -> Iterator[None]:
        self.jobs += 1
        try:
            yield
        finally:
            self.jobs -= 1


class _Moment(float):
    """When a timer is due; of two equal ones the one that was set first is the less."""

    serial: int

    def __new__(cls, when: float, serial: int) -> _Moment:
        moment = super().__new__(cls, when)
        moment.serial = serial
        return moment

    def __lt__(self, other: float) -> bool:
        if isinstance(other, _Moment) and float(self) == float(other):
            return self.serial < other.serial
        return super().__lt__(other)
