"""Engines: the one seam to a language model, and what stands behind it."""

from dynasor_graph.engine.base import Engine, Watcher, check_fits, complete
from dynasor_graph.engine.fake import FakeEngine
from dynasor_graph.engine.names import (
    DEFAULT,
    KINDS,
    engine_named,
    forget,
    make_engine,
    open_engine,
    register,
)

__all__ = [
    "DEFAULT",
    "Engine",
    "FakeEngine",
    "KINDS",
    "Watcher",
    "check_fits",
    "complete",
    "engine_named",
    "forget",
    "make_engine",
    "open_engine",
    "register",
]
