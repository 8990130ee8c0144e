"""Giving: the call that gives free places of the engine away, soon or once enough are gathered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dynasor_graph.scheduler.gathering import Gathering

__all__ = ["Giving"]

_SOON = 2e-3
"""Seconds for which no timer is set: where many branches end at once a timer comes after all that their
programs do next, and the engine would wait for that."""


class Giving:
    """One call to come on an event loop, and none beside it.

    Args:
        admit: What is called.
    """

    def __init__(self, admit: Callable[[], None]) -> None:
        self._admit = admit
        self._gathering = Gathering()
        self._call: asyncio.Handle | None = None
        self._due: float | None = None  # when it comes, while places are being gathered

    def soon(self, loop: asyncio.AbstractEventLoop, *, hurry: bool = False) -> None:
        """Call when all that is ready now has run, or when gathered; with `hurry` in any case then."""
        if hurry and self._due is not None:
            self._cancel()
        if self._call is None:
            self._call = loop.call_soon(self._run)

    def gather(
        self,
        loop: asyncio.AbstractEventLoop,
        free: int,
        generating: int,
        surcharge: float,
        *,
        now: bool = False,
    ) -> None:
        """Call once places have stood empty for what a step with a prompt costs; see `Gathering`.

        With `now`, if that is so: before this returns, not when all that is ready has run.
        """
        if free < 1 or (self._call is not None and self._due is None):
            return
        time = loop.time()
        due = self._gathering.due(free, generating, surcharge, time)
        if self._due is not None and due >= self._due:  # no more are free than at the last look
            return
        self._cancel()
        if due > time + _SOON:
            self._due, self._call = due, loop.call_at(due, self._run)
        elif now:
            self._run()
        else:
            self._call = loop.call_soon(self._run)

    def forget(self) -> None:
        """There is no call to come: the loop has gone, or it comes now."""
        self._call = self._due = None
        self._gathering.given()

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._call = self._due = None

    def _run(self) -> None:
        self.forget()
        self._admit()
