"""Orders: who goes first, and how long the last may have to wait."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.errors import ConfigError, UnknownName
from dynasor_graph.scheduler import ORDERS, Order, ShortestFirst, Standing, order_named

EARLY = Standing(program="early", arrived=1.0, remaining=20, mean_tokens=100, deadline=90.0)
SHORT = Standing(program="short", arrived=2.0, remaining=1, mean_tokens=100)
BEGUN = Standing(program="begun", arrived=3.0, begun=5.0, remaining=4, mean_tokens=400)
URGENT = Standing(program="urgent", arrived=4.0, remaining=9, first_round=300, deadline=8.0)


def ranked(order: Order) -> list[str]:
    programs = (EARLY, SHORT, BEGUN, URGENT)
    return [one.program for one in sorted(programs, key=lambda one: (order.key(one), one.arrived))]


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        pytest.param("fcfs", {}, ["early", "short", "begun", "urgent"], id="fcfs"),
        pytest.param("program-fifo", {}, ["early", "short", "begun", "urgent"], id="program-fifo"),
        pytest.param("gang", {}, ["begun", "early", "short", "urgent"], id="gang"),
        pytest.param("sjf", {"ageing": 0}, ["short", "begun", "early", "urgent"], id="sjf"),
        pytest.param("sjf", {"ageing": 2000}, ["early", "short", "begun", "urgent"], id="sjf-aged"),
        pytest.param("edf", {}, ["urgent", "early", "short", "begun"], id="edf"),
        pytest.param("edf", {"patience": 1}, ["short", "begun", "urgent", "early"], id="edf-brief"),
    ],
)
def test_each_order_ranks_by_what_it_is_named_after(
    name: str, parameters: dict[str, float], expected: list[str]
):
    assert ranked(order_named(name, **parameters)) == expected


def test_an_order_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UnknownName, match="did you mean 'sjf'") as refusal:
        order_named("sjff")
    assert refusal.value.choices == sorted(ORDERS)


@pytest.mark.parametrize(
    ("name", "parameters", "field"),
    [
        pytest.param("sjf", {"ageing": -1.0}, "ageing", id="negative-ageing"),
        pytest.param("sjf", {"ageing": math.inf}, "ageing", id="endless-ageing"),
        pytest.param("sjf", {"phi": 0.0}, "phi", id="phi-of-nothing"),
        pytest.param("edf", {"patience": -1.0}, "patience", id="negative-patience"),
        pytest.param("gang", {"ageing": 1.0}, "ageing", id="a-parameter-of-another"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(
    name: str, parameters: dict[str, Any], field: str
):
    with pytest.raises(ConfigError, match=field):
        order_named(name, **parameters)


work = st.integers(0, 100_000)
when = st.floats(0, 1e5)


@given(st.floats(0.5, 1000), work, work, when, st.floats(0, 1e5))
def test_who_is_passed_by_newcomers_is_passed_only_for_work_over_ageing(
    ageing: float, long: int, short: int, arrived: float, later: float
):
    order = ShortestFirst(ageing=ageing)
    one = Standing(arrived=arrived, mean_tokens=long)
    newcomer = Standing(arrived=arrived + later, mean_tokens=short)
    if order.key(newcomer) < order.key(one):
        assert later <= (long + 1) / ageing  # keys are whole tokens


@given(st.floats(0, 1000), work, work, when, when, st.floats(0, 1e5))
def test_keys_sort_at_any_moment_as_work_less_rate_times_waiting_does(
    ageing: float, one: int, other: int, first: float, second: float, later: float
):
    order, now = ShortestFirst(ageing=ageing), first + second + later
    a = Standing(arrived=first, mean_tokens=one)
    b = Standing(arrived=second, mean_tokens=other)
    waited = (one - ageing * (now - first)) - (other - ageing * (now - second))
    if abs(waited) > 2:
        assert (order.key(a) < order.key(b)) == (waited < 0)


def test_a_program_is_due_when_its_latency_is_phi_for_each_of_its_tokens():
    order = ShortestFirst(phi=0.1)
    program = Standing(arrived=10.0, generated=300, remaining=2, mean_tokens=100)
    assert order.due(program) == pytest.approx(60.0)
    finished = Standing(arrived=10.0, generated=500)
    assert finished.phi(order.due(program)) == pytest.approx(0.1)
    assert ShortestFirst(phi=None).due(program) == math.inf


def test_orders_that_look_ahead_put_off_who_cannot_keep_its_deadline():
    late = URGENT._replace(pace=0.01)
    lapsing = {name: order_named(name).lapses(late) for name in ORDERS}
    assert lapsing == dict.fromkeys(ORDERS, math.inf) | {"sjf": 5.0, "edf": 5.0}
    assert {order_named(name).lapses(SHORT) for name in ORDERS} == {math.inf}


def test_only_shortest_first_escalates():
    assert {name for name in ORDERS if order_named(name).due(SHORT) < math.inf} == {"sjf"}
