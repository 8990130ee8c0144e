"""Calls: from other threads into an event loop, with one wake-up for all that come together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Calls"]


class Calls:
    """What `loop.call_soon_threadsafe` does, without a system call for each.

    A wake-up costs 15 microseconds and more, and hundreds of requests can end in one step.

    Args:
        loop: Where the calls are made, in the order in which they came.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[Callable[[], object]] = deque()
        self._woken = False

    def soon(self, call: Callable[[], object]) -> None:
        """Call it on the loop; from any thread. Does nothing once the loop is closed."""
        self._waiting.append(call)
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        self._woken = False  # first: what comes from now on wakes it again
        while self._waiting:
            self._waiting.popleft()()
