"""Queue: programs in order, requests within them, tenants in turns."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.scheduler import Standing, order_named
from dynasor_graph.scheduler.orders import Order
from dynasor_graph.scheduler.queue import Queue
from dynasor_graph.scheduler.shares import Shares

NAMES = ["", "a", "b", "c", "d"]
ORDERS = ["fcfs", "program-fifo", "gang", "sjf", "edf"]


def standing(program: str, number: int, served: int, change: int) -> Standing:
    """What is known of a program, after it has changed so often."""
    return Standing(
        program=program,
        arrived=float(NAMES.index(program)),
        remaining=1 + (7 * change + len(program) + 3 * NAMES.index(program)) % 5,
        mean_tokens=10,
        begun=float(served) if served and program else None,
        served=served if program else 0,
        deadline=change + 5.0 * (change % 4) if change % 2 else None,
        pace=0.1 * (change % 3),
    )


class Sorted:
    """The queue as a list that is searched from one end to the other."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.rows: list[dict[str, Any]] = []
        self.lines = 0

    def add(self, item: int, one: Standing, rank: int) -> None:
        alone = self.order.by_request or not one.program
        rows = [row for row in self.rows if not alone and row["standing"].program == one.program]
        line = rows[0]["line"] if rows else self.lines
        self.lines += not rows
        self.rows.append({"item": item, "standing": one, "rank": rank, "line": line})
        if not alone:
            self.update(one)

    def update(self, one: Standing) -> None:
        for row in self.rows:
            if row["standing"].program == one.program and one.program and not self.order.by_request:
                row["standing"] = one

    def discard(self, item: int) -> None:
        self.rows = [row for row in self.rows if row["item"] != item]

    def pop(self, now: float, pressed: bool) -> int | None:
        def place(row: dict[str, Any]) -> tuple[float, ...]:
            one, due = row["standing"], self.order.due(row["standing"])
            if due <= now:
                return (0, due, row["line"], 0, 0, row["rank"], row["item"])
            late = 2 if self.order.lapses(one) <= now else pressed and one.begun is None
            key = self.order.key(one)
            return (1 + late, key, -one.served, one.arrived, row["line"], row["rank"], row["item"])

        if not self.rows:
            return None
        first = min(self.rows, key=place)
        self.rows.remove(first)
        return int(first["item"])


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "pop", "update", "discard"]),
        st.sampled_from(NAMES),
        st.integers(-1, 1),
        st.booleans(),
    ),
    max_size=80,
)


@settings(max_examples=60)
@pytest.mark.parametrize("name", ORDERS)
@given(plan=steps)
def test_a_queue_is_a_list_that_is_sorted_each_time(
    name: str, plan: list[tuple[str, str, int, bool]]
):
    order = order_named(name)
    queue: Queue[int] = Queue(order, Shares())
    model = Sorted(order)
    served = dict.fromkeys(NAMES, 0)
    programs: dict[int, str] = {}
    for number, (what, program, rank, pressed) in enumerate(plan):
        one = standing(program, number, served[program], number)
        if what == "add":
            queue.add(number, one, rank=rank)
            model.add(number, one, rank)
            programs[number] = program
        elif what == "update" and not order.by_request:
            queue.update(one)
            model.update(one)
        elif what == "discard":
            queue.discard(number // 2)
            model.discard(number // 2)
        elif what == "pop":
            taken = queue.pop(float(number), pressed=pressed)
            item = None if taken is None else taken.item
            assert item == model.pop(float(number), pressed)
            if item is not None:
                served[programs[item]] = number
        assert len(queue) == len(model.rows)
        assert queue.items() == [row["item"] for row in model.rows]


waiting = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 9)), min_size=1, max_size=40)


@pytest.mark.parametrize("name", ["program-fifo", "gang", "sjf", "edf"])
@given(waiting)
def test_a_gang_never_interleaves(name: str, requests: list[tuple[str, int]]):
    queue: Queue[int] = Queue(order_named(name), Shares())
    standings: dict[str, Standing] = {}
    for number, (program, rounds) in enumerate(requests):
        standings.setdefault(program, Standing(program=program, remaining=rounds, arrived=number))
        queue.add(number, standings[program])
    seen: list[str] = []
    for number in range(len(requests)):
        taken = queue.pop(0.0)
        assert taken is not None
        begun = taken.standing._replace(begun=float(number), served=number + 1)
        queue.update(begun)
        if seen[-1:] != [begun.program]:
            seen.append(begun.program)
    assert len(seen) == len(set(seen))


