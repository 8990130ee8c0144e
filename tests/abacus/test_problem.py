"""Problem: steps are written as people write them, and come in the order a reader can take them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.abacus import MAX_STEPS, operations as op
from dynasor_graph.abacus.problem import (
    Misreading,
    Operation,
    Problem,
    Step,
    evaluate,
    in_reading_order,
)
from dynasor_graph.abacus.questions import FAMILIES

ADA = Step("Ada", (12,))
BEN = Step("Ben", ("Ada", 5), op.ADD)
CARA = Step("Cara", ("Ben", "Ada"), op.SUBTRACT)
DAN = Step("Dan", (3,))


@pytest.mark.parametrize(
    ("step", "operation", "numbers", "line"),
    [
        pytest.param(ADA, None, (12, 12, 12), "Ada = 12.", id="stated"),
        pytest.param(
            BEN, op.ADD, (12, 5, 17), "Ben = Ada + 5 = 12 + 5 = 17.", id="name-and-number"
        ),
        pytest.param(
            CARA, op.SUBTRACT, (17, 12, 5), "Cara = Ben - Ada = 17 - 12 = 5.", id="two-names"
        ),
        pytest.param(
            Step("Eve", ("Ada", 2), op.MULTIPLY),
            op.MULTIPLY,
            (12, 2, 24),
            "Eve = 2 * Ada = 2 * 12 = 24.",
            id="number-goes-first",
        ),
        pytest.param(
            Step("show", (580, 605), op.SPAN),
            op.SPAN,
            (580, 605, 25),
            "show = 9:40 to 10:05 = 25.",
            id="numbers-only",
        ),
        pytest.param(
            Step("with quiz", ("show", "quiz"), op.ADD, spelled=False),
            op.ADD,
            (25, 30, 55),
            "with quiz = 25 + 30 = 55.",
            id="not-spelled",
        ),
        pytest.param(
            BEN, op.SUBTRACT, (12, 5, 7), "Ben = Ada - 5 = 12 - 5 = 7.", id="as-it-was-misread"
        ),
        pytest.param(BEN, op.ADD, (12, 5, 7), "Ben = Ada + 5 = 12 + 5 = 7.", id="with-a-slip"),
    ],
)
def test_a_line(
    step: Step, operation: Operation | None, numbers: tuple[int, int, int], line: str
) -> None:
    assert step.line(operation, *numbers) == line


@pytest.mark.parametrize(
    ("inputs", "operands"),
    [
        pytest.param((12,), (12, 12), id="single-number-stands-twice"),
        pytest.param((12, 5), (12, 5), id="numbers"),
        pytest.param(("Ada", 5), (40, 5), id="name-and-number"),
        pytest.param(("Ben", "Ada"), (41, 40), id="names-in-their-order"),
    ],
)
def test_operands(inputs: tuple[str | int, ...], operands: tuple[int, int]) -> None:
    assert Step("Zoe", inputs).operands({"Ada": 40, "Ben": 41}) == operands


def test_operands_of_a_step_that_comes_too_early_are_missing() -> None:
    with pytest.raises(KeyError, match="Ada"):
        evaluate([BEN, ADA])


def test_the_answer_is_what_the_last_step_gives() -> None:
    problem = Problem("amounts", "How many?", (ADA, BEN, CARA))
    assert evaluate(problem.plan) == {"Ada": 12, "Ben": 17, "Cara": 5}
    assert (problem.steps, problem.answer) == (3, 5)


def test_a_misreading_does_not_change_what_is_true() -> None:
    step = Step("Ben", ("Ada", 5), op.ADD, Misreading(op.SUBTRACT, 1.0))
    assert Problem("amounts", "How many?", (ADA, step)).answer == 17


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        pytest.param([], [], id="none"),
        pytest.param([ADA, BEN, CARA], [ADA, BEN, CARA], id="can-be-taken-as-they-come"),
        pytest.param([CARA, BEN, ADA], [ADA, BEN, CARA], id="backwards"),
        pytest.param([BEN, DAN, ADA], [DAN, ADA, BEN], id="goes-back-once-its-input-is-known"),
        pytest.param([BEN, ADA, DAN], [ADA, BEN, DAN], id="goes-back-before-it-goes-on"),
        pytest.param([DAN, CARA, ADA, BEN], [DAN, ADA, BEN, CARA], id="waits-for-both-inputs"),
    ],
)
def test_reading_order(stated: list[Step], read: list[Step]) -> None:
    before = list(stated)
    assert in_reading_order(stated) == read
    assert stated == before


@given(
    seed=st.integers(0, 2**32),
    steps=st.integers(1, MAX_STEPS),
    family=st.sampled_from(sorted(FAMILIES)),
    shuffle=st.randoms(use_true_random=False),
)
def test_a_step_waits_only_for_its_inputs(
    seed: int, steps: int, family: str, shuffle: random.Random
) -> None:
    stated = list(FAMILIES[family](random.Random(seed), steps, 1.0).plan)
    shuffle.shuffle(stated)
    read = in_reading_order(stated)
    assert sorted(s.name for s in read) == sorted(s.name for s in stated)
    known: set[str] = set()
    for position, step in enumerate(read):
        assert known.issuperset(x for x in step.inputs if isinstance(x, str))
        passed_over = [s for s in read[position:] if stated.index(s) < stated.index(step)]
        assert not any(
            known.issuperset(x for x in s.inputs if isinstance(x, str)) for s in passed_over
        )
        known.add(step.name)
