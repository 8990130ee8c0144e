"""Turns: which requests wait, which the engine has, and who goes next. It is told the time."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dynasor_graph.errors import Overloaded
from dynasor_graph.scheduler.drain import Drain
from dynasor_graph.scheduler.orders import Order
from dynasor_graph.scheduler.prefixes import Prefixes
from dynasor_graph.scheduler.programs import Programs, Record
from dynasor_graph.scheduler.queue import Queue, Taken
from dynasor_graph.scheduler.shares import Shares
from dynasor_graph.scheduler.standing import Standing
from dynasor_graph.types import Request

__all__ = ["Counts", "Turn", "Turns"]

OVERDUE, LAPSED = -(2**50), 2**50
"""Added to the priority of who is overdue, or lapsed; ranks stay within what a JSON number holds."""


@dataclass(slots=True, eq=False)
class Turn:
    """One request's way through the scheduler.

    Attributes:
        request: What is asked.
        own: The priority it came with.
        program: Its program's record.
        came: When it came, in seconds of the clock.
        went: When it was admitted, or None.
        begun: Whether the engine generates it: its prompt has been computed, as far as is known.
        stage: Where it is now; "ended" has left the engine, and the rest of it is being read.
        charged: Tokens that its tenant was charged for it on admission.
        known: Prompt tokens that its program had computed before it was admitted.
        woken: Wakes the task that waits for its turn, if one does.
        ended: Why it will not be admitted any more: aborted (None) or an error.
    """

    request: Request
    own: int
    program: Record
    came: float
    went: float | None = None
    begun: bool = False
    stage: Literal["waiting", "admitted", "running", "ended", "over"] = "waiting"
    tenant: str = ""
    charged: float = 0.0
    known: int = 0
    woken: Future[None] | None = None
    ended: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a scheduler has done since it was made, and what it holds now.

    Attributes:
        waiting: Requests that wait for their turn now.
        inside: Requests that the engine has now.
        limit: How many it may have now.
        programs: Programs under way.
        admitted: Requests that were given to the engine.
        refused: Requests for which the queue was full.
        recomputed: Prompt tokens that had been computed for an earlier request of the same
            program and were not in the engine's prefix cache any more; a lower bound.
    """

    waiting: int
    inside: int
    limit: int
    programs: int
    admitted: int
    refused: int
    recomputed: int


