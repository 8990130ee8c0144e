"""What graphs find under a name: opened at the first use, for the rest of the process."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, TypeVar, cast

from dynasor_graph.errors import ConfigError

__all__ = ["Registry"]

_T = TypeVar("_T", bound=AbstractAsyncContextManager[Any])


class Registry(Generic[_T]):
    """Things by name.

    Args:
        kind: What they are: "engine".
        call: The function that registers one, for the message that says what to do.
        hint: What else to do.
    """

    def __init__(self, kind: str, call: str, hint: str = "") -> None:
        self._kind, self._call, self._hint = kind, call, hint
        self._found: dict[str, _T | Callable[[], _T]] = {}
        self._opening: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )

    def register(self, name: str, thing: _T | Callable[[], _T]) -> None:
        """Give a name to an open thing, or to a function that makes one."""
        self._found[name] = thing

    def forget(self, name: str) -> None:
        """Take a name back. Closes nothing."""
        self._found.pop(name, None)

    async def named(self, name: str) -> _T:
        """What is registered under `name`, opened if need be.

        Raises:
            ConfigError: There is none.
        """
        found = self._found.get(name)
        if found is not None and not callable(found):
            return found
        async with self._opening.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            found = self._found.get(name)
            if found is None:
                raise ConfigError(
                    f"no {self._kind} is registered as {name!r}: open one and call "
                    f"{self._call}({name!r}, {self._kind}) before the graph runs{self._hint}"
                )
            if not callable(found):
                return found
            opened = cast("_T", await AsyncExitStack().enter_async_context(found()))
            self._found[name] = opened
            return opened
