"""Shares: whose turn it is among tenants: weighted fair shares of the engine's tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dynasor_graph.errors import ConfigError
from dynasor_graph.scheduler.heap import Heap

__all__ = ["Shares"]


class Shares:
    """Start-time fair queueing (Goyal, Vin and Cheng 1996) over tokens.

    Each tenant has a clock that advances by tokens / weight as it is served; the one that is
    furthest behind goes next. While two tenants wait, what they were served differs, by weight, by no
    more than one request of each and `burst`. Who comes back from a pause starts where the
    others are, less what it left unused, up to `burst`: it catches up on a short absence, and
    cannot save up a long one.

    Args:
        weights: Tenant -> weight, > 0; others have 1.
        burst: Tokens / weight that a tenant may catch up on, >= 0.

    Raises:
        ConfigError: A weight or `burst` is out of range.
    """

    def __init__(self, weights: Mapping[str, float] | None = None, *, burst: float = 0.0) -> None:
        self._weights = dict(weights or {})
        for tenant, weight in self._weights.items():
            if not 0 < weight < math.inf:
                raise ConfigError(f"shares: the weight of {tenant!r} must be > 0, got {weight!r}")
        if not 0 <= burst < math.inf:
            raise ConfigError(f"burst must be >= 0 tokens, got {burst!r}")
        self._burst = burst
        self._clocks: dict[str, float] = {}
        self._waiting: Heap[str] = Heap()
        self._now = 0.0  # clock of the tenant that was served last
        self._total = 0.0  # weight of all that wait

    def weight(self, tenant: str) -> float:
        """Its weight."""
        return self._weights.get(tenant, 1.0)

    def part(self, tenant: str) -> float:
        """Its share of the engine if it and all that wait now are served, 0 to 1."""
        own = self.weight(tenant)
        return own / (self._total if tenant in self._waiting else self._total + own)

    def join(self, tenant: str) -> None:
        """The tenant has something that waits."""
        if tenant not in self._waiting:
            self._total += self.weight(tenant)
            least = self._now - self._burst
            self._clocks[tenant] = max(self._clocks.get(tenant, self._now), least)
            if (alone := self._waiting.first()) is not None:
                self._put(alone[1])
            self._put(tenant)

    def leave(self, tenant: str) -> None:
        """The tenant has nothing more that waits."""
        if tenant in self._waiting:
            self._waiting.discard(tenant)
            self._total = self._total - self.weight(tenant) if self._waiting else 0.0

    def first(self) -> str | None:
        """Who is next, or None if nobody waits."""
        found = self._waiting.first()
        if found is None:
            return None
        self._now = max(self._now, self._clocks[found[1]])
        return found[1]

    def charge(self, tenant: str, tokens: float) -> None:
        """Put served tokens on its account; negative ones give back what was charged too much."""
        self._clocks[tenant] = self._clocks.get(tenant, self._now) + tokens / self.weight(tenant)
        if len(self._waiting) > 1 and tenant in self._waiting:  # one alone is first anyway
            self._put(tenant)

    def _put(self, tenant: str) -> None:
        self._waiting.put(tenant, (self._clocks[tenant],))
