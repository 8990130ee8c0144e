"""Confidence: DeepConf's numbers of a branch, and how votes weigh by them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.confidence import (
    GROUP_VOTES,
    Confidence,
    Groups,
    cut_at,
    group_weights,
    token_confidence,
)

values = st.lists(st.floats(0, 20), min_size=1, max_size=60)


def sure(least: float, tail: float = 1.0) -> Confidence:
    return Confidence(mean=2 * least, tail=tail, bottom=least, least=least)


@pytest.mark.parametrize(
    ("logprobs", "k", "confidence"),
    [
        pytest.param([-1.0, -2.0, -3.0], 3, 2.0, id="minus the mean"),
        pytest.param([-3.0, -1.0, -2.0, -50.0], 3, 2.0, id="one too many: the drawn token"),
        pytest.param([0.0, -30.0], 20, 15.0, id="fewer candidates than k"),
        pytest.param([0.0, -math.inf], 20, 0.0, id="impossible candidates do not count"),
        pytest.param([], 20, 0.0, id="none"),
    ],
)
def test_confidence_of_a_token(logprobs: list[float], k: int, confidence: float) -> None:
    assert token_confidence(logprobs, k) == confidence


def test_a_branch_by_hand() -> None:
    groups = Groups(2)
    groups.add([4.0, 2.0])
    assert groups.lowest == 3.0
    groups.add([2.0, 8.0])
    assert groups.lowest == 2.0
    assert groups.confidence() == Confidence(
        mean=4.0, tail=5.0, bottom=2.0, least=2.0, falls=((2, 3.0), (3, 2.0))
    )


def test_a_branch_that_is_shorter_than_a_group_is_one_group_and_never_falls() -> None:
    groups = Groups(2048)
    groups.add([1.0, 3.0])
    assert groups.lowest == math.inf
    assert groups.confidence() == Confidence(2.0, 2.0, 2.0, 2.0, ())


def test_a_branch_without_tokens_has_no_confidence() -> None:
    assert Groups(4).confidence() is None


def test_the_bottom_is_the_lowest_tenth_of_the_groups() -> None:
    groups = Groups(1)
    groups.add([float(i) for i in range(20)])
    confidence = groups.confidence()
    assert confidence is not None
    assert confidence.bottom == 0.5


@given(values, st.integers(1, 20), st.integers(1, 7))
def test_groups_are_the_means_of_all_windows_however_the_tokens_come(
    tokens: list[float], window: int, chunk: int
) -> None:
    groups = Groups(window)
    for start in range(0, len(tokens), chunk):
        groups.add(tokens[start : start + chunk])
    full = [sum(tokens[i : i + window]) / window for i in range(len(tokens) - window + 1)]
    means = full or [sum(tokens) / len(tokens)]
    found = groups.confidence()
    assert found is not None
    assert found.mean == pytest.approx(sum(tokens) / len(tokens), abs=1e-9)
    assert found.tail == pytest.approx(means[-1], abs=1e-9)
    assert found.least == pytest.approx(min(means), abs=1e-9)
    assert found.bottom == pytest.approx(
        sum(sorted(means)[: max(1, len(means) // 10)]) / max(1, len(means) // 10), abs=1e-9
    )
    assert groups.lowest == pytest.approx(min(full) if full else math.inf, abs=1e-9)


@given(values, st.integers(1, 20), st.floats(0, 20))
def test_falls_tell_where_a_branch_would_have_been_cut_to_a_hundredth(
    tokens: list[float], window: int, bar: float
) -> None:
    groups = Groups(window)
    groups.add(tokens)
    found = groups.confidence()
    assert found is not None
    cut = cut_at(found.falls, bar)
    means = {
        i + window: sum(tokens[i : i + window]) / window for i in range(len(tokens) - window + 1)
    }
    if cut is None:
        assert all(mean >= bar - 0.0101 for mean in means.values())
    else:
        assert means[cut] < bar + 1e-9
        assert all(mean >= bar - 0.0101 for at, mean in means.items() if at < cut)


def test_without_a_bar_nothing_is_cut() -> None:
    assert cut_at(((5, 0.0),), None) is None


@pytest.mark.parametrize(
    ("vote", "weights"),
    [
        pytest.param("group-mean", [2.0, 6.0, 0.0], id="mean"),
        pytest.param("group-tail", [1.0, 1.0, 0.0], id="tail"),
        pytest.param("group-bottom", [1.0, 3.0, 0.0], id="bottom"),
        pytest.param("group-least", [1.0, 3.0, 0.0], id="least; unknown ones do not count"),
        pytest.param("top-bottom", [0.0, 3.0, 0.0], id="the surest tenth, at least one"),
        pytest.param("top-tail", [1.0, 0.0, 0.0], id="of equals the first"),
    ],
)
def test_weights(vote: str, weights: list[float]) -> None:
    assert vote in GROUP_VOTES
    assert group_weights(vote, [sure(1.0), sure(3.0), None]) == weights


def test_the_top_tenth_of_forty_is_four() -> None:
    weights = group_weights("top-bottom", [sure(float(i)) for i in range(40)])
    assert [i for i, weight in enumerate(weights) if weight] == [36, 37, 38, 39]


def test_json_and_back() -> None:
    confidence = Confidence(1.0, 2.0, 3.0, 0.5, ((16, 1.25), (40, 0.5)))
    assert Confidence.from_json(confidence.to_json()) == confidence
    assert "falls" not in confidence.to_json(falls=False)
