"""A batch with so many seats, on any clock: what the scheduler's tests stand on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from dynasor_graph.engine import Engine, complete
from dynasor_graph.errors import EngineDied, EngineError
from dynasor_graph.types import JSON, Completion, Delta, Load, Message, Request


class Stay:
    """One request in the batch."""

    def __init__(self, request: Request, number: int) -> None:
        self.place = (request.priority, number)
        self.request = request
        self.seated, self.stopped = asyncio.Event(), asyncio.Event()


class BatchEngine:
    """Each request takes `max_tokens` x `pace` seconds in one of `seats`.

    Those without a seat wait by priority, then as they came, as vLLM's priority scheduling has it.
    One that was aborted or killed gives what a fresh one gives: nothing.

    Attributes:
        served: Requests in the order in which they got a seat.
        loads: How often it was asked for its load.
        most: Most requests it had at a time.
        kv_usage: What `load` says of it.
        cached: What is found in the prefix cache of each prompt.
        blind: Whether `load` says nothing.
        refuses: Programs whose requests fail.
        goes: Clear it and nothing ends any more.
    """

    def __init__(self, seats: int, pace: float = 1.0) -> None:
        self.model, self.context, self.block = "batch", 1_000_000, 16
        self._seats, self.pace = seats, pace
        self.served: list[Request] = []
        self.loads = self.most = 0
        self.kv_usage, self.cached = 0.0, 0
        self.blind = False
        self.refuses: set[str] = set()
        self.goes = asyncio.Event()
        self.goes.set()
        self._dead: EngineDied | None = None
        self._stays: list[Stay] = []
        self._numbers = itertools.count()
        self._generated = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    def kill(self) -> None:
        self._dead = EngineDied("the batch was killed")
        for stay in self._stays:
            stay.stopped.set()
            stay.seated.set()

    def revive(self) -> None:
        self._dead = None

    async def encode(self, text: str) -> list[int]:
        return list(text.encode())

    async def decode(self, token_ids: Sequence[int]) -> str:
        return bytes(token_ids).decode()

    async def render(
        self, messages: Sequence[Message], *, thinking: bool = False, tools: Sequence[JSON] = ()
    ) -> list[int]:
        return await self.encode("".join(message["content"] for message in messages))

    async def load(self) -> Load:
        self.loads += 1
        if self._dead:
            raise self._dead
        running = sum(stay.seated.is_set() for stay in self._stays)
        return (
            Load()
            if self.blind
            else Load(
                running=running,
                waiting=len(self._stays) - running,
                kv_usage=self.kv_usage,
                generated=self._generated + self.loads,  # never twice the same: never stale
            )
        )

    async def abort(self, request: Request) -> None:
        for stay in self._stays:
            if stay.request is request:
                stay.stopped.set()
                stay.seated.set()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        if request.program in self.refuses:
            raise EngineError("the batch refuses this program")
        stay = Stay(request, next(self._numbers))
        self._stays.append(stay)
        self.most = max(self.most, len(self._stays))
        try:
            self._fill()
            await stay.seated.wait()
            if not await _stopped(stay, request.max_tokens * self.pace):
                await self._until_it_goes(stay)
            if self._dead:
                raise self._dead
            count = 0 if stay.stopped.is_set() else request.max_tokens
            self._generated += count
            yield Delta(
                token_ids=(1,) * count,
                count=count,
                finish_reason="length" if count else "terminated",
                cached=self.cached,
            )
        finally:
            self._stays.remove(stay)
            self._fill()

    def _fill(self) -> None:
        waiting = [stay for stay in self._stays if not stay.seated.is_set()]
        free = self._seats - (len(self._stays) - len(waiting))
        for stay in sorted(waiting, key=lambda stay: stay.place)[: max(0, free)]:
            stay.seated.set()
            self.served.append(stay.request)

    async def _until_it_goes(self, stay: Stay) -> None:
        while not self.goes.is_set() and not await _stopped(stay, 1.0):
            pass


async def _stopped(stay: Stay, seconds: float) -> bool:
    """Whether it was stopped before so much time had passed."""
    try:
        async with asyncio.timeout(seconds):
            await stay.stopped.wait()
    except TimeoutError:
        return False
    return True


def now() -> float:
    """Seconds on the clock."""
    return asyncio.get_running_loop().time()


def ask(program: str = "", tokens: int = 1, prompt: int = 1) -> Request:
    """A request for so many tokens."""
    return Request(tokens=(1,) * prompt, max_tokens=tokens, program=program)


@asynccontextmanager
async def waiting(
    engine: Engine, *requests: Request
) -> AsyncIterator[list[asyncio.Task[Completion]]]:
    """The requests as tasks that have come to where they wait."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(complete(engine, request)) for request in requests]
        await asyncio.sleep(0.01)
        yield tasks
