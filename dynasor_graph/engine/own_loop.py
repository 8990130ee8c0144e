"""An event loop on a thread of its own, for what belongs to one loop but is used from many."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from dynasor_graph.engine.calls import Calls

__all__ = ["OwnLoop", "SameLoop", "Spawned"]

_T = TypeVar("_T")


class Spawned:
    """Work that was sent to a loop.

    Args:
        calls: Into that loop.
        work: What is to run.
        cancelled: Called on the loop if it was cancelled, be it before it began.
    """

    def __init__(
        self, calls: Calls, work: Coroutine[Any, Any, None], cancelled: Callable[[], None]
    ) -> None:
        self._calls, self._work, self._cancelled = calls, work, cancelled
        calls.soon(self._start)

    def _start(self) -> None:
        self._task = self._calls.loop.create_task(self._work)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._cancelled()

    def cancel(self) -> None:
        """Cancel it; from any thread."""
        self._calls.soon(lambda: self._task.cancel())


class OwnLoop:
    """Runs coroutines on its own thread.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._calls = Calls(self._loop)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def here(self) -> bool:
        """Whether the caller runs on it."""
        return asyncio.get_running_loop() is self._loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run on this loop, wait nowhere."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def spawn(self, work: Coroutine[Any, Any, None], cancelled: Callable[[], None]) -> Spawned:
        """Run on this loop, wait nowhere, and want no result: much that comes together costs little.

        Raises:
            RuntimeError: The loop was stopped.
        """
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the loop was stopped")
        return Spawned(self._calls, work, cancelled)

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run on this loop, wait on the caller's; cancelling the one cancels the other."""
        return await (work if self.here else asyncio.wrap_future(self.submit(work)))

    async def stop(self) -> None:
        """Cancel what still runs, and end the thread if it was started."""
        if self._thread.is_alive():
            await self.run(_cancel_all())
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join)
        self._loop.close()


class SameLoop(OwnLoop):
    """The loop that runs now, in the place of one on a thread: nobody takes turns with it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls = Calls(self._loop)

    def start(self) -> None:
        """It runs."""

    async def stop(self) -> None:
        """It goes on: others use it, too."""


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=5) if tasks else None
