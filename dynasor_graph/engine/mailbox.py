"""Mailbox: what an engine's own loop or reader delivers to the task that reads a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from dynasor_graph.engine.calls import Calls
from dynasor_graph.types import Delta

__all__ = ["Mailbox"]


class Mailbox:
    """An unbounded queue of deltas that any thread may fill; reading wakes once for many.

    Bound to the loop it is made in. It ends with a delta that has a finish reason, or with an
    exception, which is raised in the reader. It is its own iterator, and no generator: nothing has to be
    closed when a reader leaves early.

    Args:
        calls: How the loop is woken. One for all mailboxes of a loop wakes it once for all that one
            step of an engine delivers.

    Attributes:
        ended: Whether the last delta, or the exception, was read.
    """

    def __init__(self, calls: Calls | None = None) -> None:
        self._calls = calls or Calls(asyncio.get_running_loop())
        self._items: deque[Delta | BaseException] = deque()
        self._filled = asyncio.Event()
        self.ended = False

    def put(self, item: Delta | BaseException) -> None:
        """Deliver from any thread; does nothing once the reader's loop is closed."""
        self._items.append(item)
        self._calls.soon(self._filled.set)

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def __anext__(self) -> Delta:
        """The next delta, up to and with the last one."""
        if self.ended:
            raise StopAsyncIteration
        while not self._items:
            self._filled.clear()
            if not self._items:  # else it came in between
                await self._filled.wait()
        item = self._items.popleft()
        if isinstance(item, BaseException):
            self.ended = True
            raise item
        self.ended = item.finish_reason is not None
        return item
