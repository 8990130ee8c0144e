"""In flight: the requests of one program that are running, and how they all end at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager

from dynasor_graph.engine import Engine
from dynasor_graph.types import Completion, Delta, Request

__all__ = ["InFlight"]


class InFlight:
    """What one program is waiting for.

    Attributes:
        stopped: Whether its requests have been told to end; none starts after that.
        queued: Seconds that they were held back by the scheduler, summed up.
    """

    def __init__(self, engine: Engine) -> None:
        self.stopped = False
        self.queued = 0.0
        self._engine = engine
        self._requests: set[Request] = set()

    @contextmanager
    def watched(self, request: Request) -> Iterator[None]:
        """While inside, `stop` ends this request too."""
        self._requests.add(request)
        try:
            yield
        finally:
            self._requests.discard(request)

    async def complete(
        self, request: Request, enough: Callable[[Delta], bool | None] | None = None
    ) -> Completion:
        """Read a request to its end; if the program was stopped before it starts, at once.

        Args:
            request: What is asked.
            enough: Called with each delta; ends this request alone by returning true.
        """
        whole, told = Completion(), False
        if self.stopped:
            return whole
        with self.watched(request):
            async with aclosing(self._engine.stream(request)) as deltas:
                async for delta in deltas:
                    whole.add(delta)
                    self.queued += delta.queued
                    if enough is not None and enough(delta) and not told:
                        told = True
                        await self._engine.abort(request)
        return whole

    async def stop(self) -> None:
        """Make every running request return what it has."""
        self.stopped = True
        async with asyncio.TaskGroup() as group:
            for request in list(self._requests):
                group.create_task(self._engine.abort(request))
