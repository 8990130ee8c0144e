"""The server on a scripted engine: in this process, or on a socket of a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest

from dynasor_graph.engine import Engine, FakeEngine
from dynasor_graph.server import Keys, Limits, Offer, Service, create_app
from dynasor_graph.server.listen import Listening, bind
from dynasor_graph.types import Load, Request

MODEL = "fake"
ASKED: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "6 * 7?"}]}
CALL = '{"name": "weather", "arguments": {"city": "Jena"}}'
LONG = "One more step. " * 400
"""What an engine says that nobody waits for to the end."""


def script(prompt: str, request: Request) -> str:
    """Reply by what is asked; what begins with <think> in the prompt is thought first."""
    question = prompt.rpartition("user: ")[2]
    said = {
        "weather": f"Let me see. <tool_call>{CALL}</tool_call>",
        "long": LONG,
        "hard": f"{LONG}</think> So it is \\boxed{{42}}.",
        "poem": "Roses are red.",
        "héllo": "Ünïcödé 🎉 is fine: \\boxed{ß}",
    }
    found = next((text for key, text in said.items() if key in question), "It is \\boxed{42}.")
    if "... Oh, I suddenly" in prompt:
        return "42}"
    thinks = prompt.endswith("<think>\n") and "hard" not in question
    return f"6 sevens.\n</think>\n\n{found}" if thinks else found


def offered(**limits: Any) -> Offer:
    return Offer(model=MODEL, limits=Limits(**limits), chunk=4)


class Client(httpx.AsyncClient):
    """Asks an application in this process."""

    service: Service
    engine: Any

    async def chat(self, **fields: Any) -> httpx.Response:
        return await self.post("/v1/chat/completions", json={**ASKED, **fields})

    async def complete(self, **fields: Any) -> httpx.Response:
        return await self.post("/v1/completions", json={"model": MODEL, "prompt": "6*7=", **fields})


Opening = Callable[..., AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def asking(
    engine: Engine | None = None, *, offer: Offer | None = None, **options: Any
) -> AsyncIterator[Client]:
    """A client of an application on an engine, without a socket."""
    engine = engine or FakeEngine(script, speed=4)
    app = create_app(engine, offer or offered(), **options)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with Client(transport=transport, base_url="http://localhost") as client:
            client.service, client.engine = app.state.service, engine
            yield client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with asking() as client:
        yield client


class Served:
    """A server on a socket of another thread.

    Attributes:
        url: Where it is.
        engine: What it runs on; belongs to its loop.
        service: Its programs.
        listening: The server itself.
    """

    def __init__(
        self, engine: Any, service: Service, listening: Listening, thread: threading.Thread
    ) -> None:
        self.engine, self.service, self.listening = engine, service, listening
        self.thread = thread
        self.url = listening.url

    def in_engine(self) -> int:
        """Requests in the engine, running or waiting."""
        load: Load = asyncio.run_coroutine_threadsafe(
            self.engine.load(), self.listening.loop
        ).result(10)
        return load.running + load.waiting


def soon(what: Callable[[], bool], seconds: float = 1.0) -> bool:
    """Whether it comes true in time."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def serving(
    engine: Any = None,
    *,
    offer: Offer | None = None,
    keys: Keys | None = None,
    grace: float = 5.0,
    **options: Any,
) -> Iterator[Served]:
    """A server on a free port while inside."""
    engine = engine or FakeEngine(script, speed=4)
    app = create_app(engine, offer or offered(concurrency=2000), keys=keys, **options)
    listening = Listening(app, bind("127.0.0.1", 0), grace=grace)
    thread = threading.Thread(target=lambda: asyncio.run(listening.run_until_stopped()))
    thread.start()
    try:
        assert listening.ready.wait(20)
        yield Served(engine, app.state.service, listening, thread)
    finally:
        if thread.is_alive():
            listening.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server that the tests of a module share."""
    with serving() as served:
        yield served