class Turns:
    """Admits at most `limit` requests at a time, in order.

    Args:
        order: Over programs.
        shares: Over tenants.
        limit: Requests that the engine may have; may be changed at any time.
        bound: Requests that may wait. When so many do, new programs are refused; programs that
            have begun are not, because what they spent would be lost, and neither are tenants
            that have less than their share of the queue.

    Attributes:
        inside: Requests that the engine has.
        generating: Of them, those that have begun.
        pressed: Whether the engine's KV cache is short.
        programs: What is known of them.
        prefixes: What they have had computed.
    """

    def __init__(
        self, order: Order, shares: Shares, *, limit: int, bound: int, prefixes: Prefixes
    ) -> None:
        self.limit, self.bound = limit, bound
        self.inside = self.generating = 0
        self.pressed = False
        self.programs = Programs()
        self.prefixes = prefixes
        self._order, self._shares = order, shares
        self._queue: Queue[Turn] = Queue(order, shares)
        self._drain = Drain()
        self._last: Record | None = None  # whose request was admitted last
        self._admitted = self._refused = self._recomputed = 0

    @property
    def counts(self) -> Counts:
        """How things are."""
        return Counts(
            waiting=len(self._queue),
            inside=self.inside,
            limit=self.limit,
            programs=len(self.programs),
            admitted=self._admitted,
            refused=self._refused,
            recomputed=self._recomputed,
        )

    @property
    def waiting(self) -> list[Turn]:
        """All that wait, as they came."""
        return self._queue.items()

    def __len__(self) -> int:
        return len(self._queue)

    def enter(self, request: Request, now: float) -> Turn:
        """A request comes and waits for its turn.

        Raises:
            Overloaded: The queue is full.
        """
        record = self.programs.of(request.program, now)
        if record.begun is None:
            self._check_room(record, now)
        turn = Turn(request, request.priority, record, now)
        record.queued += 1
        if not self._queue.join(turn, request.program, rank=request.priority):
            came = now if self._order.by_request else None
            self._queue.add(turn, self.programs.standing(record, came=came), rank=request.priority)
        return turn

    def withdraw(self, turn: Turn) -> None:
        """A request that waits will not be admitted any more."""
        if turn.stage == "waiting":
            turn.stage = "over"
            turn.program.queued -= 1
            self._queue.discard(turn)
            self.programs.drop_idle(turn.program)

    def admit(self, now: float) -> Iterator[Turn]:
        """Those whose turn it is, as long as the engine may have more."""
        while self.inside < self.limit:
            taken = self._queue.pop(now, pressed=self.pressed)
            if taken is None:
                return
            self._send(taken, now)
            yield taken.item

    def begin(self, turn: Turn) -> None:
        """The engine has computed the prompt of a request, or is taken to have done so."""
        if turn.stage == "running" and not turn.begun:
            turn.begun = True
            self.generating += 1

    def end(self, turn: Turn) -> None:
        """The engine has ended a request; what it generated is still to be read."""
        if turn.stage == "running":
            self._free(turn)
            turn.stage = "ended"

    def leave(
        self, turn: Turn, tokens: int, now: float, *, cached: int | None = None, ended: bool
    ) -> None:
        """A request is over; does nothing to one that was not admitted.

        Args:
            turn: The request.
            tokens: Tokens that it generated.
            now: Seconds of the clock.
            cached: Prompt tokens found in the prefix cache, or None if the engine did not say.
            ended: Whether it came to its own end: neither stopped, nor closed, nor failed.
        """
        if turn.stage not in {"admitted", "running", "ended"}:
            return
        if turn.stage != "ended":
            self._free(turn)
        turn.stage = "over"
        turn.request.priority = turn.own
        record = turn.program
        record.inside -= 1
        prompt = turn.request.tokens
        if cached is not None:
            self.prefixes.add(record.name, prompt)
            self._recomputed += max(0, turn.known - cached)
        computed = len(prompt) - cached if cached is not None else 0
        self._shares.charge(turn.tenant, tokens + computed - turn.charged)
        assert turn.went is not None  # it was admitted
        self.programs.measure(record, tokens, ended=ended, seconds=now - turn.went)
        if record.queued and not self._order.by_request:
            self._queue.update(self.programs.standing(record))
        self._tidy(record)

    def move(self, record: Record) -> None:
        """What is known of a program has changed."""
        if record.queued and not self._order.by_request:
            self._queue.update(self.programs.standing(record))

    def forget(self, program: str) -> None:
        """A program has ended."""
        self.programs.forget(program)
        self.prefixes.forget(program)

    # Steps -----------------------------------------------------------------------------------

    def _free(self, turn: Turn) -> None:
        self.inside -= 1
        self.generating -= turn.begun

    def _send(self, taken: Taken[Turn], now: float) -> None:
        turn = taken.item
        record = turn.program
        turn.stage, turn.went = "admitted", now
        self.inside += 1
        self._admitted += 1
        self._drain.count(now)
        record.queued -= 1
        record.inside += 1
        fresh = record is not self._last or record.begun is None
        if fresh:  # who was served last is the hottest already
            record.served, self._last = self._admitted, record
            record.begun = now if record.begun is None else record.begun
        turn.tenant = taken.standing.tenant
        turn.charged = min(taken.standing.round_tokens, turn.request.max_tokens)
        self._shares.charge(turn.tenant, turn.charged)
        turn.known = self.prefixes.computed(record.name, turn.request.tokens)
        if self._order.by_request:
            return
        standing = self.programs.standing(record) if fresh else taken.standing
        turn.request.priority = self._priority(standing, turn.own, taken)
        if fresh and record.queued:
            self._queue.update(standing)

    def _priority(self, standing: Standing, own: int, taken: Taken[Turn]) -> int:
        """For vLLM: the program's place in the order, then the request's own place in it."""
        rank = self._order.due(standing) if taken.overdue else self._order.key(standing)
        place = OVERDUE if taken.overdue else LAPSED if taken.lapsed else 0
        return 8 * round(1000 * rank) + max(-4, min(3, own)) + place

    def _check_room(self, record: Record, now: float) -> None:
        room = self.bound + max(0, self.limit - self.inside)  # free places are given in a moment
        if len(self._queue) < room:
            return
        if self._queue.waiting_of(record.tenant) < room * self._shares.part(record.tenant):
            return
        self._refused += 1
        self.programs.drop_idle(record)
        rate = self._drain.rate(now)
        after = 0.1 * len(self._queue) / rate if rate else 0.0  # until a tenth of it has gone
        raise Overloaded(len(self._queue), self.bound, min(max(1.0, after), 3600.0))

    def _tidy(self, record: Record) -> None:
        self.programs.drop_idle(record)
        if not record.told and not record.inside and not record.queued:
            self.prefixes.forget(record.name)
