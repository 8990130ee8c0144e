"""A tiny HTTP server for tests of the client: it answers from a table, and can break off."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

MODELS = {"data": [{"id": "abacus-7m", "max_model_len": 1024}]}


@dataclass(frozen=True)
class Reply:
    """What to answer.

    Attributes:
        body: A JSON value, or text as it is.
        missing: Bytes that are announced and never sent: the connection breaks off instead.
        hold: Stay silent after the body instead of closing the connection.
    """

    body: Any
    status: int = 200
    missing: int = 0
    hold: bool = False

    def data(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def events(*chunks: Mapping[str, Any], **options: Any) -> Reply:
    """A stream of completion chunks, as a server sends it."""
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    done = [] if options else ["data: [DONE]\n\n"]
    return Reply("".join([*lines, *done]), **options)


def chunk(
    text: str, token_ids: list[int] | None, finish_reason: str | None = None, **more: Any
) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "token_ids": token_ids, "finish_reason": finish_reason}
    return {"id": "c", "object": "text_completion", "choices": [choice | more]}


def usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return {"id": "c", "object": "text_completion", "choices": [], "usage": counts}


class Stub:
    """Serves `routes` ("GET /v1/models": Reply) at `url` while it is open.

    Attributes:
        heads: The head of each request, in order.
        bodies: The JSON body of each request that had one, in order.
        answered: Set once a body was answered.
    """

    def __init__(self, routes: Mapping[str, Reply]) -> None:
        self.routes = {"GET /v1/models": Reply(MODELS)} | dict(routes)
        self.heads: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.answered = asyncio.Event()
        self._closing = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closing.set()
        self._server.close()
        if self._open:
            await asyncio.wait(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._answer(reader, writer)
        finally:
            writer.close()
            self._open.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if size := re.search(r"content-length: (\d+)", head, re.IGNORECASE):
            self.bodies.append(json.loads(await reader.readexactly(int(size[1]))))
        route = " ".join(head.split(" ")[:2])
        reply = self.routes.get(route, Reply({"detail": "Not Found"}, status=404))
        body = reply.data()
        kinds = {b"d": "text/event-stream", b"<": "text/html"}
        kind = kinds.get(body[:1], "application/json")
        lines = [
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body) + reply.missing}",
            "Connection: close",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        if size:
            self.answered.set()
        if reply.hold:
            await self._closing.wait()
