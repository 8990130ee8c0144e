"""Standing: the work that is left, and fairness."""

from __future__ import annotations

import math

import pytest

from dynasor_graph.scheduler.standing import FIRST_ROUND, Standing


@pytest.mark.parametrize(
    ("standing", "work"),
    [
        pytest.param(Standing(), FIRST_ROUND, id="nothing-known"),
        pytest.param(Standing(remaining=5, first_round=80), 400, id="as-its-algorithm"),
        pytest.param(Standing(remaining=5, first_round=80, mean_tokens=20), 100, id="as-itself"),
        pytest.param(Standing(remaining=5, first_round=80, mean_tokens=0), 0, id="empty-rounds"),
        pytest.param(Standing(remaining=0, mean_tokens=20), 0, id="nothing-left"),
    ],
)
def test_work_is_the_remaining_knob_times_the_tokens_of_a_round(standing: Standing, work: float):
    assert standing.work == work


@pytest.mark.parametrize(
    ("standing", "lapses"),
    [
        pytest.param(Standing(), math.inf, id="no-deadline"),
        pytest.param(Standing(deadline=30.0), 30.0, id="pace-not-known-yet"),
        pytest.param(Standing(deadline=30.0, pace=0.01, first_round=400), 26.0, id="first-round"),
        pytest.param(Standing(deadline=30.0, pace=0.01, mean_tokens=900), 21.0, id="as-itself"),
        pytest.param(Standing(deadline=3.0, pace=0.01, mean_tokens=900), -6.0, id="never-could"),
    ],
)
def test_a_deadline_lapses_when_a_round_takes_longer(standing: Standing, lapses: float):
    assert standing.lapses == lapses


def test_phi_is_seconds_for_each_token():
    assert Standing(arrived=5.0, generated=40).phi(15.0) == 0.25
    assert Standing(arrived=5.0).phi(15.0) == math.inf
