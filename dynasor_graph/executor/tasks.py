"""Branch tasks: a round's branches as LangGraph tasks, so that finished ones survive a crash.

LangGraph finds a task's stored result by the order of the calls, not by their arguments. So a round
starts its branches in the order of their index, always.

Where nothing is stored and nobody listens, they are plain tasks of the event loop: LangGraph's cost half
a millisecond each, and with hundreds of branches that end together the engine would wait for them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.func import task

__all__ = ["BranchTasks"]

Work = Callable[[], Awaitable[Any]]

_open: dict[str, BranchTasks] = {}
"""Rounds that are open in this process; a task finds the work of its own by key."""


async def _run(key: str, index: int) -> Any:
    return await _open[key].work(index)


_branch: Callable[[str, int], asyncio.Future[Any]] = cast(
    "Any", task(name="branch")(cast("Any", _run))
)


class BranchTasks:
    """The branch tasks of one round; use it with `with`.

    Args:
        config: Of the node that runs.
    """

    def __init__(self, config: RunnableConfig) -> None:
        self._key = uuid.uuid4().hex
        self._work: dict[int, Work] = {}
        self._seen = _is_stored(config) or _is_listened_to(config)

    def __enter__(self) -> BranchTasks:
        _open[self._key] = self
        return self

    def __exit__(self, *exc: object) -> None:
        del _open[self._key]

    def start(self, index: int, work: Work) -> asyncio.Future[Any]:
        """Start a branch. Its work returns plain JSON; if a crash came later, it is not run again."""
        self._work[index] = work
        if not self._seen:
            return asyncio.ensure_future(self.work(index))
        return _branch(self._key, index)

    def was_restored(self, index: int) -> bool:
        """Whether a branch that has ended was done before a crash: nobody picked up its work."""
        return self._work.pop(index, None) is not None

    async def work(self, index: int) -> Any:
        """Do what was laid out for this branch."""
        try:
            return await self._work.pop(index)()
        except ExceptionGroup as group:  # probes run in a task group; callers want the one reason
            raise _first(group) from group


def _is_stored(config: RunnableConfig) -> bool:
    """Whether there may be a checkpointer: each needs a thread."""
    return "thread_id" in config.get("configurable", {})


def _is_listened_to(config: RunnableConfig) -> bool:
    """Whether there are callbacks, such as a tracer's, which are to see each branch."""
    callbacks = config.get("callbacks")
    return bool(getattr(callbacks, "handlers", callbacks))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group that is none itself."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