@given(
    st.lists(st.tuples(st.sampled_from(["x", "y", "z"]), st.sampled_from(NAMES)), max_size=60),
    st.sets(st.integers(0, 59)),
)
def test_no_request_is_lost_or_served_twice_whoever_pays(
    requests: list[tuple[str, str]], gone: set[int]
):
    """A program that asks on another's account moves there, with all that waits."""
    queue: Queue[int] = Queue(order_named("sjf"), Shares({"x": 2.0}))
    for number, (tenant, program) in enumerate(requests):
        queue.add(number, Standing(program=program, tenant=tenant))
    assert sum(queue.waiting_of(tenant) for tenant in "xyz") == len(requests)
    for number in gone:
        queue.discard(number)
    served = []
    while (taken := queue.pop(0.0)) is not None:
        served.append(taken.item)
    assert sorted(served) == [number for number in range(len(requests)) if number not in gone]
    assert sum(queue.waiting_of(tenant) for tenant in "xyz") == len(queue) == 0


def test_under_pressure_who_has_begun_goes_before_who_is_shorter():
    queue: Queue[str] = Queue(order_named("sjf", phi=None), Shares())
    queue.add("new", Standing(program="new", remaining=1))
    queue.add("old", Standing(program="old", remaining=9, begun=1.0, served=1))
    taken = queue.pop(0.0, pressed=True)
    assert taken is not None
    assert taken.item == "old"
    other = queue.pop(0.0, pressed=True)
    assert other is not None
    assert other.item == "new"


def test_of_equals_the_one_that_was_served_last_goes_first():
    queue: Queue[str] = Queue(order_named("sjf"), Shares())
    for name, served in (("never", 0), ("long-ago", 3), ("just-now", 8)):
        begun = float(served) if served else None
        queue.add(name, Standing(program=name, begun=begun, served=served))
    assert [taken.item for _ in range(3) if (taken := queue.pop(0.0))] == [
        "just-now",
        "long-ago",
        "never",
    ]


def test_who_is_due_goes_first_and_says_so():
    queue: Queue[str] = Queue(order_named("sjf", phi=0.1, ageing=0), Shares())
    queue.add("short", Standing(program="short", mean_tokens=1))
    queue.add("long", Standing(program="long", mean_tokens=100))
    early, late = queue.pop(0.05), queue.pop(math.inf)
    assert early is not None
    assert late is not None
    assert (early.item, early.overdue, late.item, late.overdue) == ("short", False, "long", True)


def test_who_cannot_keep_its_deadline_any_more_goes_last_and_says_so():
    queue: Queue[str] = Queue(order_named("sjf", ageing=0), Shares())
    for name, tokens in (("lost", 10), ("long", 300), ("longest", 400)):
        queue.add(name, Standing(program=name, mean_tokens=tokens, deadline=5.0, pace=0.01))
    served = [(taken.item, taken.lapsed) for now in (1.5, 4.95, 4.95) if (taken := queue.pop(now))]
    assert served == [("lost", False), ("long", True), ("longest", True)]
    assert queue.pop(4.95) is None


def test_a_program_that_is_given_more_time_is_in_line_again():
    queue: Queue[str] = Queue(order_named("edf"), Shares())
    for name, deadline in (("late", 5.0), ("later", 5.5), ("fine", 90.0)):
        queue.add(name, Standing(program=name, mean_tokens=100, deadline=deadline, pace=0.01))
        queue.add(f"{name} too", Standing(program=name, mean_tokens=100, deadline=deadline))
    first = queue.pop(6.0)
    assert first is not None
    assert first.item == "fine"
    queue.update(Standing(program="later", mean_tokens=100, deadline=50.0, pace=0.01))
    served = [(taken.item, taken.lapsed) for _ in range(5) if (taken := queue.pop(6.0))]
    assert served == [
        ("later", False),
        ("later too", False),
        ("fine too", False),
        ("late", True),
        ("late too", True),
    ]


def test_who_is_due_goes_first_though_it_has_lapsed():
    queue: Queue[str] = Queue(order_named("sjf", phi=0.1), Shares())
    queue.add("starved", Standing(program="starved", mean_tokens=100, deadline=5.0))
    queue.add("fresh", Standing(program="fresh", arrived=9.0, mean_tokens=100, deadline=40.0))
    taken = queue.pop(11.0)
    assert taken is not None
    assert (taken.item, taken.overdue, taken.lapsed) == ("starved", True, False)
