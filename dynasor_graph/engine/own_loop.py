"""An event loop on a thread of its own, for what belongs to one loop but is used from many."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["OwnLoop"]

_T = TypeVar("_T")


class OwnLoop:
    """Runs coroutines on its own thread.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run on this loop, wait nowhere."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run on this loop, wait on the caller's; cancelling the one cancels the other."""
        return await asyncio.wrap_future(self.submit(work))

    async def stop(self) -> None:
        """Cancel what still runs, and end the thread if it was started."""
        if self._thread.is_alive():
            await self.run(_cancel_all())
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join)
        self._loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=5) if tasks else None
