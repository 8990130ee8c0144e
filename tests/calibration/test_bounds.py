"""Bounds on the mean loss: valid for every distribution, and strong where most losses are 0."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binom

from dynasor_graph.calibration import fixed_sequence, loss_p_value, questions_needed, upper_bound
from dynasor_graph.errors import InputError

LEVEL = 0.05

shares = st.integers(-8, 8).map(lambda eighths: eighths / 8)
losses_of_any_kind = st.lists(shares | st.floats(-1, 1), min_size=1, max_size=60)
bounds = st.floats(-1, 1)


def losses(questions: int, lost: int = 0, won: int = 0) -> list[float]:
    """This many questions, of which some lose 1 and some win 1, in an order that means nothing."""
    values = [1.0] * lost + [-1.0] * won + [0.0] * (questions - lost - won)
    return [values[i] for i in np.random.default_rng(7).permutation(questions)]


# --- the p-value


@pytest.mark.parametrize(
    ("values", "max_loss", "low", "certified"),
    [
        pytest.param(losses(1000, lost=2), 0.01, -1, True, id="2 in 1000 lost, 1 % allowed"),
        pytest.param(losses(1000, lost=2), 0.01, 0, True, id="2 in 1000 disagree, 1 % allowed"),
        pytest.param(losses(1000, lost=10), 0.01, -1, False, id="1 % lost, 1 % allowed"),
        pytest.param(losses(1000, lost=20), 0.01, -1, False, id="2 % lost, 1 % allowed"),
        pytest.param(losses(654), 0.005, -1, True, id="none differs, enough questions"),
        pytest.param(losses(653), 0.005, -1, False, id="none differs, one question short"),
        pytest.param(losses(1000, won=50), 0.0, -1, True, id="only ever better, no loss allowed"),
        pytest.param(losses(4000, lost=40, won=40), 0.01, -1, True, id="as many won as lost"),
        pytest.param([-1.0], 0.5, -1, False, id="one question proves little"),
    ],
)
def test_what_the_losses_certify(values: list[float], max_loss: float, low: float, certified: bool):
    assert (loss_p_value(values, max_loss, low, 1) <= LEVEL) is certified


@given(losses_of_any_kind, bounds, bounds)
def test_a_p_value_is_in_0_to_1_and_never_grows_with_the_loss_that_is_allowed(
    values: list[float], one: float, other: float
):
    less, more = sorted((one, other))
    strict, lax = loss_p_value(values, less, -1, 1), loss_p_value(values, more, -1, 1)
    assert 0 <= lax <= strict * (1 + 1e-9) <= 1 + 1e-9


@given(losses_of_any_kind, bounds, st.sampled_from([0.01, 0.5, 100.0]))
def test_the_unit_of_the_losses_does_not_matter(values: list[float], max_loss: float, unit: float):
    scaled = loss_p_value([unit * x for x in values], unit * max_loss, -unit, unit)
    assert scaled == pytest.approx(loss_p_value(values, max_loss, -1, 1), rel=1e-6)


@pytest.mark.parametrize(("max_loss", "p"), [(-1, 1.0), (1, 0.0)], ids=["lowest", "highest"])
def test_the_ends_of_the_range_need_no_evidence(max_loss: float, p: float):
    assert loss_p_value(losses(30, lost=3, won=3), max_loss, -1, 1) == p


def test_equal_losses_give_an_equal_p_value():
    values = losses(500, lost=3, won=1)
    assert loss_p_value(values, 0.02, -1, 1) == loss_p_value(list(values), 0.02, -1, 1)


@pytest.mark.parametrize(
    ("support", "questions"),
    [
        pytest.param({0: 0.5, 1: 0.5}, 10, id="half lost"),
        pytest.param({0: 0.9, 1: 0.1}, 10, id="a tenth lost"),
        pytest.param({-1: 0.3, 0: 0.3, 1: 0.4}, 7, id="won and lost"),
        pytest.param({-1: 0.5, 1: 0.5}, 10, id="nothing in between"),
        pytest.param({-0.5: 0.6, 0.25: 0.2, 1: 0.2}, 7, id="shares"),
    ],
)
def test_the_p_value_is_valid_at_every_level_over_all_outcomes(
    support: dict[float, float], questions: int
):
    mean = sum(value * chance for value, chance in support.items())
    found = sorted(
        (loss_p_value(outcome, mean, -1, 1), math.prod(support[value] for value in outcome))
        for outcome in itertools.product(support, repeat=questions)
    )
    # The chance of a p-value this small or smaller, outcome by outcome: no simulation, no slack.
    for _, tied in itertools.groupby(
        zip(itertools.accumulate(chance for _, chance in found), found, strict=True),
        key=lambda pair: round(pair[1][0], 12),
    ):
        chance, (p, _) = list(tied)[-1]
        assert chance <= p + 1e-9


@pytest.mark.parametrize("questions", [50, 250, 1000])
@pytest.mark.parametrize(
    ("values", "chances", "low"),
    [
        pytest.param([0, 1], [0.99, 0.01], 0, id="rare disagreement"),
        pytest.param([0, 1], [0.7, 0.3], 0, id="frequent disagreement"),
        pytest.param([-1, 0, 1], [0.01, 0.97, 0.02], -1, id="won and lost"),
        pytest.param([-1, 0, 1], [0.2, 0.59, 0.21], -1, id="won and lost often"),
        pytest.param([-0.25, 0, 0.125, 1], [0.1, 0.6, 0.285, 0.015], -1, id="skewed shares"),
        pytest.param([0, 0.125, 0.25], [0.9, 0.05, 0.05], 0, id="small shares"),
    ],
)
def test_a_loss_at_the_bound_is_certified_no_more_often_than_the_level(
    values: Sequence[float], chances: Sequence[float], low: float, questions: int
):
    samples = 1000
    drawn = np.random.default_rng(questions).choice(values, (samples, questions), p=chances)
    mean = float(np.dot(values, chances))
    wrong = sum(loss_p_value(row, mean, low, 1) <= LEVEL for row in drawn)
    assert wrong <= binom.ppf(0.999, samples, LEVEL)


# --- candidates in a sequence


@pytest.mark.parametrize(
    ("p_values", "certified"),
    [
        pytest.param([], 0, id="no candidates"),
        pytest.param([0.2, 0.01], 0, id="the first fails"),
        pytest.param([0.01, 0.05, 0.06, 0.01], 2, id="none after a failure"),
        pytest.param([0.0, 0.01, 0.05], 3, id="all"),
    ],
)
def test_candidates_are_certified_up_to_the_first_that_fails(p_values: list[float], certified: int):
    assert fixed_sequence(p_values, LEVEL) == certified


@given(st.lists(st.floats(0, 1)), st.floats(0.001, 0.999))
def test_the_certified_are_the_longest_prefix_that_passes(p_values: list[float], level: float):
    count = fixed_sequence(p_values, level)
    assert all(p <= level for p in p_values[:count])
    assert count == len(p_values) or p_values[count] > level


# --- the smallest loss, and the number of questions


@settings(max_examples=50)
@given(losses_of_any_kind, st.floats(0.001, 0.999))
def test_the_upper_bound_is_the_smallest_loss_that_is_certified(values: list[float], level: float):
    bound = upper_bound(values, level, -1, 1)
    assert loss_p_value(values, bound, -1, 1) <= level
    assert loss_p_value(values, max(-1.0, bound - 1e-5), -1, 1) > level


def test_the_upper_bound_narrows_with_the_questions():
    few, many = (upper_bound(losses(n, lost=n // 500), LEVEL, -1, 1) for n in (500, 5000))
    assert 0.002 < many < few


@pytest.mark.parametrize(
    ("values", "max_loss", "low", "needed"),
    [
        pytest.param([0.0], 0.005, -1, 654, id="none differs, one question"),
        pytest.param(losses(2000), 0.005, -1, 654, id="fewer than there are"),
        pytest.param(losses(100), 0.01, 0, 326, id="none disagrees"),
        pytest.param(losses(100, lost=1), 0.01, -1, None, id="the loss is the bound"),
        pytest.param(losses(100, lost=2), 0.01, -1, None, id="the loss is above the bound"),
        pytest.param([1.0], 1.0, 0, 1, id="everything is allowed"),
    ],
)
def test_how_many_questions_it_takes(
    values: list[float], max_loss: float, low: float, needed: int | None
):
    assert questions_needed(values, max_loss, LEVEL, low, 1) == needed


@pytest.mark.parametrize(
    ("lost", "won", "max_loss"),
    [
        pytest.param(1, 0, 0.01, id="rare loss"),
        pytest.param(4, 0, 0.02, id="near the bound"),
        pytest.param(6, 6, 0.02, id="won and lost"),
    ],
)
def test_that_many_questions_do_certify_about_half_the_time(lost: int, won: int, max_loss: float):
    values = losses(300, lost=lost, won=won)
    needed = questions_needed(values, max_loss, LEVEL, -1, 1)
    assert needed is not None
    draws = np.random.default_rng(3).choice(values, (100, needed))
    certified = sum(loss_p_value(row, max_loss, -1, 1) <= LEVEL for row in draws)
    assert 30 <= certified <= 80


def test_a_bound_close_to_the_loss_needs_more_questions_than_are_tried():
    values = losses(1000, lost=10)
    near, nearer = (questions_needed(values, 0.01 + by, LEVEL, 0, 1) for by in (4e-4, 1e-4))
    # Each halving of the distance takes four times as many.
    assert near is not None
    assert nearer is not None
    assert nearer / near == pytest.approx(16, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(losses_of_any_kind, bounds)
def test_more_questions_are_needed_exactly_if_these_do_not_certify(
    values: list[float], max_loss: float
):
    needed = questions_needed(values, max_loss, LEVEL, -1, 1)
    certified = loss_p_value(values, max_loss, -1, 1) <= LEVEL
    assert (needed is not None and needed <= len(values)) is certified


# --- what is refused


def test_no_losses_are_refused_with_what_to_do():
    with pytest.raises(InputError, match="record more questions"):
        loss_p_value([], 0.01, -1, 1)
    with pytest.raises(InputError, match="record more questions"):
        upper_bound([], LEVEL, -1, 1)
    with pytest.raises(InputError, match="record more questions"):
        questions_needed([], 0.01, LEVEL, -1, 1)


@pytest.mark.parametrize(
    ("values", "max_loss", "low", "high", "message"),
    [
        pytest.param([0.0, 1.5], 0.01, -1, 1, r"losses are in \[-1, 1\]", id="loss above"),
        pytest.param([-0.5], 0.01, 0, 1, r"losses are in \[0, 1\]", id="loss below"),
        pytest.param([0.0, math.nan], 0.01, -1, 1, "losses are in", id="loss is no number"),
        pytest.param([0.0], 1.5, -1, 1, "max_loss is in", id="max_loss above"),
        pytest.param([0.0], math.nan, -1, 1, "max_loss is in", id="max_loss is no number"),
        pytest.param([0.5], 0.6, 0.1, 1, "low <= 0 < high", id="low above 0"),
        pytest.param([0.0], 0.0, 0, 0, "low <= 0 < high", id="empty range"),
        pytest.param([0.0], 0.0, -math.inf, 1, "finite", id="no bound"),
    ],
)
def test_values_out_of_range_are_refused(
    values: list[float], max_loss: float, low: float, high: float, message: str
):
    with pytest.raises(ValueError, match=message):
        loss_p_value(values, max_loss, low, high)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, math.nan])
def test_a_level_is_between_0_and_1(level: float):
    with pytest.raises(ValueError, match="level"):
        fixed_sequence([0.5], level)
    with pytest.raises(ValueError, match="level"):
        upper_bound([0.0], level, -1, 1)
    with pytest.raises(ValueError, match="level"):
        questions_needed([0.0], 0.01, level, -1, 1)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_p_value_out_of_range_is_refused(p: float):
    with pytest.raises(ValueError, match="p-values"):
        fixed_sequence([0.01, p], LEVEL)
