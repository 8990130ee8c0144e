"""Turns: who is let in, who is refused, and what is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.errors import Overloaded
from dynasor_graph.scheduler import Order, order_named
from dynasor_graph.scheduler.prefixes import Prefixes
from dynasor_graph.scheduler.shares import Shares
from dynasor_graph.scheduler.turns import Turn, Turns
from dynasor_graph.types import Request


def ask(program: str = "", *, tokens: int = 1, most: int = 10, priority: int = 0) -> Request:
    return Request(tokens=tuple(range(tokens)), max_tokens=most, program=program, priority=priority)


def turns(
    order: str | Order = "sjf",
    *,
    limit: int = 1,
    bound: int = 1000,
    weights: dict[str, float] | None = None,
) -> Turns:
    order = order_named(order) if isinstance(order, str) else order
    return Turns(order, Shares(weights), limit=limit, bound=bound, prefixes=Prefixes(4))


def finish(desk: Turns, turn: Turn, tokens: int = 10, cached: int = 0) -> None:
    desk.leave(turn, tokens, turn.came + tokens, cached=cached, ended=True)


def let_in(desk: Turns, now: float, waiting: list[Turn], inside: list[Turn]) -> None:
    for turn in desk.admit(now):
        waiting.remove(turn)
        inside.append(turn)
        desk.begin(turn)  # nothing, before the engine has it
        turn.stage = "running"


INSIDE: dict[str, Callable[[Turns, Turn, int], None]] = {
    "begin": lambda desk, turn, _: desk.begin(turn),
    "end": lambda desk, turn, _: desk.end(turn),
    "leave": lambda desk, turn, tokens: desk.leave(turn, tokens, turn.came + tokens, ended=True),
    "fail": lambda desk, turn, tokens: desk.leave(turn, tokens, turn.came, ended=False),
}
"""What may happen to a request that the engine has."""

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["enter", "enter", "begin", "end", "leave", "withdraw", "fail", "tell", "forget"]
        ),
        st.sampled_from(["", "a", "b", "c"]),
        st.integers(0, 9),
    ),
    max_size=120,
)


@pytest.mark.parametrize("name", ["fcfs", "program-fifo", "gang", "sjf", "edf"])
@given(plan=steps, limit=st.integers(1, 4))
def test_no_request_is_lost_or_let_in_twice(
    name: str, plan: list[tuple[str, str, int]], limit: int
):
    desk = turns(name, limit=limit)
    waiting: list[Turn] = []
    inside: list[Turn] = []  # "ended" ones, too: they are still read
    for now, (what, program, which) in enumerate(plan):
        if what == "enter":
            waiting.append(desk.enter(ask(program), now))
        elif what in INSIDE and inside:
            turn = inside[which % len(inside)]
            INSIDE[what](desk, turn, which)
            INSIDE[what](desk, turn, which)  # a second time is nothing
            if turn.stage == "over":
                inside.remove(turn)
        elif what == "withdraw" and waiting:
            turn = waiting.pop(which % len(waiting))
            desk.withdraw(turn)
            desk.withdraw(turn)
        elif what == "tell" and program:
            payer, due = str(which % 2), float(now + which)
            told = desk.programs.tell(program, now, remaining=which, tenant=payer, deadline=due)
            desk.move(told)
        elif what == "forget":
            desk.forget(program)
        let_in(desk, now, waiting, inside)
        begun = [turn.begun for turn in inside if turn.stage == "running"]
        assert len(begun) == min(limit, len(begun) + len(waiting)) == desk.inside
        assert sum(begun) == desk.generating
        assert set(desk.waiting) == set(waiting)
    for program in "abc":
        desk.forget(program)
    while inside:
        finish(desk, inside.pop())
        inside.extend(desk.admit(1e9))
    counts = desk.counts
    assert (counts.waiting, counts.inside, counts.programs, desk.generating) == (0, 0, 0, 0)


# Order -----------------------------------------------------------------------------------------


def test_the_shortest_program_goes_first_by_what_is_left_of_its_knob():
    desk = turns("sjf")
    first = desk.enter(ask("first"), 0.0)
    assert list(desk.admit(0.0)) == [first]
    for name, remaining in (("long", 9), ("short", 2), ("middle", 5)):
        desk.programs.tell(name, 0.0, remaining=remaining, mean_tokens=100)
        desk.enter(ask(name), 0.0)
    served = []
    for _ in range(3):
        finish(desk, first)
        (first,) = desk.admit(0.0)
        served.append(first.request.program)
    assert served == ["short", "middle", "long"]


def test_a_program_whose_certaindex_fell_moves_back_while_it_waits():
    desk = turns("sjf", limit=1)
    (busy,) = [desk.enter(ask("busy"), 0.0)]
    assert list(desk.admit(0.0)) == [busy]
    for name in ("a", "b"):
        desk.programs.tell(name, 0.0, remaining=4, mean_tokens=100)
        desk.enter(ask(name), 0.0)
    desk.move(desk.programs.tell("a", 0.0, remaining=9))
    finish(desk, busy)
    assert [turn.request.program for turn in desk.admit(0.0)] == ["b"]


def test_a_request_is_stamped_with_its_programs_rank_then_its_own():
    desk = turns("sjf", limit=9)
    for name, remaining in (("long", 9), ("short", 2)):
        desk.programs.tell(name, 0.0, remaining=remaining, mean_tokens=100)
    asked = [ask("long"), ask("long", priority=-1), ask("short", priority=99), ask("short")]
    for request in asked:
        desk.enter(request, 0.0)
    sent = {turn.request: turn.request.priority for turn in desk.admit(0.0)}
    assert all(isinstance(priority, int) for priority in sent.values())
    ranked = sorted(asked, key=lambda request: sent[request])
    assert ranked == [asked[3], asked[2], asked[1], asked[0]]


def test_who_is_overdue_is_stamped_before_all_others():
    desk = turns(order_named("sjf", phi=0.01), limit=9)
    late, soon = desk.enter(ask("late"), 0.0), desk.enter(ask("soon"), 1000.0)
    assert set(desk.admit(1000.0)) == {late, soon}
    assert late.request.priority < -(2**49) < soon.request.priority
    assert abs(late.request.priority) < 2**53


def test_who_has_lapsed_is_let_in_and_stamped_after_all_others():
    desk = turns("sjf", limit=1)
    desk.enter(ask("busy"), 0.0)
    (busy,) = desk.admit(0.0)
    desk.begin(busy)
    busy.stage = "running"
    desk.leave(busy, 100, 10.0, ended=True)  # 0.1 s a token: at 11.0 "late" would end at 21.0
    desk.limit = 2
    for name, remaining, deadline in (("late", 1, 20.0), ("long", 9, 900.0)):
        desk.programs.tell(name, 0.0, remaining=remaining, mean_tokens=100, deadline=deadline)
        desk.enter(ask(name), 0.0)
    long, late = desk.admit(11.0)
    assert (long.request.program, late.request.program) == ("long", "late")
    assert long.request.priority < 2**49 < late.request.priority < 2**53


def test_first_come_first_served_leaves_requests_as_they_are():
    desk = turns("fcfs", limit=9)
    requests = [ask("a", priority=5), ask("b", priority=-5), ask("a")]
    for now, request in enumerate(requests):
        desk.enter(request, now)
    assert [turn.request for turn in desk.admit(9.0)] == requests
    assert [request.priority for request in requests] == [5, -5, 0]


# A full queue ----------------------------------------------------------------------------------


def test_a_full_queue_refuses_and_says_when_to_come_back():
    desk = turns("sjf", limit=1, bound=20)
    desk.enter(ask("first"), 0.0)
    (turn,) = desk.admit(0.0)
    for number in range(20):
        desk.enter(ask(str(number)), 0.0)
    for now in range(1, 61):  # one a second
        finish(desk, turn)
        (turn,) = desk.admit(now)
        desk.enter(ask(f"at {now}"), now)
    with pytest.raises(Overloaded, match="20 requests wait and the queue holds 20") as refusal:
        desk.enter(ask("one more"), 60.0)
    assert (refusal.value.queued, refusal.value.bound) == (20, 20)
    assert refusal.value.retry_after == pytest.approx(2.0, rel=0.2)  # a tenth of it
    assert desk.counts.refused == 1
    assert desk.counts.programs == 21


def test_who_has_begun_is_let_in_where_new_programs_are_refused():
    desk = turns("sjf", limit=1, bound=2)
    desk.enter(ask("begun"), 0.0)
    assert len(list(desk.admit(0.0))) == 1
    for name in ("a", "b"):
        desk.enter(ask(name), 0.0)
    desk.enter(ask("begun"), 0.0)
    for name in ("", "c"):
        with pytest.raises(Overloaded) as refusal:
            desk.enter(ask(name), 0.0)
        assert refusal.value.retry_after == 1.0  # nothing is known yet of how fast it drains
    assert desk.counts.waiting == 3


def test_a_tenant_that_fills_the_queue_keeps_no_other_out():
    desk = turns("sjf", limit=1, bound=10, weights={"calm": 1.5})
    for number in range(11):
        desk.programs.tell(f"flood-{number}", 0.0, tenant="flood")
        desk.enter(ask(f"flood-{number}"), 0.0)
        assert len(list(desk.admit(0.0))) == (number == 0)
    for number in range(6):  # 60 % of ten
        desk.programs.tell(f"calm-{number}", 0.0, tenant="calm")
        desk.enter(ask(f"calm-{number}"), 0.0)
    for tenant in ("flood", "calm"):
        desk.programs.tell(f"{tenant}-more", 0.0, tenant=tenant)
        with pytest.raises(Overloaded):
            desk.enter(ask(f"{tenant}-more"), 0.0)


# Counting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "cached", "recomputed"),
    [
        pytest.param("p", 16, 0, id="still-there"),
        pytest.param("p", 4, 12, id="most-of-it-is-gone"),
        pytest.param("p", 0, 16, id="all-of-it-is-gone"),
        pytest.param("q", 0, 0, id="never-computed"),
        pytest.param("", 0, 0, id="belongs-to-nobody"),
    ],
)
def test_prompt_tokens_that_are_computed_again_are_counted(
    program: str, cached: int, recomputed: int
):
    desk = turns("sjf", limit=1)
    desk.programs.tell("p", 0.0)
    for name, found in (("p", 0), (program, cached)):
        turn = desk.enter(ask(name, tokens=18), 0.0)
        assert list(desk.admit(0.0)) == [turn]
        finish(desk, turn, cached=found)
    assert desk.counts.recomputed == recomputed


def test_requests_side_by_side_are_no_recomputation():
    desk = turns("sjf", limit=2)
    both = [desk.enter(ask("p", tokens=18), 0.0) for _ in range(2)]
    assert list(desk.admit(0.0)) == both
    for turn in both:
        finish(desk, turn)
    assert desk.counts.recomputed == 0
