"""Scheduled: an engine in front of an engine, which lets requests through in order."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Self

from dynasor_graph.engine import Engine, check_fits
from dynasor_graph.errors import ConfigError, EngineDied, EngineError
from dynasor_graph.scheduler.admission import Admission
from dynasor_graph.scheduler.facts import Facts
from dynasor_graph.scheduler.following import Following
from dynasor_graph.scheduler.giving import Giving
from dynasor_graph.scheduler.orders import Order, order_named
from dynasor_graph.scheduler.prefixes import Prefixes
from dynasor_graph.scheduler.shares import Shares
from dynasor_graph.scheduler.turns import Counts, Turn, Turns
from dynasor_graph.types import JSON, Delta, Load, Message, Request

__all__ = ["Scheduled"]


class Scheduled:
    """An engine whose requests wait for their turn; everything else passes through.

    ```python
    async with Scheduled(VllmEngine("abacus-7m"), "sjf") as engine: ...
    ```

    It serves one event loop at a time; when nothing is waiting or running, another may follow.

    Args:
        engine: The engine behind it. `async with` opens and closes it; around an engine that is open
            already, leave `async with` out.
        order: `fcfs`, `program-fifo`, `gang`, `sjf`, `edf`, or an `Order`.
        limit: Requests that the engine may have at a time, >= 1; None follows its load.
        bound: Requests that may wait, >= 1; beyond, new programs are refused (`Overloaded`).
        shares: Tenant -> weight of its share, > 0; others have 1.
        burst: Tokens that a tenant may catch up on after a pause, >= 0; see `Shares`.
        admission: How the load is followed.
        gather: Seconds that a step of the engine takes longer if a prompt is computed in it, 0 to 1.
            Free places are gathered until they have stood empty for half of it; see `Gathering`. None:
            what the engine says (`surcharge`), or 0. With 0, or while a request of a priority below 0
            waits (a probe), a place is given away when all that is ready has run, so that requests
            made together are ordered together.

    Raises:
        UnknownName: There is no such order.
        ConfigError: A number is out of range.
    """

    def __init__(
        self,
        engine: Engine,
        order: str | Order = "sjf",
        *,
        limit: int | None = None,
        bound: int = 100_000,
        shares: Mapping[str, float] | None = None,
        burst: float = 16_384.0,
        admission: Admission | None = None,
        gather: float | None = None,
    ) -> None:
        if gather is not None and not 0 <= gather <= 1:
            raise ConfigError(f"gather must be from 0 to 1 seconds, got {gather!r}")
        for name, value in (("limit", limit), ("bound", bound)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be >= 1 request, got {value!r}")
        self.engine = engine
        self.order = order_named(order) if isinstance(order, str) else order
        self.model, self.context, self.block = engine.model, engine.context, engine.block
        self._facts = Facts(engine)
        self._watches = False
        self._admission = admission or Admission()
        self._gather = gather
        self._fixed = limit is not None
        self._turns = Turns(
            self.order,
            Shares(shares, burst=burst),
            limit=limit or self._first(),
            bound=bound,
            prefixes=Prefixes(engine.block),
        )
        self._open: dict[Request, Turn] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._giving = Giving(self._admit)
        self._hurried = set[Turn]()  # that wait, and for which no places are gathered
        self._following = Following(
            engine,
            self._turns,
            self._admission,
            within=None if self._fixed else self._within,
            changed=self._give,
            died=self._fail_waiting,
        )

    async def __aenter__(self) -> Self:
        engine = await self.engine.__aenter__()
        self.model, self.context, self.block = engine.model, engine.context, engine.block
        self._turns.prefixes = Prefixes(engine.block)
        if not self._fixed:
            self._turns.limit = self._first()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._fail_waiting(EngineDied("the engine was closed while requests were waiting"))
        self._following.stop()
        await self.engine.__aexit__(*exc)

    def _first(self) -> int:
        """Requests to begin with; an engine that knows its seats has the attribute once it is open."""
        return self._within(self._admission.first(self.seats))

    def _within(self, limit: int) -> int:
        """Where places are gathered none may wait in the engine: they would begin one by one."""
        return min(limit, self.seats) if self.gather and self.seats else limit

    @property
    def gather(self) -> float:
        """Seconds for which free places are gathered; see the argument."""
        told = self._gather
        return self._facts.surcharge if told is None else told

    @property
    def seats(self) -> int:
        """Requests that fit the engine's batch; 0 if it does not say."""
        return self._facts.seats

    @property
    def counts(self) -> Counts:
        """What it has done, and what it holds now."""
        return self._turns.counts

    # Programs --------------------------------------------------------------------------------

    def tell(
        self,
        program: str,
        *,
        algorithm: str | None = None,
        tenant: str | None = None,
        deadline: float | None = None,
        remaining: float | None = None,
        mean_tokens: float | None = None,
    ) -> None:
        """Tell of a program; see `Scheduler.tell`."""
        record = self._turns.programs.tell(
            program,
            self._here().time(),
            algorithm=algorithm,
            tenant=tenant,
            deadline=deadline,
            remaining=remaining,
            mean_tokens=mean_tokens,
        )
        self._turns.move(record)

    def forget(self, program: str) -> None:
        """A program has ended; see `Scheduler.forget`."""
        self._turns.forget(program)

    # Requests --------------------------------------------------------------------------------

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Wait for the turn, then generate; see `Engine.stream`.

        Raises:
            Overloaded: The queue is full.
            PromptTooLong: Prompt and `max_tokens` do not fit the context.
            EngineError: The engine failed.
        """
        check_fits(request, self.context)
        turn = self._turns.enter(request, self._here().time())
        self._open[request] = turn
        last = Delta(finish_reason="terminated")
        generated = 0
        try:
            if request.priority < 0:
                self._hurried.add(turn)
            turn.woken = self._here().create_future()
            self._give(at_once=True)
            await turn.woken
            self._hurried.discard(turn)
            if turn.ended is not None:
                raise turn.ended
            if turn.stage == "admitted":
                turn.stage = "running"
                if not self._watches:
                    self._turns.begin(turn)
                async with aclosing(self.engine.stream(request)) as deltas:
                    async for delta in deltas:
                        generated += delta.count
                        if delta.finish_reason is not None:
                            last = delta
                            break
                        yield delta
                self._leave(turn, generated, last)  # a reader may keep the stream open after it
            last.queued = self._queued(turn)
            yield last
        except EngineDied as error:
            self._fail_waiting(error)
            raise
        finally:
            self._hurried.discard(turn)
            if turn.stage != "over":
                self._leave(turn, generated)
            if self._open.get(request) is turn:
                del self._open[request]

    async def abort(self, request: Request) -> None:
        """End a request: one that waits at once, without a token; see `Engine.abort`."""
        turn = self._open.get(request)
        if turn is None:
            return
        if turn.stage in {"running", "ended"}:
            await self.engine.abort(request)
        else:
            self._leave(turn, 0)
            _wake(turn)

    def _leave(self, turn: Turn, generated: int, last: Delta | None = None) -> None:
        """The request needs no turn, or no place in the engine, any more; let others in."""
        self._turns.withdraw(turn)
        ended = last is not None and last.finish_reason != "terminated"
        cached = None if last is None else last.cached
        self._turns.leave(turn, generated, self._now(), cached=cached, ended=ended)
        self._give()

    def _step(self, begun: Sequence[Request], ended: Sequence[Request]) -> None:
        """The engine tells of a step, before anybody reads what has ended with it."""
        for request in begun:
            if (turn := self._open.get(request)) is not None:
                self._turns.begin(turn)
        if not (ended and self.gather):
            return
        for request in ended:
            if (turn := self._open.get(request)) is not None:
                self._turns.end(turn)
        self._give(step=True)

    def _give(self, *, at_once: bool = False, step: bool = False) -> None:
        """Give free places away once all that is ready now has run, or when enough are gathered.

        With `step`, if enough are gathered: now, before all that is ready.
        """
        loop, turns = self._loop, self._turns
        if not turns or loop is None or loop.is_closed():
            return
        if at_once or self._hurried or not self.gather:
            self._giving.soon(loop, hurry=bool(self._hurried))
        else:
            free, generating = turns.limit - turns.inside, turns.generating
            self._giving.gather(loop, free, generating, self.gather, now=step)

    def _admit(self) -> None:
        for turn in self._turns.admit(self._now()):
            _wake(turn)
        if self._turns:
            self._following.start()

    def _queued(self, turn: Turn) -> float:
        went = self._now() if turn.went is None else turn.went
        return went - turn.came

    def _fail_waiting(self, error: EngineDied) -> None:
        """Nothing that waits will ever run: each gets the error, as an object of its own."""
        for turn in self._turns.waiting:
            self._turns.withdraw(turn)
            turn.ended = EngineDied(*error.args)
            turn.ended.__cause__ = error
            _wake(turn)

    # Its loop and load -------------------------------------------------------------------------

    def _here(self) -> asyncio.AbstractEventLoop:
        """The loop that is served.

        Raises:
            EngineError: Another loop is being served.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._open and self._loop is not None and not self._loop.is_closed():
                raise EngineError(
                    "a scheduled engine serves one event loop at a time, and requests of another "
                    "are under way: run all programs on one loop, or wait until it is idle"
                )
            for turn in list(self._open.values()):  # died with their loop
                self._turns.withdraw(turn)
                self._turns.leave(turn, 0, self._now(), ended=False)
            self._open.clear()
            self._hurried.clear()
            self._giving.forget()
            self._loop = loop
            self._watches = self._facts.watch(self._step)
        return loop

    def _now(self) -> float:
        """Seconds on the clock of the loop that is served."""
        return 0.0 if self._loop is None else self._loop.time()

    async def load(self) -> Load:
        """The engine's load; what waits here counts as waiting, for that is what it does."""
        load = await self.engine.load()
        return dataclasses.replace(load, waiting=load.waiting + len(self._turns))

    # Text --------------------------------------------------------------------------------------

    async def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return await self.engine.encode(text)

    async def render(
        self, messages: Sequence[Message], *, thinking: bool = False, tools: Sequence[JSON] = ()
    ) -> list[int]:
        """Token ids of a chat."""
        return await self.engine.render(messages, thinking=thinking, tools=tools)

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids."""
        return await self.engine.decode(token_ids)


def _wake(turn: Turn) -> None:
    if turn.woken is not None and not turn.woken.done():
        turn.woken.set_result(None)
