"""Answering: a request's reply while its programs run: whole, or as a stream of events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from dynasor_graph.server.choice import Choices, Ended
from dynasor_graph.server.limits import Turnstile
from dynasor_graph.server.plan import Job
from dynasor_graph.server.refusal import refusal_of
from dynasor_graph.server.service import Service
from dynasor_graph.server.shape import Shape
from dynasor_graph.types import JSON

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["Answering"]

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a stream says that it is alive."""

_STREAM_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the chunks
]


class _Left(Exception):
    """The client has closed the connection."""


@dataclass(kw_only=True, eq=False)
class Answering(Response):
    """The response to a request: when it is sent, its programs run.

    A client that leaves ends them, streaming or not: the response waits for both.

    Attributes:
        service: Where they run.
        turnstile: Lets them in.
        key: Whose request it is.
        jobs: What runs.
        shape: How it is written down.
        endpoint: For the metrics.
        stream: Whether it is a stream.
        include_usage: Whether the stream ends with the usage.
        raw: Whether the text is wanted as the model writes it.
        heartbeat: Seconds of silence after which a stream says that it is alive.
    """

    service: Service
    turnstile: Turnstile
    key: str
    jobs: list[Job]
    shape: Shape
    endpoint: str
    stream: bool
    include_usage: bool
    raw: bool
    heartbeat: float = HEARTBEAT

    def __post_init__(self) -> None:
        """FastAPI looks whether there is work to do after the response."""
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the programs, and send what they say."""
        out = _Out(send)
        status = "left"
        try:
            with self.turnstile.admit(self.key, len(self.jobs)):
                async with Choices(self.service, self.jobs, raw=self.raw) as choices:
                    work = self._stream(choices, out) if self.stream else self._whole(choices, out)
                    await _unless_left(receive, work)
                    status = "200"
        except _Left:
            self.service.metrics.disconnects.labels(self.endpoint).inc()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told in its shape
            refusal = refusal_of(error)
            status = str(refusal.status)
            if out.begun:
                await out.event(refusal.to_json())
                await out.end()
            else:
                await refusal.response()(scope, receive, send)
        finally:
            self.service.metrics.requests.labels(self.endpoint, status).inc()

    async def _whole(self, choices: Choices, out: _Out) -> None:
        body = json.dumps(self.shape.whole(await choices.all()), ensure_ascii=False).encode()
        await out.whole(body, self.shape.id)

    async def _stream(self, choices: Choices, out: _Out) -> None:
        """Nothing is sent before the first piece, so that what fails at once still has a status."""
        ended: dict[int, Ended] = {}
        begun: set[int] = set()
        asked = time.monotonic()
        while len(ended) < len(self.jobs):
            came = await choices.next(self.heartbeat)
            if came is None:
                await out.comment("still here", self.shape.id)
                continue
            rows: list[JSON | None] = []
            while came is not None:  # all that is there goes out in one piece
                at, what = came
                if at not in begun:
                    if not begun:
                        self.service.metrics.first_text(time.monotonic() - asked)
                    begun.add(at)
                    rows.append(self.shape.first(at))
                if isinstance(what, Ended):
                    ended[at] = what
                    rows.append(self.shape.last(at, what))
                else:
                    rows += [self.shape.piece(at, piece) for piece in what]
                came = choices.there()
            await out.event(*filter(None, rows), id_=self.shape.id)
        if self.include_usage:
            await out.event(self.shape.usage([ended[at] for at in sorted(ended)]))
        await out.end()


class _Out:
    """What has been sent of a response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def _begin(self, headers: list[tuple[bytes, bytes]], id_: str) -> None:
        if not self.begun:
            self.begun = True
            headers = [*headers, (b"x-request-id", id_.encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _put(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def event(self, *rows: JSON, id_: str = "") -> None:
        """Events of a stream, in one piece."""
        await self._begin(_STREAM_HEADERS, id_)
        text = "".join(f"data: {json.dumps(row, ensure_ascii=False)}\n\n" for row in rows)
        await self._put(text.encode(), more=True)

    async def comment(self, text: str, id_: str) -> None:
        """What clients pass over, and what keeps a connection open."""
        await self._begin(_STREAM_HEADERS, id_)
        await self._put(f": {text}\n\n".encode(), more=True)

    async def end(self) -> None:
        """The last event."""
        await self._put(b"data: [DONE]\n\n", more=False)

    async def whole(self, body: bytes, id_: str) -> None:
        """A reply in one piece."""
        length = str(len(body)).encode()
        await self._begin(
            [(b"content-type", b"application/json"), (b"content-length", length)], id_
        )
        await self._put(body, more=False)


async def _unless_left(receive: Receive, work: Awaitable[None]) -> None:
    """Do the work; if the client leaves meanwhile, give it up.

    Raises:
        _Left: It did.
    """

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    listener, worker = asyncio.ensure_future(left()), asyncio.ensure_future(work)
    try:
        await asyncio.wait({listener, worker}, return_when=asyncio.FIRST_COMPLETED)
        if not worker.done():
            raise _Left
        worker.result()
    finally:
        for task in (listener, worker):
            task.cancel()
        await asyncio.wait({listener, worker})
