"""Certaindex: the paper's numbers, its thresholds, and what holds for any votes."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.certaindex import (
    entropy,
    entropy_certaindex,
    is_certain,
    probe_certaindex,
    reward_certaindex,
)

TABLE = [
    pytest.param((3,), 1.0, id="3"),
    pytest.param((2, 1), 0.4206, id="2-1"),
    pytest.param((1, 1, 1), 0.0, id="1-1-1"),
    pytest.param((5,), 1.0, id="5"),
    pytest.param((4, 1), 0.6891, id="4-1"),
    pytest.param((3, 2), 0.5818, id="3-2"),
    pytest.param((3, 1, 1), 0.4096, id="3-1-1"),
    pytest.param((2, 2, 1), 0.3445, id="2-2-1"),
    pytest.param((2, 1, 1, 1), 0.1723, id="2-1-1-1"),
    pytest.param((1, 1, 1, 1, 1), 0.0, id="five-singletons"),
    pytest.param((16,), 1.0, id="16"),
    pytest.param((15, 1), 0.9157, id="15-1"),
    pytest.param((14, 2), 0.8641, id="14-2"),
    pytest.param((14, 1, 1), 0.8329, id="14-1-1"),
    pytest.param((13, 3), 0.8259, id="13-3"),
    pytest.param((12, 4), 0.7972, id="12-4"),
    pytest.param((8, 8), 0.75, id="8-8"),
    pytest.param((12, 2, 2), 0.7347, id="12-2-2"),
    pytest.param((19, 1), 0.9337, id="19-1"),
    pytest.param((16, 4), 0.8330, id="16-4"),
    pytest.param((10, 10), 0.7686, id="10-10"),
]


@pytest.mark.parametrize(("votes", "expected"), TABLE)
def test_the_partition_table(votes: tuple[int, ...], expected: float):
    assert entropy_certaindex(votes) == pytest.approx(expected, abs=5e-5)


PARTITIONS = {
    3: [(3,), (2, 1), (1, 1, 1)],
    5: [(5,), (4, 1), (3, 2), (3, 1, 1), (2, 2, 1), (2, 1, 1, 1), (1, 1, 1, 1, 1)],
    16: [(16,), (15, 1), (14, 2), (14, 1, 1), (13, 3), (12, 4), (8, 8), (12, 2, 2)],
}


@pytest.mark.parametrize(
    ("at", "threshold", "admitted"),
    [
        pytest.param(5, 0.7, [(5,)], id="self-consistency-on-math-and-gsm8k"),
        pytest.param(5, 0.4, [(5,), (4, 1), (3, 2), (3, 1, 1)], id="livecodebench"),
        pytest.param(3, 0.99, [(3,)], id="mcts-on-gsm8k"),
        pytest.param(16, 0.85, [(16,), (15, 1), (14, 2)], id="rebase-on-gsm8k"),
        pytest.param(
            16,
            0.75,
            [(16,), (15, 1), (14, 2), (14, 1, 1), (13, 3), (12, 4)],
            id="rebase-on-math-and-the-8-8-tie-stays-out",
        ),
    ],
)
def test_what_each_threshold_of_table_3_admits(
    at: int, threshold: float, admitted: list[tuple[int, ...]]
):
    certain = [
        votes
        for votes in PARTITIONS[at]
        if is_certain({"entropy": entropy_certaindex(votes)}, {"entropy": threshold})
    ]
    assert certain == admitted


@pytest.mark.parametrize(
    ("votes", "bits"),
    [
        pytest.param((5,), 0.0, id="5"),
        pytest.param((4, 1), 0.722, id="4-1"),
        pytest.param((3, 2), 0.971, id="3-2"),
        pytest.param((3, 1, 1), 1.371, id="3-1-1"),
        pytest.param((2, 2, 1), 1.522, id="2-2-1"),
        pytest.param((2, 1, 1, 1), 1.922, id="2-1-1-1"),
    ],
)
def test_entropy_is_in_nats_and_figure_9_in_bits(votes: tuple[int, ...], bits: float):
    assert entropy(votes) / math.log(2) == pytest.approx(bits, abs=5e-4)


@pytest.mark.parametrize(
    ("votes", "empty"),
    [
        pytest.param((), 0, id="nobody"),
        pytest.param((1,), 0, id="one-branch"),
        pytest.param((), 1, id="one-branch-without-an-answer"),
        pytest.param((), 2, id="two-without-an-answer"),
        pytest.param((), 7, id="seven-without-an-answer"),
        pytest.param((1,), 1, id="one-answer-and-one-without"),
    ],
)
def test_what_proves_nothing_is_not_certain_at_all(votes: tuple[int, ...], empty: int):
    assert entropy_certaindex(votes, empty) == pytest.approx(0.0)


def test_the_entropy_of_nobody_is_zero():
    assert entropy(()) == 0.0


@given(st.lists(st.integers(1, 30), max_size=6), st.integers(0, 10))
def test_a_branch_without_an_answer_is_a_class_of_its_own(votes: list[int], empty: int):
    singletons = [*votes, *[1] * empty]
    assert entropy(votes, empty) == pytest.approx(entropy(singletons))
    assert entropy_certaindex(votes, empty) == pytest.approx(entropy_certaindex(singletons))


some_votes = st.lists(st.integers(1, 50), min_size=1, max_size=8)


@given(some_votes, st.integers(0, 10))
def test_certaindex_is_between_0_and_1(votes: list[int], empty: int):
    assert 0.0 <= entropy_certaindex(votes, empty) <= 1.0


@given(some_votes, st.integers(0, 10), st.randoms())
def test_the_order_of_the_answers_does_not_matter(votes: list[int], empty: int, rng):
    shuffled = [*votes]
    rng.shuffle(shuffled)
    expected = entropy_certaindex(votes, empty)
    assert entropy_certaindex(shuffled, empty) == pytest.approx(expected)


@given(some_votes, st.integers(0, 10))
def test_certaindex_is_1_exactly_when_at_least_two_agree_and_nobody_differs(
    votes: list[int], empty: int
):
    unanimous = len(votes) == 1 and empty == 0 and votes[0] >= 2
    assert (entropy_certaindex(votes, empty) > 1 - 1e-9) == unanimous


@given(some_votes)
def test_a_vote_that_moves_from_the_last_to_the_leader_never_makes_it_less_certain(
    votes: list[int],
):
    ranked = sorted(votes, reverse=True)
    moved = [ranked[0] + 1, *ranked[1:-1], ranked[-1] - 1] if len(ranked) > 1 else ranked
    assert entropy_certaindex([v for v in moved if v]) >= entropy_certaindex(ranked) - 1e-12


@pytest.mark.parametrize(
    ("answers", "window", "expected"),
    [
        pytest.param([1, 1, 1], 3, 1.0, id="all-agree"),
        pytest.param(["4", "4"], 2, 1.0, id="spellings"),
        pytest.param([2, 1, 1, 1], 3, 1.0, id="only-the-window-counts"),
        pytest.param([1, 1, 2], 3, 1 / 3, id="the-newest-stands-alone"),
        pytest.param([1, 2, 1], 3, 2 / 3, id="two-of-three"),
        pytest.param([2, 1, 1], 3, 2 / 3, id="the-newest-is-what-counts"),
        pytest.param([None, 1, 1], 3, 2 / 3, id="none-is-no-agreement"),
        pytest.param([1, 1, None], 3, 0.0, id="the-newest-has-no-answer"),
        pytest.param([None, None, None], 3, 0.0, id="none-does-not-equal-none"),
        pytest.param([1, 1], 3, 0.0, id="too-few"),
        pytest.param([], 1, 0.0, id="nothing"),
        pytest.param([7], 1, 1.0, id="window-of-one"),
        pytest.param([0, 0], 2, 1.0, id="class-0-is-an-answer"),
    ],
)
def test_c_k_is_the_share_of_the_window_that_equals_the_newest(
    answers: list[str | int | None], window: int, expected: float
):
    assert probe_certaindex(answers, window) == pytest.approx(expected)


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_holds_at_least_one_probe(window: int):
    with pytest.raises(ValueError, match=f"at least 1, got {window}"):
        probe_certaindex([1], window)


@given(st.lists(st.none() | st.integers(0, 3), max_size=12), st.integers(1, 6))
def test_c_k_is_1_exactly_when_the_whole_window_is_one_answer(
    answers: list[str | int | None], window: int
):
    value = probe_certaindex(answers, window)
    last = answers[-window:]
    settled = len(answers) >= window and None not in last and len(set(last)) == 1
    assert 0.0 <= value <= 1.0
    assert (value == 1.0) == settled


@pytest.mark.parametrize(
    ("rewards", "aggregate", "expected"),
    [
        pytest.param([0.2, 0.4, 0.6], "mean", 0.4, id="mcts-takes-the-mean"),
        pytest.param([0.2, 0.4, 0.6], "max", 0.6, id="rebase-takes-the-maximum"),
        pytest.param([0.5], "mean", 0.5, id="one-path"),
        pytest.param([0.0, 1.0], "mean", 0.5, id="the-ends-are-allowed"),
        pytest.param([], "mean", 0.0, id="no-path-mean"),
        pytest.param([], "max", 0.0, id="no-path-max"),
    ],
)
def test_reward_certaindex(
    rewards: list[float], aggregate: Literal["mean", "max"], expected: float
):
    assert reward_certaindex(rewards, aggregate) == pytest.approx(expected)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize("bad", [-0.01, 1.01, math.nan, math.inf, -math.inf])
def test_a_reward_outside_0_to_1_is_refused_wherever_it_stands(
    bad: float, aggregate: Literal["mean", "max"]
):
    for rewards in ([bad], [0.5, bad], [bad, 0.5]):
        with pytest.raises(ValueError, match=rf"in \[0, 1\], got {bad}: normalise it first"):
            reward_certaindex(rewards, aggregate)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_the_mean_reward_is_never_above_the_maximum(rewards: list[float]):
    mean, most = reward_certaindex(rewards, "mean"), reward_certaindex(rewards, "max")
    assert min(rewards) - 1e-9 <= mean <= most + 1e-9
    assert most == max(rewards)


@pytest.mark.parametrize(
    ("measured", "thresholds", "expected"),
    [
        pytest.param({"h": 0.9, "r": 0.5}, {"h": 0.8, "r": 0.4}, True, id="both-pass"),
        pytest.param({"h": 0.9, "r": 0.3}, {"h": 0.8, "r": 0.4}, False, id="reward-fails"),
        pytest.param({"h": 0.7, "r": 0.5}, {"h": 0.8, "r": 0.4}, False, id="entropy-fails"),
        pytest.param({"h": 0.7, "r": 0.3}, {"h": 0.8, "r": 0.4}, False, id="both-fail"),
        pytest.param({"h": 0.7, "r": 0.5}, {"r": 0.4}, True, id="only-what-has-a-threshold"),
        pytest.param({"h": 0.75}, {"h": 0.75}, False, id="exceeds-is-not-reaches"),
        pytest.param({"h": 1.0}, {"h": 1.0}, True, id="1-means-unanimous"),
        pytest.param({"h": 0.0}, {"h": 0.0}, False, id="0-does-not-exceed-0"),
        pytest.param({"h": 1 - 1e-15}, {"h": 1.0}, True, id="rounding-does-not-matter"),
    ],
)
def test_a_program_is_certain_only_if_every_indicator_exceeds_its_threshold(
    measured: dict[str, float], thresholds: dict[str, float], expected: bool
):
    assert is_certain(measured, thresholds) == expected


def test_a_threshold_without_its_indicator_is_an_error():
    with pytest.raises(KeyError, match="reward"):
        is_certain({"entropy": 0.9}, {"entropy": 0.7, "reward": 0.4})
