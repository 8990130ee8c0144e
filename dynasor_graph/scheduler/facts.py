"""Facts: what an engine may say of itself beside what every engine does: seats, surcharge, steps."""

from __future__ import annotations

from collections.abc import Callable

from dynasor_graph.engine import Engine, Watcher

__all__ = ["Facts"]


class Facts:
    """What a scheduler would like to know of an engine; engines that know it have these attributes.

    Args:
        engine: Any engine. What it says may change, and is asked each time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def seats(self) -> int:
        """Requests that fit its batch; 0 if it does not say."""
        return int(getattr(self._engine, "seats", 0))

    @property
    def surcharge(self) -> float:
        """Seconds that its step takes longer if a prompt is computed in it; 0 if it does not say."""
        return float(getattr(self._engine, "surcharge", 0.0))

    def watch(self, watcher: Watcher) -> bool:
        """Have it tell of its steps from now on; whether it does. See `VllmEngine.watch`."""
        watch: Callable[[Watcher], bool] | None = getattr(self._engine, "watch", None)
        return watch is not None and watch(watcher)
