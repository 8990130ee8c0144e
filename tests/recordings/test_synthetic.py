"""Synthetic recordings: as long, as many and as right as they were asked to be."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from dynasor_graph.errors import ConfigError
from dynasor_graph.recordings import synthetic


def test_they_are_as_many_and_as_long_as_they_were_asked_to_be():
    found = synthetic(300, samples=10, tokens=200, spread=0.6, prompt_tokens=50, seed=1)
    lengths = [sample.tokens or 0 for row in found for sample in row.samples]
    assert (len(found), len(lengths)) == (300, 3000)
    assert min(lengths) >= 1
    assert statistics.median(lengths) == pytest.approx(200, rel=0.1)
    assert {len(row.question or "") for row in found} == {200}
    assert len({row.question for row in found}) == 300


def test_questions_differ_in_length_and_in_how_often_they_are_right():
    found = synthetic(300, samples=20, seed=1)
    means = [statistics.mean(sample.tokens or 0 for sample in row.samples) for row in found]
    right = [statistics.mean(bool(sample.correct) for sample in row.samples) for row in found]
    assert max(means) > 2 * min(means)
    assert statistics.mean(right) == pytest.approx(0.5, abs=0.06)
    assert min(right) < 0.1
    assert max(right) > 0.9
    assert all(
        (sample.answer == row.gold) == sample.correct for row in found for sample in row.samples
    )


def test_without_a_spread_all_are_equally_long():
    (row,) = synthetic(1, tokens=7, spread=0)
    assert {sample.tokens for sample in row.samples} == {7}


def test_the_same_arguments_give_the_same_and_more_questions_leave_the_first_alone():
    assert synthetic(3, seed=1) == synthetic(5, seed=1)[:3]
    assert synthetic(3, seed=1) != synthetic(3, seed=2)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("questions", -1), ("samples", 0), ("tokens", 0), ("spread", -1), ("answers", 1)],
)
def test_what_cannot_be_drawn_is_refused(argument: str, value: Any):
    with pytest.raises(ConfigError, match=f"{argument} must be .*, got {value}"):
        synthetic(**{"questions": 1, argument: value})
