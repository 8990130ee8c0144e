"""Admission: how many requests the engine may have, by its load. Pure: readings in, a number out."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dynasor_graph.types import Load

__all__ = ["Admission"]

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
_UNKNOWN = 64
"""Requests to begin with where the engine does not say how many fit its batch."""


class Admission(BaseModel):
    """Keeps the engine full, and what waits in the scheduler's queue, where it can be re-ordered.

    The aim is an engine in which a few requests wait: enough to fill a place the moment it is free,
    few enough that they hardly matter (none, where the scheduler gathers free places). While none
    waits the limit grows by half. When more wait than that, the engine has said what it holds, and
    the limit becomes just that. When the KV cache is full, the limit falls by a tenth: past that mark
    vLLM drops running requests and computes them again.

    A reading that equals the one before says nothing new, and changes nothing. An engine that
    reports no load (a server without vLLM's metrics) so stays where it began.

    Attributes:
        start: Requests to begin with; None: as many as the engine says fit its batch and the spare
            ones, or 64 if it does not say (`seats`).
        least: Never fewer requests.
        most: Never more.
        spare: Requests that may wait in the engine, as a share of those that run; at least 2.
        pressed: Share of the KV cache from which on the limit does not grow, and programs that
            have begun go before new ones.
        full: Share of the KV cache from which on the limit falls.
        interval: Seconds between two readings, while something waits. Over HTTP each costs a request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Count | None = None
    least: Count = 8
    most: Count = 8192
    spare: Share = 1 / 16
    pressed: Share = 0.9
    full: Share = 0.97
    interval: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2

    @model_validator(mode="after")
    def _in_order(self) -> Admission:
        if not self.least <= (self.start or self.least) <= self.most:
            raise ValueError(
                f"least <= start <= most must hold, got {self.least}, {self.start}, {self.most}"
            )
        return self

    def first(self, seats: int) -> int:
        """The limit to begin with.

        Args:
            seats: Requests that fit the engine's batch; 0 if that is not known.
        """
        start = self.start or (seats + self._spare(seats) if seats else _UNKNOWN)
        return max(self.least, min(self.most, start))

    def _spare(self, running: int) -> int:
        return max(2, int(running * self.spare))

    def next(self, limit: int, inside: int, load: Load, before: Load | None) -> int:
        """The new limit.

        Args:
            limit: The limit so far.
            inside: Requests that the engine had from us when it was asked.
            load: What it said.
            before: What it said the time before; None the first time, which changes nothing.
        """
        if before is None or load == before:
            return limit
        spare = self._spare(load.running)
        # Of those that wait in the engine some may be others', or have begun since it counted: no
        # more of ours wait than we have beyond those that run. And vLLM counts when a step has
        # ended, where few run for a moment if many finished: the reading before says how many can.
        ours = min(load.waiting, max(0, inside - max(load.running, before.running)))
        if load.kv_usage >= self.full:
            limit = min(limit, (inside - ours) * 9 // 10)
        elif load.waiting > spare:
            limit = min(limit, inside - ours + spare)
        elif inside >= limit and load.kv_usage < self.pressed:
            full_step = load.running >= before.running
            limit += limit // 2 + 1 if full_step and not load.waiting else spare - load.waiting
        return max(self.least, min(self.most, limit))
