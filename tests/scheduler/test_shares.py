"""Shares: tenants take turns by weight."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.errors import ConfigError
from dynasor_graph.scheduler.shares import Shares


@given(
    st.lists(st.integers(1, 500), min_size=200, max_size=200),
    st.floats(0.25, 4),
    st.integers(0, 100),
)
def test_tenants_that_wait_are_served_by_weight_to_within_a_request_of_each(
    costs: list[int], weight: float, late: int
):
    shares = Shares({"a": weight})
    shares.join("a")
    served = {"a": 0.0, "b": 0.0}
    for turn, cost in enumerate(costs):
        if turn == late:
            shares.join("b")
            served = {"a": 0.0, "b": 0.0}
        tenant = shares.first()
        assert tenant is not None
        shares.charge(tenant, cost)
        served[tenant] += cost
    assert abs(served["a"] / weight - served["b"]) <= 500 / weight + 500 + 1e-6


@pytest.mark.parametrize(
    ("burst", "ahead"),
    [
        pytest.param(0.0, 1, id="none"),
        pytest.param(1000.0, 11, id="some"),
        pytest.param(1e9, 101, id="all-that-was-missed"),
    ],
)
def test_who_comes_back_catches_up_on_as_much_as_burst(burst: float, ahead: int):
    shares = Shares(burst=burst)
    for tenant in ("away", "busy"):
        shares.join(tenant)
        shares.charge(tenant, 100)
    shares.leave("away")
    for _ in range(100):
        assert shares.first() == "busy"
        shares.charge("busy", 100)
    shares.first()
    shares.join("away")
    turns = 0
    while shares.first() == "away":
        shares.charge("away", 100)
        turns += 1
    assert turns in {ahead - 1, ahead}  # of equals the one that waited longer goes first


def test_what_was_charged_too_much_is_given_back():
    shares = Shares()
    for tenant in ("a", "b"):
        shares.join(tenant)
    shares.charge("a", 100)
    assert shares.first() == "b"
    shares.charge("b", 50)
    shares.charge("a", -80)
    assert shares.first() == "a"


def test_a_share_counts_those_that_wait():
    shares = Shares({"gold": 3.0})
    assert shares.part("gold") == 1.0
    shares.join("free")
    assert (shares.part("gold"), shares.part("free")) == (0.75, 1.0)
    shares.join("gold")
    assert (shares.part("gold"), shares.part("free")) == (0.75, 0.25)
    for tenant in ("gold", "free"):
        shares.leave(tenant)
    assert shares.first() is None


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        pytest.param({"weights": {"gold": 0.0}}, "'gold'", id="no-weight"),
        pytest.param({"weights": {"gold": math.nan}}, "'gold'", id="weight-nan"),
        pytest.param({"burst": -1.0}, "burst", id="negative-burst"),
    ],
)
def test_a_number_out_of_range_is_refused(arguments: dict[str, Any], names: str):
    with pytest.raises(ConfigError, match=names):
        Shares(**arguments)
