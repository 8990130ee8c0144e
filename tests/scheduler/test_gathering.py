"""Gathering: when free places are given away."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.scheduler.gathering import Gathering


@pytest.mark.parametrize(
    ("ends", "generating", "surcharge", "due"),
    [
        pytest.param([0.0], 1, 0.01, 0.005, id="half-of-what-it-costs-the-one-that-runs"),
        pytest.param([0.0], 256, 0.005, 0.64, id="one-of-many-waits-long"),
        pytest.param([0.0] * 250, 6, 0.005, 0.00006, id="most-at-once-hardly-wait"),
        pytest.param([3.0], 0, 0.005, 3.0, id="nobody-is-slowed"),
        pytest.param([0.0, 0.32], 256, 0.005, 0.48, id="what-the-first-stood-empty-counts"),
        pytest.param([0.0, 0.1, 0.2], 4, 0.05, 0.1, id="enough-have-stood-empty"),
        pytest.param([3.0, 4.0], 8, 0.0, 3.0, id="nothing-to-save"),
    ],
)
def test_when_places_that_come_free_are_given_away(
    ends: list[float], generating: int, surcharge: float, due: float
):
    gathering, told = Gathering(), float("inf")
    for free, now in enumerate(ends, 1):
        if now < told:
            told = gathering.due(free, generating, surcharge, now)
    assert told == pytest.approx(due)


@given(
    gaps=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=50),
    generating=st.integers(0, 1024),
    surcharge=st.floats(0.0, 0.1),
)
def test_places_stand_empty_for_half_of_what_a_step_costs_all_and_no_less(
    gaps: list[float], generating: int, surcharge: float
):
    gathering, now, ends, due = Gathering(), 10.0, list[float](), float("inf")
    for gap in gaps:
        now += gap
        if now >= due:
            break
        ends.append(now)
        due = gathering.due(len(ends), generating, surcharge, now)
    empty = sum(max(due, ends[-1]) - end for end in ends)
    assert empty >= 0.5 * surcharge * generating - 1e-6
    if due > ends[-1]:
        assert empty == pytest.approx(0.5 * surcharge * generating, abs=1e-6)


def test_it_begins_anew_once_places_were_given_away():
    gathering = Gathering()
    gathering.due(3, 8, 1.0, 0.0)
    gathering.given()
    assert gathering.due(1, 8, 1.0, 100.0) == 104.0


def test_it_costs_hardly_more_than_the_best_wait_that_knows_the_rate():
    """At a steady rate: seconds that all places lose, to empty ones and to longer steps."""
    limit, surcharge, rate = 256, 0.005, 200.0
    draw, now, lost = random.Random(1), 0.0, 0.0
    gathering, ends, due = Gathering(), list[float](), float("inf")
    for _ in range(20_000):
        now += draw.expovariate(rate)
        if ends and due <= now:
            at = max(due, ends[-1])
            lost += sum(at - end for end in ends) + surcharge * limit
            ends = []
            gathering.given()
        ends.append(now)
        due = gathering.due(len(ends), limit, surcharge, now)
    best = (2 * rate * surcharge * limit) ** 0.5  # places lost a second, at the best wait
    at_once = rate * surcharge * limit
    assert lost / now < 1.12 * best
    assert lost / now < 0.1 * at_once
