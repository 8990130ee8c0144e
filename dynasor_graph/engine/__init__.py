"""Engines: the one seam to a language model, and what stands behind it."""

from dynasor_graph.engine.base import Engine, check_fits, complete
from dynasor_graph.engine.fake import FakeEngine
from dynasor_graph.engine.names import DEFAULT, engine_named, forget, open_engine, register

__all__ = [
    "DEFAULT",
    "Engine",
    "FakeEngine",
    "check_fits",
    "complete",
    "engine_named",
    "forget",
    "open_engine",
    "register",
]
