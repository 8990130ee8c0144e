"""Rebase: the published allocation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.algorithms.rebase import allocate

REWARD = st.floats(0, 1)


@pytest.mark.parametrize(
    ("rewards", "slots", "temperature", "shares"),
    [
        # exp(r / 0.2): 0.9 -> 90.02, 0.5 -> 12.18, 0.1 -> 1.65; of 16: ceil(13.88), ceil(1.76), 0.
        pytest.param([0.1, 0.9, 0.5], 16, 0.2, [0, 14, 2], id="three-by-hand"),
        # 20.09 and 7.39: ceil(8 * .731) = 6, then what is left.
        pytest.param([0.6, 0.4], 8, 0.2, [6, 2], id="two-by-hand"),
        pytest.param([0.5, 0.5, 0.5], 7, 0.2, [3, 2, 2], id="equals-in-order"),
        pytest.param([0.5, 0.5, 0.5, 0.5], 2, 0.2, [1, 1, 0, 0], id="fewer-than-steps"),
        pytest.param([0.3], 5, 0.2, [5], id="one-gets-all"),
        pytest.param([1.0, 0.0], 4, 0.01, [4, 0], id="cold-takes-the-best"),
        pytest.param([1.0, 0.0], 4, 1e12, [2, 2], id="hot-is-even"),
        pytest.param([1.0, 0.0], 4, 1e-9, [4, 0], id="no-overflow"),
        pytest.param([], 0, 0.2, [], id="no-steps"),
    ],
)
def test_the_allocation_is_the_published_one(
    rewards: list[float], slots: int, temperature: float, shares: list[int]
):
    assert allocate(rewards, slots, temperature) == shares


def published(rewards: list[float], width: int) -> list[int]:
    """The loop of Rebase's code (rebase.py, `select_softmax`), without its leaves."""
    order = sorted(range(len(rewards)), key=lambda at: -rewards[at])
    exps = {at: math.exp(rewards[at] / 0.2) for at in order}
    total, shares = sum(exps.values()), [0] * len(rewards)
    for at in order:
        number = math.ceil(width * exps[at] / total - 1e-9)
        shares[at] = number
        width -= number
        total -= exps[at]
    return shares


@given(st.lists(REWARD, min_size=1, max_size=12), st.integers(1, 128))
def test_it_deals_out_every_slot_and_never_favours_the_worse(rewards: list[float], slots: int):
    shares = allocate(rewards, slots, 0.2)

    assert sum(shares) == slots
    assert min(shares) >= 0
    for one, other in zip(
        sorted(zip(rewards, shares, strict=True), key=lambda pair: -pair[0]),
        sorted(zip(rewards, shares, strict=True), key=lambda pair: -pair[0])[1:],
        strict=False,
    ):
        # Rounding up may give a later one what an equal share leaves it, never more than one over.
        assert other[1] <= one[1] + 1


@given(
    st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=1, max_size=8), st.integers(1, 64)
)
def test_it_agrees_with_the_published_loop(rewards: list[float], slots: int):
    assert allocate(rewards, slots, 0.2) == published(rewards, slots)
