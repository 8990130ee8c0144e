"""Pace: how far a request has come: at a constant speed of its own, or in the batch of a machine."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from dynasor_graph.engine import Watcher
from dynasor_graph.replay.script import Reply
from dynasor_graph.simulation import Clocked, Speed
from dynasor_graph.types import Load, Request

__all__ = ["Batched", "Pace", "Paces", "Running", "Timing"]

SLACK = 1e-6
"""Of a token: the moment at which a token is done is no exact number."""


class Running(Protocol):
    """One request, from its start on.

    Attributes:
        said: Tokens that were delivered.
    """

    said: int

    @property
    def made(self) -> int:
        """Tokens made by now, or until it was aborted."""
        ...

    @property
    def cached(self) -> int:
        """Prompt tokens that were found in the prefix cache."""
        ...

    def abort(self) -> None:
        """Keep what was made by now, and make no more."""
        ...

    async def until(self, tokens: int) -> bool:
        """Wait until so many are made; whether it came to that before it was aborted."""
        ...


class Timing(Protocol):
    """When the tokens of requests are made: what a replay engine leaves to others."""

    def start(self, request: Request, most: int, reply: Reply) -> Running:
        """Start a request that makes `most` tokens of its reply, >= 0."""
        ...

    async def load(self) -> Load:
        """What is being done now; `generated` is passed over."""
        ...

    def watch(self, watcher: Watcher) -> bool:
        """Tell of each step from now on, if it knows of them; whether it does."""
        ...


class Batched:
    """Requests in the batch of one machine.

    Args:
        speed: Of the machine.
    """

    def __init__(self, speed: Speed) -> None:
        self._clocked = Clocked(speed)

    def start(self, request: Request, most: int, reply: Reply) -> Running:
        """Start or queue a request."""
        return self._clocked.start(request, most, reply.ids)

    async def load(self) -> Load:
        """As the machine says."""
        return self._clocked.load()

    def watch(self, watcher: Watcher) -> bool:
        """It does not tell."""
        return False


class Paces:
    """Requests that all run at once, each at its own speed."""

    def __init__(self) -> None:
        self._running: set[Pace] = set()
        self._computed = 0

    def start(self, request: Request, most: int, reply: Reply) -> Running:
        """Start a request at once."""
        self._computed += len(request.tokens) - reply.cached
        pace = Pace(most, reply.speed, reply.cached, self._running)
        self._running.add(pace)
        return pace

    async def load(self) -> Load:
        """How many run, those included whose last delta was not read."""
        return Load(running=len(self._running), prompt_computed=self._computed)

    def watch(self, watcher: Watcher) -> bool:
        """There are no steps."""
        return False


class Pace:
    """One request that is running, from now on.

    Args:
        most: Tokens that it makes unless it is aborted, >= 0.
        speed: Tokens per second, > 0.
        cached: Prompt tokens that were computed before.
        running: Where it takes itself out when it ends.

    Attributes:
        said: Tokens that were delivered.
        cached: Prompt tokens that were computed before.
    """

    def __init__(self, most: int, speed: float, cached: int, running: set[Pace]) -> None:
        self.said = 0
        self.cached = cached
        self._running = running
        self._most, self._speed = most, speed
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._stopped = asyncio.Event()
        self._kept: int | None = None

    @property
    def made(self) -> int:
        """Tokens made by now, or until it was aborted."""
        if self._kept is not None:
            return self._kept
        made = math.floor((self._clock() - self._began) * self._speed + SLACK)
        return max(self.said, min(self._most, made))

    def abort(self) -> None:
        """Keep what was made by now."""
        self._running.discard(self)
        self._kept = self.made
        self._stopped.set()

    async def until(self, tokens: int) -> bool:
        """Wait until so many are made; whether it came to that before it was aborted."""
        try:
            async with asyncio.timeout_at(self._began + tokens / self._speed):
                await self._stopped.wait()
        except TimeoutError:
            return not self._stopped.is_set()
        return False
