"""Pace: how far a request has come that makes so many tokens a second of its event loop's time."""

from __future__ import annotations

import asyncio
import math

__all__ = ["Pace"]

SLACK = 1e-6
"""Of a token: the moment at which a token is done is no exact number."""


class Pace:
    """One request that is running, from now on.

    Args:
        most: Tokens that it makes unless it is aborted, >= 0.
        speed: Tokens per second, > 0.

    Attributes:
        said: Tokens that were delivered.
    """

    def __init__(self, most: int, speed: float) -> None:
        self.said = 0
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
