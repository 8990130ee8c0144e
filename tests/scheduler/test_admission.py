"""Admission: the limit follows the load."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from dynasor_graph.scheduler import Admission
from dynasor_graph.types import Load

BEFORE = Load()


@pytest.mark.parametrize(
    ("limit", "inside", "load", "expected"),
    [
        pytest.param(64, 64, Load(running=64), 97, id="none-waits"),
        pytest.param(64, 64, Load(running=60, waiting=1), 66, id="one-waits"),
        pytest.param(64, 50, Load(running=50), 64, id="we-have-no-more"),
        pytest.param(96, 96, Load(running=64, waiting=32), 68, id="more-wait-than-need"),
        pytest.param(96, 40, Load(running=64, waiting=32), 44, id="others-use-the-engine-too"),
        pytest.param(34, 39, Load(running=32, waiting=20), 34, id="counted-before-some-had-begun"),
        pytest.param(64, 64, Load(running=64, kv_usage=0.92), 64, id="cache-short"),
        pytest.param(64, 64, Load(running=60, waiting=4, kv_usage=0.98), 54, id="cache-full"),
        pytest.param(8, 8, Load(running=8, kv_usage=1.0), 8, id="never-below-the-least"),
        pytest.param(8000, 8000, Load(running=8000), 8192, id="never-above-the-most"),
        pytest.param(64, 64, BEFORE, 64, id="nothing-new"),
    ],
)
def test_the_limit_after_a_reading(limit: int, inside: int, load: Load, expected: int):
    assert Admission().next(limit, inside, load, BEFORE) == expected


def test_a_step_that_many_finished_in_says_nothing_of_what_the_engine_holds():
    before = Load(running=32, waiting=32)
    assert Admission().next(34, 45, Load(running=13, waiting=32), before) == 34
    assert Admission().next(34, 45, Load(running=13, waiting=31), Load(running=13)) == 16
    assert Admission().next(34, 34, Load(running=24), before) == 36
    assert Admission().next(34, 34, Load(running=34), before) == 52


def test_a_first_reading_changes_nothing():
    assert Admission().next(64, 64, Load(running=1), None) == 64


@given(st.integers(8, 2000), st.integers(1, 50))
def test_it_finds_what_the_engine_holds_and_stays_there(seats: int, seed: int):
    """While there is enough to do, few wait inside, and no seat is empty."""
    admission, limit, before = Admission(), 64, Load(generated=-1)
    for step in range(30):
        running = min(seats, limit)
        load = Load(running=running, waiting=limit - running, generated=step * seed)
        limit, before = admission.next(limit, limit, load, before), load
    assert seats <= limit <= seats + max(2, seats // 16)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"start": 4}, id="begins-below-its-least"),
        pytest.param({"start": 9000}, id="begins-above-its-most"),
        pytest.param({"interval": 0.0}, id="reads-without-a-pause"),
        pytest.param({"full": 1.5}, id="more-than-full"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]):
    with pytest.raises(ValidationError, match="|".join([*settings, "least <= start <= most"])):
        Admission(**settings)


@pytest.mark.parametrize(
    ("settings", "seats", "limit"),
    [
        pytest.param({}, 0, 64, id="nobody-knows-how-many-fit"),
        pytest.param({}, 256, 256 + 16, id="all-seats-and-the-spare"),
        pytest.param({}, 4, 8, id="at-least-the-least"),
        pytest.param({}, 100_000, 8192, id="at-most-the-most"),
        pytest.param({"start": 32}, 256, 32, id="what-was-asked-for"),
    ],
)
def test_where_it_begins(settings: dict[str, Any], seats: int, limit: int):
    assert Admission(**settings).first(seats) == limit
