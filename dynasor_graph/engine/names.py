"""Engines by name: opening one from a short text, and the registry that graphs look in.

A graph's context is plain JSON, so that it works in LangGraph Studio and over HTTP. It names its
engine, and the process that runs the graph registers an engine under that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynasor_graph.abacus import BUNDLED
from dynasor_graph.engine.base import Engine
from dynasor_graph.engine.fake import FakeEngine
from dynasor_graph.engine.registry import Registry
from dynasor_graph.errors import ConfigError, UnknownName

__all__ = [
    "DEFAULT",
    "KINDS",
    "engine_named",
    "forget",
    "is_url",
    "make_engine",
    "open_engine",
    "register",
]

DEFAULT = "default"
"""The name that a graph asks for if its context names none."""

_engines: Registry[Engine] = Registry("engine", "dynasor_graph.register")

KINDS = ("vllm", "openai", "fake")
"""The kinds of engine there are."""


def open_engine(spec: str = "abacus-7m", **options: Any) -> Engine:
    """The engine that `spec` stands for, not yet open: use it with `async with`.

    Args:
        spec: `http://...` for a server, `fake` for the scripted engine, else a model for vLLM in
            this process: a bundled name, a folder or a hub name.
        options: Passed to the engine's constructor.

    Raises:
        ConfigError: An option does not exist or is out of range.
    """
    if is_url(spec):
        return make_engine("openai", url=spec, **options)
    return make_engine("fake" if spec == "fake" else "vllm", model=spec, **options)


def is_url(spec: str) -> bool:
    """Whether a text stands for a server, not for a model in this process."""
    return spec.startswith(("http://", "https://"))


def make_engine(
    kind: str, *, model: str = "abacus-7m", url: str | None = None, **options: Any
) -> Engine:
    """An engine of a kind, not yet open.

    Args:
        kind: One of `KINDS`.
        model: For vllm: a bundled name, a folder or a hub name. For openai: the server's model;
            a bundled name stands for the first model that the server lists.
        url: Of the server, for openai.
        options: Passed to the engine's constructor.

    Raises:
        UnknownName: There is no such kind.
        ConfigError: `url` is missing or too much, or an option does not exist.
    """
    if kind not in KINDS:
        raise UnknownName("engine", kind, KINDS)
    if (url is not None) != (kind == "openai"):
        cure = "give it a url" if url is None else "leave the url out, or take engine 'openai'"
        raise ConfigError(f"engine {kind!r}: {cure}")
    try:
        if kind == "fake":
            return FakeEngine(**options)
        if url is not None:
            from dynasor_graph.engine.openai import OpenAIEngine

            return OpenAIEngine(url, model=None if model in BUNDLED else model, **options)
        from dynasor_graph.engine.vllm import VllmEngine

        return VllmEngine(model, **options)
    except TypeError as error:
        raise ConfigError(f"engine {kind!r}: {error}") from None


def register(name: str, engine: Engine | Callable[[], Engine]) -> None:
    """Give an engine a name that graphs can ask for.

    Args:
        name: Any; "default" is what graphs ask for if their context names none.
        engine: An open engine, or a function that makes one: it is opened at the first use, and
            stays open until the process ends.
    """
    _engines.register(name, engine)


def forget(name: str) -> None:
    """Take a name back. Does not close the engine."""
    _engines.forget(name)


async def engine_named(name: str) -> Engine:
    """The engine registered under `name`, opened if need be.

    Raises:
        ConfigError: There is none.
    """
    return await _engines.named(name)
