"""Following: the load of the engine, read while requests wait, and the limit that follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dynasor_graph.engine import Engine
from dynasor_graph.errors import EngineDied, EngineError
from dynasor_graph.scheduler.admission import Admission
from dynasor_graph.scheduler.turns import Turns
from dynasor_graph.types import Load

__all__ = ["Following"]


class Following:
    """Reads the load at intervals, as long as something waits.

    Args:
        engine: Whose load.
        turns: Their limit is set, and whether the KV cache is short.
        admission: How the load is followed.
        within: The limit that may be, for one that should be; None leaves the limit as it is.
        changed: Called after each reading.
        died: Called when the engine has died.
    """

    def __init__(
        self,
        engine: Engine,
        turns: Turns,
        admission: Admission,
        *,
        within: Callable[[int], int] | None,
        changed: Callable[[], None],
        died: Callable[[EngineDied], None],
    ) -> None:
        self._engine, self._turns, self._admission = engine, turns, admission
        self._within, self._changed, self._died = within, changed, died
        self._reader: asyncio.Task[None] | None = None
        self._last: Load | None = None

    def start(self) -> None:
        """Read from now on, if it does not already; on the loop that is running."""
        if self._reader is None or self._reader.done():
            self._reader = asyncio.ensure_future(self._read())

    def stop(self) -> None:
        """Read no more."""
        if self._reader is not None and not self._reader.done():
            self._reader.cancel()

    async def _read(self) -> None:
        while True:
            # First the pause: what was sent a moment ago is not in the engine's numbers yet.
            await asyncio.sleep(self._admission.interval)
            if not self._turns:
                return
            inside = self._turns.inside
            try:
                load = await self._engine.load()
            except EngineDied as error:
                self._died(error)
                return
            except EngineError:
                pass  # no reading: everything stays as it is until the next
            else:
                self._adjust(load, inside)

    def _adjust(self, load: Load, inside: int) -> None:
        turns = self._turns
        turns.pressed = load.kv_usage >= self._admission.pressed
        if self._within is not None:
            limit = self._admission.next(turns.limit, inside, load, self._last)
            turns.limit = self._within(limit)
        self._last = load
        self._changed()
