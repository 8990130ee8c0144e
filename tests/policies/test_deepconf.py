"""DeepConf: the bar that the first branches set, and the consensus of those above it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dynasor_graph.policies import DeepConf, Progress, read_policy


def progress(order: list[int | None], groups: list[float | None], cap: int = 40) -> Progress:
    return Progress(knob=len(order), cap=cap, order=tuple(order), groups=tuple(groups))


SCORES: list[float | None] = [float(i) for i in range(1, 17)]


@pytest.mark.parametrize(
    ("policy", "bar"),
    [
        # numpy's percentile of 1..16, as the authors' code: 90th for low, 10th for high.
        pytest.param("deepconf-low", 14.5, id="low keeps the top tenth"),
        pytest.param("deepconf-high", 2.5, id="high keeps nine tenths"),
        pytest.param("deepconf:keep=1", 1.0, id="all of them"),
        pytest.param("deepconf", 14.5, id="low is the default"),
    ],
)
def test_the_bar_is_a_percentile_of_the_warm_up(policy: str, bar: float) -> None:
    rule = read_policy(policy)
    assert rule.bar(progress([0] * 16, SCORES)) == pytest.approx(bar)
    # Later branches do not move it.
    assert rule.bar(progress([0] * 18, [*SCORES, 99.0, 99.0])) == pytest.approx(bar)


def test_there_is_no_bar_before_the_warm_up_is_over() -> None:
    rule = DeepConf()
    before = progress([0] * 15, SCORES[:15])
    assert rule.bar(before) is None
    decision = rule.decide(before)
    assert (decision.verdict, decision.width) == ("continue", 16)


def test_without_confidences_it_neither_cuts_nor_stops() -> None:
    rule = DeepConf(warm_up=2)
    unknown = progress([0, 0], [None, None])
    assert rule.bar(unknown) is None
    assert rule.decide(unknown).verdict == "continue"


@pytest.mark.parametrize(
    ("order", "groups", "consensus", "verdict"),
    [
        pytest.param([0, 0], [9.0, 9.0], 0.95, "terminate", id="unanimous"),
        pytest.param([0, 1], [9.0, 1.0], 0.95, "terminate", id="the other is below the bar"),
        pytest.param([0, 1], [9.0, 9.0], 0.95, "continue", id="one each"),
        pytest.param([0, None], [9.0, 9.0], 0.95, "terminate", id="no answer, no vote"),
        pytest.param([None, None], [9.0, 9.0], 0.95, "continue", id="no answer at all"),
        pytest.param([0, 0], [9.0, 9.0], None, "continue", id="as the released code: never"),
        pytest.param([0, 0, 1], [9.0, 9.0, 9.0], 0.66, "terminate", id="two thirds, by weight"),
        pytest.param([0, 0, 1], [9.0, 9.0, 9.5], 0.66, "continue", id="less than that, by weight"),
    ],
)
def test_the_consensus(
    order: list[int | None], groups: list[float | None], consensus: float | None, verdict: str
) -> None:
    rule = DeepConf(warm_up=2, keep=0.5, consensus=consensus)
    assert rule.decide(progress(order, groups)).verdict == verdict


@given(
    st.lists(st.floats(0.1, 20), min_size=4, max_size=20),
    st.floats(0.05, 1),
)
def test_about_the_kept_share_of_the_warm_up_is_at_or_above_the_bar(
    scores: list[float], keep: float
) -> None:
    rule = DeepConf(warm_up=len(scores), keep=keep)
    bar = rule.bar(progress([0] * len(scores), [*scores]))
    assert bar is not None
    above = sum(score >= bar - 1e-9 for score in scores)
    assert above >= int(np.floor(keep * (len(scores) - 1)))
    assert rule.bar(progress([0] * len(scores), [*scores])) == bar


@pytest.mark.parametrize("wrong", ["deepconf:keep=0", "deepconf:warm_up=1", "deepconf:consensus=2"])
def test_what_is_out_of_range_is_refused(wrong: str) -> None:
    with pytest.raises(Exception, match="deepconf"):
        read_policy(wrong)
