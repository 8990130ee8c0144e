"""Queue: what waits, by tenant, program and request; O(log n) for each operation, no clock."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Container, Hashable
from typing import Generic, NamedTuple, TypeVar

from dynasor_graph.scheduler.heap import Heap, Key
from dynasor_graph.scheduler.orders import Order
from dynasor_graph.scheduler.shares import Shares
from dynasor_graph.scheduler.standing import Standing

__all__ = ["Queue", "Taken"]

T = TypeVar("T", bound=Hashable)


class Taken(NamedTuple, Generic[T]):
    """What `Queue.pop` took out.

    Attributes:
        item: The request.
        standing: Of its program, before it was taken.
        overdue: Whether it went first because its program was due.
        lapsed: Whether it went last because its program cannot keep its deadline any more.
    """

    item: T
    standing: Standing
    overdue: bool
    lapsed: bool


class Queue(Generic[T]):
    """Requests that wait: tenants take turns by `shares`, their programs stand in `order`.

    Within a program requests go by their own rank, then as they came.

    Args:
        order: Over the programs of one tenant.
        shares: Over tenants.
    """

    def __init__(self, order: Order, shares: Shares) -> None:
        self._order, self._shares = order, shares
        self._lines: dict[Hashable, _Line[T]] = {}
        self._where: dict[T, _Line[T]] = {}
        self._tenants: dict[str, _Tenant[T]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._where)

    def waiting_of(self, tenant: str) -> int:
        """How many requests of a tenant wait."""
        return self._tenants[tenant].waiting if tenant in self._tenants else 0

    def items(self) -> list[T]:
        """All that wait, as they came."""
        return list(self._where)

    def add(self, item: T, standing: Standing, *, rank: int = 0) -> None:
        """Let a request wait.

        Args:
            item: The request; it may be added only once, even if it was taken out again.
            standing: Of its program. Without a name, or under an order by request, it stands alone.
            rank: Within its program; the least goes first.
        """
        if self.join(item, standing.program, rank=rank):
            self.update(standing)
            return
        number = next(self._numbers)
        alone = self._order.by_request or not standing.program
        line = _Line[T](number if alone else standing.program, standing, number)
        self._lines[line.name] = self._where[item] = line
        line.put(item, rank)
        self._enter(line)

    def join(self, item: T, program: str, *, rank: int = 0) -> bool:
        """Let a request wait beside others of its program; False if none waits."""
        line = self._lines.get(program)
        if line is None:
            return False
        line.put(item, rank)
        self._tenants[line.standing.tenant].waiting += 1
        self._where[item] = line
        return True

    def update(self, standing: Standing) -> None:
        """Move a program to where it stands now, if it has requests that wait."""
        if (line := self._lines.get(standing.program)) is not None:
            self._restand(line, standing)

    def discard(self, item: T) -> None:
        """Take a request out, if it is there."""
        if (line := self._where.pop(item, None)) is not None:
            self._take(line)

    def pop(self, now: float, *, pressed: bool = False) -> Taken[T] | None:
        """Take out the request whose turn it is, or None if none waits.

        Programs that are due go first, those that have lapsed last, and else the order holds.

        Args:
            now: Seconds of the clock, for who is due, and who has lapsed.
            pressed: The engine's KV cache is short: programs that have begun go before new ones.
        """
        tenant = self._shares.first()
        if tenant is None:
            return None
        line, overdue, lapsed = self._tenants[tenant].first(now, pressed)
        item, standing = line.pop(self._where), line.standing
        del self._where[item]
        self._take(line)
        return Taken(item, standing, overdue, lapsed)

    # Lines -----------------------------------------------------------------------------------

    def _restand(self, line: _Line[T], standing: Standing) -> None:
        if standing.tenant != line.standing.tenant:
            self._exit(line)
            line.standing = standing
            self._enter(line)
        elif standing != line.standing:
            line.standing = standing
            self._place(line)

    def _enter(self, line: _Line[T]) -> None:
        """Put a line among those of its tenant."""
        name = line.standing.tenant
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant()
        tenant.waiting += line.waiting
        self._shares.join(name)
        self._place(line)

    def _exit(self, line: _Line[T]) -> None:
        """Take a line away from its tenant."""
        name = line.standing.tenant
        tenant = self._tenants[name]
        tenant.waiting -= line.waiting
        tenant.remove(line)
        line.place = None
        if not tenant.lines:
            del self._tenants[name]
            self._shares.leave(name)

    def _place(self, line: _Line[T]) -> None:
        standing = line.standing
        key = (self._order.key(standing), -standing.served, standing.arrived, line.number)
        place = (key, self._order.due(standing), self._order.lapses(standing))
        if place != line.place:
            line.place = place
            self._tenants[standing.tenant].place(line, *place)

    def _take(self, line: _Line[T]) -> None:
        """One of its requests waits no longer."""
        if line.waiting > 1:
            line.waiting -= 1
            self._tenants[line.standing.tenant].waiting -= 1
        else:
            self._exit(line)
            del self._lines[line.name]


class _Line(Generic[T]):
    """The requests of one program that wait, by rank; those that were taken out stay until passed."""

    __slots__ = ("due", "name", "number", "place", "ranks", "standing", "waiting")

    def __init__(self, name: Hashable, standing: Standing, number: int) -> None:
        self.name, self.standing, self.number = name, standing, number
        self.waiting, self.due = 0, math.inf
        self.ranks: dict[int, deque[T]] = {}
        self.place: tuple[Key, float, float] | None = None

    def put(self, item: T, rank: int) -> None:
        self.waiting += 1
        if rank not in self.ranks:
            self.ranks[rank] = deque()
        self.ranks[rank].append(item)

    def pop(self, live: Container[T]) -> T:
        while True:
            rank = min(self.ranks)
            items = self.ranks[rank]
            item = items.popleft()
            if not items:
                del self.ranks[rank]
            if item in live:
                return item


class _Tenant(Generic[T]):
    """The programs of one tenant that have requests waiting.

    Two heaps and not one, so that programs that have begun can go first from one moment to the
    next, without a new sort. A third has those that have lapsed.
    """

    __slots__ = ("begun", "due", "lapsed", "lapsing", "new", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.begun: Heap[_Line[T]] = Heap()
        self.new: Heap[_Line[T]] = Heap()
        self.lapsed: Heap[_Line[T]] = Heap()
        self.due: Heap[_Line[T]] = Heap()  # of all that may become due, and when
        self.lapsing: Heap[_Line[T]] = Heap()  # of all that may lapse and have not, and when

    @property
    def lines(self) -> int:
        return len(self.begun) + len(self.new) + len(self.lapsed)

    def place(self, line: _Line[T], key: Key, due: float, lapses: float) -> None:
        has_begun = line.standing.begun is not None
        here, there = (self.begun, self.new) if has_begun else (self.new, self.begun)
        there.discard(line)
        self.lapsed.discard(line)
        here.put(line, key)
        if lapses == math.inf:
            self.lapsing.discard(line)
        else:
            self.lapsing.put(line, (lapses, line.number))
        if due == math.inf:
            self.due.discard(line)
        elif line not in self.due or line.due != due:
            line.due = due
            self.due.put(line, (due, line.number))

    def remove(self, line: _Line[T]) -> None:
        for heap in (self.begun, self.new, self.lapsed, self.due, self.lapsing):
            heap.discard(line)

    def first(self, now: float, pressed: bool) -> tuple[_Line[T], bool, bool]:
        """Whose turn it is; whether because it is due, and whether though it has lapsed."""
        due = self.due.first()
        if due is not None and due[0][0] <= now:
            return due[1], True, False
        while (late := self.lapsing.first()) is not None and late[0][0] <= now:
            self._lapse(late[1])
        begun, new = self.begun.first(), self.new.first()
        if begun is not None and (pressed or new is None or begun[0] <= new[0]):
            return begun[1], False, False
        if new is not None:
            return new[1], False, False
        lapsed = self.lapsed.first()
        assert lapsed is not None
        return lapsed[1], False, True

    def _lapse(self, line: _Line[T]) -> None:
        for heap in (self.begun, self.new, self.lapsing):
            heap.discard(line)
        assert line.place is not None
        self.lapsed.put(line, line.place[0])
