"""Engines by name: opening one from a short text, and the registry that graphs look in.

A graph's context is plain JSON, so that it works in LangGraph Studio and over HTTP. It names its
engine, and the process that runs the graph registers an engine under that name.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from dynasor_graph.engine.base import Engine
from dynasor_graph.engine.fake import FakeEngine
from dynasor_graph.errors import ConfigError

__all__ = ["DEFAULT", "engine_named", "forget", "open_engine", "register"]

DEFAULT = "default"
"""The name that a graph asks for if its context names none."""

_engines: dict[str, Engine | Callable[[], Engine]] = {}
_opening: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
    weakref.WeakKeyDictionary()
)


def open_engine(spec: str = "abacus-7m", **options: Any) -> Engine:
    """The engine that `spec` stands for, not yet open: use it with `async with`.

    Args:
        spec: `http://...` for a server, `fake` for the scripted engine, else a model for vLLM in
            this process: a bundled name, a folder or a hub name.
        options: Passed to the engine's constructor.

    Raises:
        ConfigError: An option does not exist or is out of range.
    """
    kind: Callable[..., Engine]
    arguments: tuple[str, ...]
    if spec.startswith(("http://", "https://")):
        from dynasor_graph.engine.openai import OpenAIEngine

        kind, arguments = OpenAIEngine, (spec,)
    elif spec == "fake":
        kind, arguments = FakeEngine, ()
    else:
        from dynasor_graph.engine.vllm import VllmEngine

        kind, arguments = VllmEngine, (spec,)
    try:
        return kind(*arguments, **options)
    except TypeError as error:
        raise ConfigError(f"engine {spec!r}: {error}") from None


def register(name: str, engine: Engine | Callable[[], Engine]) -> None:
    """Give an engine a name that graphs can ask for.

    Args:
        name: Any; "default" is what graphs ask for if their context names none.
        engine: An open engine, or a function that makes one: it is opened at the first use, and
            stays open until the process ends.
    """
    _engines[name] = engine


def forget(name: str) -> None:
    """Take a name back. Does not close the engine."""
    _engines.pop(name, None)


async def engine_named(name: str) -> Engine:
    """The engine registered under `name`, opened if need be.

    Raises:
        ConfigError: There is none.
    """
    found = _engines.get(name)
    if found is not None and not callable(found):
        return found
    async with _opening.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        found = _engines.get(name)
        if found is None:
            raise ConfigError(
                f"no engine is registered as {name!r}: open one and call "
                f"dynasor_graph.register({name!r}, engine) before the graph runs"
            )
        if not callable(found):
            return found
        engine = await AsyncExitStack().enter_async_context(found())
        _engines[name] = engine
        return engine
