"""Mailbox: what an engine's own loop or reader delivers to the task that reads a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

from dynasor_graph.types import Delta

__all__ = ["Mailbox"]


class Mailbox:
    """An unbounded queue of deltas that any thread may fill; reading wakes once for many.

    Bound to the loop it is made in. It ends with a delta that has a finish reason, or with an
    exception, which is raised in the reader.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[Delta | BaseException] = deque()
        self._filled = asyncio.Event()

    def put(self, item: Delta | BaseException) -> None:
        """Deliver from any thread; does nothing once the reader's loop is closed."""
        self._items.append(item)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._filled.set)

    async def read(self) -> AsyncIterator[Delta]:
        """The deltas, up to and with the last one."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._items:
                item = self._items.popleft()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
