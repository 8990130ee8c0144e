"""Gathering: how long free places of an engine wait for more of them. Pure: told the time."""

from __future__ import annotations

__all__ = ["Gathering"]

_SHARE = 0.5
"""Of the least costly wait, as places that stood empty: it is 0.7 times as long and costs 6 % more of
what it costs, and requests that are in a hurry are held up for less."""


class Gathering:
    """Weighs places that stand empty against steps that take longer.

    A step in which a prompt is computed takes longer for all that are generated in it (`surcharge`: on a
    GPU it is no whole CUDA graph). So places that are given away one by one slow each step, and places
    that wait for others stand empty. Both cost the same, and together the least, if places are given
    away when they have stood empty for as long, all added up, as all that are generated wait for one
    such step: the economic order quantity (F. W. Harris, 1913), without its rate having to be known.
    Half as long does nearly as well. Where the others have only just got their places, and nothing is
    generated yet, nobody would wait, and a place that comes free goes to the next at once.

    At 256 requests, a surcharge of 5 ms and 200 ends a second that is every 0.08 s, for 16 at once.
    """

    def __init__(self) -> None:
        self._idle = 0.0  # seconds, of all places that were free, added up
        self._free = 0
        self._since = 0.0

    def due(self, free: int, generating: int, surcharge: float, now: float) -> float:
        """When free places are to be given away; may be in the past.

        Args:
            free: Places that are free from now on, >= 1.
            generating: Requests that are generated, >= 0: their prompts have been computed.
            surcharge: Seconds that a step takes longer if a prompt is computed in it, >= 0.
            now: Seconds on a clock that does not go back.
        """
        self._idle += self._free * (now - self._since)
        self._free, self._since = free, now
        return now + (_SHARE * surcharge * generating - self._idle) / free

    def given(self) -> None:
        """They were given away."""
        self._idle, self._free = 0.0, 0
