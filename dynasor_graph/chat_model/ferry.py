"""Ferry: carries what an async generator yields on one event loop to readers anywhere.

The generator runs in one task from its first step to its last, as LangGraph and `asyncio.timeout` need
it, and leaving the reader ends it before the reader goes on.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from functools import cache
from typing import Any, TypeVar

from langchain_core.runnables.config import var_child_runnable_config

from dynasor_graph.engine.own_loop import OwnLoop

__all__ = ["afloat", "carry", "carry_sync", "the_loop"]

T = TypeVar("T")

_END = object()
_lock = threading.Lock()


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


@cache
def _open_loop() -> OwnLoop:
    loop = OwnLoop("dynasor-chat")
    loop.start()
    return loop


def the_loop() -> OwnLoop:
    """The loop of this process on which programs run that belong to no loop of the caller's."""
    with _lock:
        return _open_loop()


def afloat() -> contextvars.Context:
    """The caller's context without LangGraph's: in an agent's node, a program is no part of its graph.

    Else it would write to the agent's checkpoints, and its events would mingle with the agent's.
    """
    context = contextvars.copy_context()
    context.run(var_child_runnable_config.set, None)
    return context


async def _start(
    items: AsyncGenerator[T, None], put: Callable[[object], None]
) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(_pump(items, put), context=afloat())


async def _pump(items: AsyncGenerator[T, None], put: Callable[[object], None]) -> None:
    try:
        async with aclosing(items):
            async for item in items:
                put(item)
    except Exception as error:  # noqa: BLE001 - raised again where it is read
        put(_Raised(error))
    else:
        put(_END)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _opened(item: Any) -> Any:
    if isinstance(item, _Raised):
        raise item.error
    return item


async def carry(
    items: AsyncGenerator[T, None], on: OwnLoop | None = None
) -> AsyncGenerator[T, None]:
    """What a generator yields that runs on another loop; None: on this one, in a task of its own."""
    here, arrived = asyncio.get_running_loop(), asyncio.Queue[Any]()
    if on is None:
        task = await _start(items, arrived.put_nowait)
    else:
        task = await on.run(
            _start(items, lambda item: _tell(here, arrived, item)),
        )
    try:
        while (item := _opened(await arrived.get())) is not _END:
            yield item
    finally:
        await (_end(task) if on is None else on.run(_end(task)))


def _tell(loop: asyncio.AbstractEventLoop, arrived: asyncio.Queue[Any], item: object) -> None:
    loop.call_soon_threadsafe(arrived.put_nowait, item)


def carry_sync(items: AsyncGenerator[T, None], on: OwnLoop) -> Generator[T, None, None]:
    """What a generator yields that runs on another loop, for a caller that has none."""
    arrived = queue.SimpleQueue[Any]()
    task = on.submit(_start(items, arrived.put)).result()
    try:
        while (item := _opened(arrived.get())) is not _END:
            yield item
    finally:
        on.submit(_end(task)).result()
