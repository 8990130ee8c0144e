"""Progress and Decision: what a policy may know, and how its verdict is written down."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.policies import Decision, Progress
from dynasor_graph.policies.base import branch, go_on, terminate


@pytest.mark.parametrize(
    ("knob", "remaining"),
    [
        pytest.param(0, 20, id="start"),
        pytest.param(5, 15, id="on-the-way"),
        pytest.param(20, 0, id="at-the-cap"),
        pytest.param(21, 0, id="past-it"),
    ],
)
def test_what_remains_is_never_negative(knob: int, remaining: int):
    assert Progress(knob=knob, cap=20).remaining == remaining


@pytest.mark.parametrize(
    ("evidence", "threshold", "margin"),
    [
        pytest.param(0.9, 0.7, 0.2, id="satisfied"),
        pytest.param(0.5, 0.7, -0.2, id="not-satisfied"),
        pytest.param(None, 0.7, None, id="not-measured"),
        pytest.param(0.9, None, None, id="not-compared"),
        pytest.param(0.0, 0.0, 0.0, id="zero-is-a-measurement"),
    ],
)
def test_the_margin_is_evidence_less_threshold(
    evidence: float | None, threshold: float | None, margin: float | None
):
    decision = Decision(
        verdict="continue", width=1, rule="r", evidence=evidence, threshold=threshold
    )
    assert decision.margin == (None if margin is None else pytest.approx(margin))


@pytest.mark.parametrize(
    ("progress", "saved"),
    [
        pytest.param(Progress(knob=5, cap=20, mean_tokens=100.0), 1500, id="branches"),
        pytest.param(Progress(knob=5, cap=20, mean_tokens=33.4), 501, id="whole-tokens"),
        pytest.param(Progress(knob=640, cap=4096), 3456, id="a-chain-counts-in-tokens"),
        pytest.param(Progress(knob=20, cap=20, mean_tokens=100.0), 0, id="nothing-left-to-save"),
        pytest.param(Progress(knob=0, cap=20), 0, id="nothing-to-estimate-from"),
    ],
)
def test_a_stop_estimates_what_it_saves_from_the_programs_own_mean(progress: Progress, saved: int):
    decision = terminate("r", progress, evidence=1.0)
    assert (decision.verdict, decision.width, decision.saved) == ("terminate", progress.knob, saved)


def test_going_on_is_bounded_by_the_cap():
    progress = Progress(knob=3, cap=20)
    assert go_on("r", progress).width == 20
    assert go_on("r", progress, until=5).width == 5
    assert go_on("r", progress, until=50).width == 20
    assert branch("r", progress, evidence=None) == Decision(verdict="branch", width=20, rule="r")


def test_a_decision_is_written_without_what_is_not_set():
    assert Decision(verdict="continue", width=20, rule="fixed").to_json() == {
        "verdict": "continue",
        "width": 20,
        "rule": "fixed",
    }


def test_a_decision_is_written_with_all_that_is_set():
    part = Decision(verdict="continue", width=20, rule="fixed")
    decision = Decision(
        verdict="terminate",
        width=5,
        rule="any-of",
        evidence=2 / 3,
        threshold=0.5,
        saved=7,
        warning="careful",
        parts=(part,),
    )
    assert decision.to_json() == {
        "verdict": "terminate",
        "width": 5,
        "rule": "any-of",
        "evidence": 0.666667,
        "threshold": 0.5,
        "margin": 0.166667,
        "saved": 7,
        "warning": "careful",
        "parts": [part.to_json()],
    }


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_measurement_of_zero_is_written_too(evidence: float, threshold: float):
    decision = Decision(
        verdict="continue", width=1, rule="r", evidence=evidence, threshold=threshold
    )
    row = json.loads(json.dumps(decision.to_json()))
    assert row["evidence"] == pytest.approx(evidence, abs=1e-6)
    assert row["threshold"] == threshold
    assert row["margin"] == pytest.approx(evidence - threshold, abs=1e-6)
