"""Body: reads what a client sends, up to a size and within a time, before anything parses it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dynasor_graph.server.refusal import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from dynasor_graph.server.limits import Limits

__all__ = ["BoundedBody"]


class BoundedBody:
    """ASGI middleware: a body that is too large is refused as soon as that shows.

    Args:
        app: What answers.
        limits: How large, and how slow, a body may be.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body whole, then pass the request on."""
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH"}:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except Refusal as refusal:
            await refusal.response()(scope, receive, send)
            return
        if body is None:  # the client left
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:20]) > self._limits.body_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._limits.body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal(
                408,
                f"the body did not arrive within {self._limits.body_seconds:g} s",
                code="body_timeout",
            ) from None

    def _too_large(self) -> Refusal:
        return Refusal(
            413,
            f"the body may have {self._limits.body_bytes} bytes: shorten the conversation",
            code="request_too_large",
        )
