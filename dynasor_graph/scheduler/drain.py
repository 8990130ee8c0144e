"""Drain: how fast the queue empties, to say when it is worth coming back."""

from __future__ import annotations

import math

__all__ = ["Drain"]

MEMORY = 30.0
"""Seconds over which the rate is taken; older events fade."""


class Drain:
    """A rate of events with a fading memory; it is told the time."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._first: float | None = None
        self._last = 0.0

    def count(self, now: float) -> None:
        """One more, now."""
        if self._first is None:
            self._first = self._last = now
        self._fade(now)
        self._weight += 1.0

    def rate(self, now: float) -> float:
        """Events per second of late; 0 if there was none, or no time has passed."""
        if self._first is None or now <= self._first:
            return 0.0
        self._fade(now)
        seen = -math.expm1(-(now - self._first) / MEMORY)  # how much of the memory is filled
        return self._weight / (MEMORY * seen)

    def _fade(self, now: float) -> None:
        if now > self._last:
            self._weight *= math.exp((self._last - now) / MEMORY)
            self._last = now
