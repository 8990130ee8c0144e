"""Pacing: one price for all programs, such that the budget lasts."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.errors import ConfigError
from dynasor_graph.policies import Beta, Pacing, Value

SPENDS = ((0.001, 1000.0), (0.01, 500.0), (0.1, 250.0), (1.0, 100.0))


def value(**more: Any) -> Value:
    told: dict[str, Any] = {
        "kinds": ("lengths",),
        "bias": 0.0,
        "weights": (0.0, 0.0),
        "edges": (),
        "worth": ((0.5,), (0.05,), (0.005,)),
        "spends": SPENDS,
    }
    return Value(**{**told, **more})


@pytest.mark.parametrize(
    ("tokens", "price"),
    [
        pytest.param(5000.0, 0.001, id="more than is known to be of use"),
        pytest.param(1000.0, 0.001, id="all of it"),
        pytest.param(500.0, 0.01, id="a known price"),
        pytest.param(375.0, math.sqrt(0.01 * 0.1), id="between two: in the middle by ratio"),
        pytest.param(10.0, 1.0, id="less than the least"),
    ],
)
def test_the_price_at_which_a_program_spends_so_much(tokens: float, price: float) -> None:
    rule = value().priced(tokens)
    assert rule.price == pytest.approx(price)
    assert rule.expected == pytest.approx(min(1000.0, max(100.0, tokens)))


def test_a_program_gets_an_equal_share_of_what_is_left_and_not_promised() -> None:
    pacing = Pacing(value(), tokens=1500, questions=3)
    assert pacing.begin("a").expected == pytest.approx(500)
    # 1,000 are not promised, for two.
    assert pacing.begin("b").expected == pytest.approx(500)
    pacing.end("a", 500)
    pacing.end("b", 500)
    assert pacing.ratio == 1
    assert pacing.begin("c").expected == pytest.approx(500)


def test_programs_that_spend_less_than_expected_leave_more_to_the_others() -> None:
    pacing = Pacing(value(), tokens=1500, questions=3)
    first = pacing.begin("a").price
    pacing.end("a", 100)
    assert pacing.ratio < 1
    assert pacing.begin("b").price < first


def test_programs_that_spend_more_than_expected_raise_the_price() -> None:
    pacing = Pacing(value(), tokens=1500, questions=3)
    first = pacing.begin("a").price
    pacing.end("a", 1400)
    assert pacing.begin("b").price > first


def test_when_nothing_is_left_the_price_is_the_highest() -> None:
    pacing = Pacing(value(), tokens=100, questions=2)
    pacing.begin("a")
    pacing.end("a", 5000)
    assert pacing.begin("b").price == pytest.approx(1.0)


@given(
    st.integers(50, 400),
    st.floats(0.4, 2.5),
    st.floats(0.15, 0.9),
    st.integers(1, 32),
    st.integers(0, 99),
)
def test_the_budget_is_spent_and_hardly_passed_whatever_the_questions_cost(
    questions: int, scale: float, share: float, width: int, seed: int
) -> None:
    """Questions that cost `scale` times what was fitted; ended in another order than begun."""
    rng = random.Random(seed)
    lowest, highest = (spent * scale * questions for spent in (100.0, 1000.0))
    budget = int(lowest + share * (highest - lowest))
    pacing = Pacing(value(), budget, questions)
    running: dict[str, float] = {}
    for number in itertools.count():
        while number < questions and len(running) >= width:
            name = rng.choice(sorted(running))
            pacing.end(name, round(running.pop(name)))
        if number >= questions:
            break
        rule = pacing.begin(str(number))
        running[str(number)] = rule.expected * scale * rng.uniform(0.5, 1.5)
    for name, tokens in running.items():
        pacing.end(name, round(tokens))
    # What was begun before anything had ended could not be corrected.
    slack = 0.15 + 3 * (width + 10) / questions
    assert abs(pacing.spent / budget - 1) < slack


@pytest.mark.parametrize(
    "rule", [pytest.param(Beta(), id="another rule"), pytest.param(value(spends=()), id="no curve")]
)
def test_a_policy_that_does_not_know_what_it_spends_is_refused(rule: Any) -> None:
    with pytest.raises(ConfigError, match="calibrate FILE --policy value"):
        Pacing(rule, 1000, 10)


@pytest.mark.parametrize(
    "spends", [((0.1, 5.0), (0.1, 4.0)), ((0.1, 5.0), (0.2, 5.0)), ((0.0, 5.0),)]
)
def test_a_curve_that_does_not_fall_is_refused(spends: Any) -> None:
    with pytest.raises(ValueError, match="spends"):
        value(spends=spends)
