"""Remote: programs of the chat model on a server, `dynasor-graph serve`, over HTTP."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from dynasor_graph.chat_model.asked import Asked, Ended
from dynasor_graph.engine.http import Server
from dynasor_graph.errors import EngineRefused
from dynasor_graph.reply import Piece, ToolCall
from dynasor_graph.types import JSON

__all__ = ["Remote"]

_OPENAI = ("temperature", "top_p", "max_tokens", "stop", "seed")
"""Settings of sampling that have a field of their own in OpenAI's API."""


class Remote:
    """Asks a server.

    Args:
        url: Base URL, with or without `/v1`.
        api_key: Sent as the bearer token.
        timeout_s: Seconds without a byte after which a request fails.
        retries: How often a request is sent again that was not answered.
    """

    def __init__(self, url: str, *, api_key: str, timeout_s: float, retries: int) -> None:
        self._options: JSON = {
            "api_key": api_key,
            "timeout_s": timeout_s,
            "max_connections": 1024,
            "max_retries": retries,
        }
        self._url = url
        # Connections belong to a loop: a chat model is used from many.
        self._servers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Server] = (
            weakref.WeakKeyDictionary()
        )
        weakref.finalize(self, _close, self._servers).atexit = False

    def _server(self) -> Server:
        loop = asyncio.get_running_loop()
        if loop not in self._servers:
            self._servers[loop] = Server(self._url, **self._options)
            self._servers[loop].open()
        return self._servers[loop]

    async def ask(self, asked: Asked) -> AsyncGenerator[Piece | Ended, None]:
        """Ask the server; see `Source`."""
        server, calls = self._server(), _Calls()
        usage: JSON = {}
        told: JSON = {"model_provider": "dynasor_graph", "algorithm": asked.algorithm}
        async with aclosing(server.chat(_body(asked))) as rows:
            async for row in rows:
                for piece in _pieces(row, calls, told):
                    yield piece
                usage = row.get("usage") or usage
                told |= {"model_name": row.get("model"), **(row.get("x_dynasor") or {})}
        for call in calls.whole():
            yield Piece("tool_call", "", call)
        yield Ended(usage=_usage(usage), metadata=told)


def _close(servers: Mapping[asyncio.AbstractEventLoop, Server]) -> None:
    """Close the connections of a model that is gone, each on its loop if that still runs."""
    for loop, server in list(servers.items()):
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(server.close(), loop)


def _body(asked: Asked) -> JSON:
    sampling = dict(asked.settings.get("sampling", {}))
    own = {name: sampling.pop(name) for name in _OPENAI if name in sampling}
    others = {k: v for k, v in asked.settings.items() if k not in {"sampling", "tools"}}
    body: JSON = {
        "model": f"{asked.model}@{asked.algorithm}",
        "messages": asked.chat,
        **own,
        "x_dynasor": others | ({"sampling": sampling} if sampling else {}),
    }
    if tools := asked.settings.get("tools"):
        body["tools"] = tools
    if asked.every:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


class _Calls:
    """Calls of tools that come in parts."""

    def __init__(self) -> None:
        self._parts: dict[int, list[str]] = {}

    def add(self, row: JSON, place: int) -> None:
        """Take in a part; each has a place, in which its name comes first."""
        call = row.get("function") or {}
        parts = self._parts.setdefault(row.get("index", place), ["", ""])
        parts[0] += call.get("name") or ""
        parts[1] += call.get("arguments") or ""

    def whole(self) -> Iterator[ToolCall]:
        """All of them, once the reply has ended."""
        for name, arguments in self._parts.values():
            try:
                yield ToolCall(name=name, arguments=json.loads(arguments or "{}"))
            except ValueError:
                raise EngineRefused(
                    f"the server called {name!r} with no JSON: {arguments!r}"
                ) from None


def _pieces(row: JSON, calls: _Calls, told: JSON) -> Iterator[Piece]:
    for choice in row.get("choices") or ():
        said: dict[str, Any] = choice.get("delta") or choice.get("message") or {}
        if reasoning := said.get("reasoning_content"):
            yield Piece("reasoning", reasoning)
        if content := said.get("content"):
            yield Piece("content", content)
        for place, call in enumerate(said.get("tool_calls") or ()):
            calls.add(call, place)
        if choice.get("finish_reason"):
            told["finish_reason"] = choice["finish_reason"]


def _usage(row: JSON) -> JSON:
    prompts, generated = row.get("prompt_tokens", 0), row.get("completion_tokens", 0)
    read, written = (row.get(f"{kind}_tokens_details") or {} for kind in ("prompt", "completion"))
    return {
        "input_tokens": prompts,
        "output_tokens": generated,
        "total_tokens": row.get("total_tokens", prompts + generated),
        "input_token_details": {"cache_read": read.get("cached_tokens") or 0},
        "output_token_details": {"reasoning": written.get("reasoning_tokens") or 0},
    }
