"""Computed: recorded lengths and answers, their tokens really computed by an engine behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from dynasor_graph.engine import Engine, Watcher
from dynasor_graph.replay.script import Reply
from dynasor_graph.scheduler.facts import Facts
from dynasor_graph.types import Load, Request

__all__ = ["Computed", "Computing"]

_FIRST: Final = 16
"""Token ids from here on stand for those of the replay; below lie the special ones of most models."""


class Computed:
    """Has an open engine generate as many tokens as were recorded, whatever they say.

    So the time is that of the real engine under this very load, and the answers are the recorded
    ones: for a model whose weights are random, say. What it generates is thrown away; so a request
    that goes on with it finds only its prompt in the engine's prefix cache.

    Args:
        engine: An open engine whose model hardly ever ends by itself.
        ids: How many token ids to use, >= 1; at most the size of the model's vocabulary less 16.
    """

    def __init__(self, engine: Engine, ids: int = 1000) -> None:
        self._engine, self._ids = engine, ids
        self._facts = Facts(engine)
        self._of: dict[Request, Request] = {}  # by what is asked of the engine

    def start(self, request: Request, most: int, reply: Reply) -> Computing:
        """Ask the engine for so many tokens."""
        asked = replace(
            request,
            tokens=tuple(_FIRST + token % self._ids for token in request.tokens),
            max_tokens=max(1, most),
            temperature=1.0,
            stop=(),
            stop_token_ids=(),
            logprobs=False,
            top_logprobs=0,
        )
        self._of[asked] = request
        return Computing(self._engine, asked, most, lambda: self._of.pop(asked, None))

    async def load(self) -> Load:
        """The engine's."""
        return await self._engine.load()

    def watch(self, watcher: Watcher) -> bool:
        """Tell of the engine's steps, if it does."""
        return self._facts.watch(
            lambda begun, ended: watcher(self._those(begun), self._those(ended))
        )

    def _those(self, asked: Sequence[Request]) -> list[Request]:
        return [request for one in asked if (request := self._of.get(one)) is not None]


class Computing:
    """One request, as the engine computes it.

    Args:
        engine: What computes.
        request: What it is asked.
        most: Tokens that count as made; 0 asks nothing.
        over: Called when nothing more of it comes.

    Attributes:
        said: Tokens that were delivered.
        made: Tokens that have come by now.
        cached: Prompt tokens found in the prefix cache, once it has ended.
    """

    def __init__(
        self, engine: Engine, request: Request, most: int, over: Callable[[], object]
    ) -> None:
        self.said = self.made = self.cached = 0
        self._engine, self._request, self._most = engine, request, most
        self._came = asyncio.Event()
        self._over = over
        self._reading = asyncio.ensure_future(self._read()) if most else None
        if not most:
            over()
        self._aborting: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Make no more; what is under way may still come."""
        if self._reading is not None and not self._reading.done() and self._aborting is None:
            self._aborting = asyncio.ensure_future(self._engine.abort(self._request))

    async def until(self, tokens: int) -> bool:
        """Wait until so many are made; whether it came to that before it was aborted.

        Raises:
            EngineError: The engine failed.
        """
        while self._reading is not None and self.made < tokens and not self._reading.done():
            self._came.clear()
            await self._came.wait()
        if self._reading is not None and self._reading.done():
            self._reading.result()
        return self.made >= tokens and self._aborting is None

    async def _read(self) -> None:
        try:
            async with aclosing(self._engine.stream(self._request)) as deltas:
                async for delta in deltas:
                    self.made = min(self._most, self.made + delta.count)
                    if delta.finish_reason is not None:
                        self.cached = delta.cached
                        if delta.finish_reason == "stop":
                            self.made = self._most  # it ended by itself a little early
                    self._came.set()
        finally:
            self._over()
            self._came.set()
