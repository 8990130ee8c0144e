"""Listen: the server on a socket until it is told to stop, and how it stops: after a last word."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING, Final

import uvicorn

from dynasor_graph.errors import ConfigError
from dynasor_graph.server.keys import ENVIRONMENT, Keys

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI

__all__ = ["Listening", "bind", "check_bind", "is_loopback", "local_names"]

LAST_WORD: Final = 10.0
"""Seconds that programs have to answer with what they have, once the grace is over."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(host: str, keys: Keys, *, insecure: bool) -> None:
    """Raise unless it is safe to listen there.

    Raises:
        ConfigError: Other machines could reach it, and no keys are in force.
    """
    if not (is_loopback(host) or keys.names or insecure):
        raise ConfigError(
            f"host {host!r} can be reached from other machines, and no keys are in force: give "
            f"--keys FILE or set {ENVIRONMENT}, listen on 127.0.0.1, or say --insecure"
        )


def local_names(host: str) -> list[str] | None:
    """The names under which a server on loopback may be asked for; None for any.

    A web page could reach a server on loopback through a name of its own that resolves to 127.0.0.1.
    """
    return ["localhost", "127.0.0.1", "[::1]", "::1", host] if is_loopback(host) else None


class Listening(uvicorn.Server):
    """Serves an app on a socket.

    The first SIGTERM or SIGINT lets running programs finish for `grace` seconds, and new requests get
    503; then, or at a second signal, those that still run answer with what they have. A third ends it
    at once.

    Args:
        app: What `create_app` made.
        bound: Where to listen: what `bind` made. It is closed in the end.
        grace: Seconds, >= 0.
        access_log: Whether each request is logged: path and status, never a body.

    Attributes:
        url: Where it is reached.
        port: The part of it that may have been free to choose.
        loop: That it runs on, once it does.
        ready: Set once it takes requests.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(
        self, app: FastAPI, bound: socket.socket, *, grace: float = 30.0, access_log: bool = False
    ) -> None:
        config = uvicorn.Config(
            app,
            ws="none",
            lifespan="on",
            access_log=access_log,
            log_level="warning" if not access_log else "info",
            server_header=False,
            proxy_headers=False,  # nobody may say that he is somebody else
            timeout_graceful_shutdown=5,
        )
        super().__init__(config)
        self._service, self._grace = app.state.service, grace
        self._socket = bound
        host, self.port = bound.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.ready = threading.Event()
        self._draining: asyncio.Task[None] | None = None
        self._told = 0

    async def run_until_stopped(self) -> None:
        """Serve until a signal comes, or `stop` is called; returns once nothing runs any more."""
        self.loop = asyncio.get_running_loop()
        try:
            await self.serve(sockets=[self._socket])
        finally:
            self._socket.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests."""
        await super().startup(sockets)
        self.ready.set()

    def stop(self) -> None:
        """What a signal does, from any thread."""
        self.loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._told += 1
        if self._told == 1:
            self._draining = self.loop.create_task(self._drain())
        elif self._told == 2:
            self._service.hurry()
        else:
            self.should_exit = self.force_exit = True

    async def _drain(self) -> None:
        await self._service.drain(self._grace, LAST_WORD)
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal; uvicorn would close the socket first, and new requests would find nobody."""
        self.stop()


def bind(host: str, port: int) -> socket.socket:
    """An address, taken; port 0 takes a free one.

    Raises:
        ConfigError: It cannot be had.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise ConfigError(f"cannot listen on {host} port {port}: {error}") from None
    return bound
