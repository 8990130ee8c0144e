"""Opened: models that chat models have opened in this process, each once, behind a scheduler."""

from __future__ import annotations

import threading

from dynasor_graph.engine import open_engine, register
from dynasor_graph.scheduler import Scheduled

__all__ = ["opened_name"]

_known: set[str] = set()
_lock = threading.Lock()


def opened_name(model: str) -> str:
    """The name that a model is registered under; it is opened when it is first asked."""
    name = f"chat:{model}"
    with _lock:
        if name not in _known:
            register(name, lambda: Scheduled(open_engine(model)))
            _known.add(name)
    return name
