"""Datasets: fixed for good, even in lengths and families, and without a question in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple

import pytest

from dynasor_graph.abacus import DATASETS, FAMILIES, Question, dataset
from dynasor_graph.errors import UnknownName
from tests.abacus.reading import digest, understand

# Samples were recorded on these questions, and results are reported on them.
RECORDED = {
    "abacus-test": (600, "8b819ec35dc29e5557ef088ad6c077fa5ea69a145fe051ccf60b4dce9b66e7df"),
    "abacus-calibration": (
        2000,
        "9059f268365b8cf6edab4fbc2c7fc5d05d1952ac0936f31a502ffceb0c847fbd",
    ),
}


@pytest.fixture(scope="module")
def drawn() -> Mapping[str, list[Question]]:
    return {name: dataset(name) for name in DATASETS}


def test_each_set_is_recorded() -> None:
    assert DATASETS.keys() == RECORDED.keys()


@pytest.mark.parametrize("name", RECORDED)
def test_a_set_is_what_it_always_was(name: str, drawn: Mapping[str, list[Question]]) -> None:
    size, recorded = RECORDED[name]
    assert len(drawn[name]) == DATASETS[name].size == size
    assert digest([astuple(one) for one in drawn[name]]) == recorded


def test_a_set_is_the_same_each_time(drawn: Mapping[str, list[Question]]) -> None:
    assert dataset("abacus-test") == drawn["abacus-test"]


@pytest.mark.parametrize("name", RECORDED)
def test_a_set_is_even(name: str, drawn: Mapping[str, list[Question]]) -> None:
    size = len(drawn[name])
    families = Counter(one.family for one in drawn[name])
    assert families == dict.fromkeys(FAMILIES, size // 2)
    steps = Counter(one.steps for one in drawn[name])
    assert steps.keys() == set(range(1, 17))
    assert set(steps.values()) <= {size // 16, -(-size // 16)}
    both = Counter((one.family, one.steps) for one in drawn[name])
    assert len(both) == 32
    assert max(both.values()) - min(both.values()) <= 1


@pytest.mark.parametrize("name", RECORDED)
def test_the_text_of_each_question_gives_its_answer(
    name: str, drawn: Mapping[str, list[Question]]
) -> None:
    for one in drawn[name]:
        read = understand(one.question)
        assert (str(read.answer), read.steps) == (one.answer, one.steps), one


def test_no_question_is_in_both_sets_or_twice_in_one(drawn: Mapping[str, list[Question]]) -> None:
    questions = [one.question for asked in drawn.values() for one in asked]
    assert len(set(questions)) == len(questions) == 2600


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(
            "abacus-tset",
            "unknown data set 'abacus-tset': did you mean 'abacus-test'? "
            "there are: abacus-calibration, abacus-test",
            id="mistyped",
        ),
        pytest.param(
            "gsm8k",
            "unknown data set 'gsm8k': there are: abacus-calibration, abacus-test",
            id="another",
        ),
    ],
)
def test_an_unknown_set_is_refused(name: str, message: str) -> None:
    with pytest.raises(UnknownName) as refused:
        dataset(name)
    assert str(refused.value) == message
