"""Grouping: a true partition of answers, with none of the false equalities of the public code."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.answers import Grouping

pytestmark = pytest.mark.anyio


async def added(grouping: Grouping, answer: str) -> int:
    """The class that an answer is given."""
    number = await grouping.add(answer)
    assert number is not None
    return number


async def grouped(answers: Sequence[str]) -> list[int | None]:
    """The class of each answer, after all of them have come one by one."""
    grouping = Grouping()
    numbers = [await grouping.add(answer) for answer in answers]
    return [None if number is None else grouping.root(number) for number in numbers]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("1", "100", id="1-and-100"),
        pytest.param("5", "500", id="5-and-500"),
        pytest.param("0.5", "50", id="0.5-and-50"),
        pytest.param("12345", "12346", id="12345-and-12346"),
        pytest.param(r"\frac{1}{23}", r"\frac{12}{3}", id="1/23-and-12/3"),
        pytest.param(r"1\frac{1}{2}", r"\frac{11}{2}", id="mixed-number-and-11/2"),
        pytest.param(r"\frac{1}{2x}", r"\frac{1}{2}x", id="x-below-and-x-above"),
        pytest.param("(2,100)", "2100", id="pair-and-number"),
        pytest.param(r"50\%", "0.5", id="percent-and-its-value"),
        pytest.param("grand", "gr", id="grand-and-gr"),
        pytest.param("1/0", "2/0", id="divided-by-zero"),
        pytest.param("no solution", "solution", id="words"),
        pytest.param("(1,2)", "(2,1)", id="order-of-a-pair"),
        pytest.param("[0,1)", "[0,1]", id="half-open-interval"),
        pytest.param("9" * 5000, "8" * 5000, id="thousands-of-digits"),
    ],
)
async def test_different_answers_are_two_classes_in_either_order(a: str, b: str):
    assert await grouped([a, b]) == [0, 1]
    assert await grouped([b, a]) == [0, 1]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(r"50\%", "50", id="percent-sign"),
        pytest.param("x=3", "3", id="assignment"),
        pytest.param("1/2", "0.5", id="fraction-and-decimal"),
        pytest.param(r"\frac{1}{2}", ".5", id="latex-fraction"),
        pytest.param("1,000", "1000.0", id="thousands"),
        pytest.param("007", "7", id="leading-zeros"),
        pytest.param("x^2 + y", "y + x^2", id="sums-commute"),
        pytest.param("2x", "x * 2", id="products-commute"),
        pytest.param("(1,2)", r"\left(1, 2\right)", id="pairs"),
        pytest.param("[0,1)", "[0, 1)", id="intervals"),
        pytest.param("Monday", r"\text{monday}", id="words"),
        pytest.param("B", "(b)", id="choices"),
        pytest.param("9" * 5000, f"${'9' * 5000}$", id="thousands-of-digits"),
    ],
)
async def test_equal_answers_are_one_class_in_either_order(a: str, b: str):
    assert await grouped([a, b]) == [0, 0]
    assert await grouped([b, a]) == [0, 0]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(["100", "1", "10000"], id="hundredfold"),
        pytest.param([r"50\%", "50", "0.5"], id="percent"),
        pytest.param(["x=3", "3", "x=4"], id="assignments"),
    ],
)
async def test_the_order_of_arrival_does_not_matter(answers: list[str]):
    def pairs(order: Sequence[str], classes: Sequence[int | None]) -> set[frozenset[str]]:
        both = itertools.combinations(zip(order, classes, strict=True), 2)
        return {frozenset((a, b)) for (a, x), (b, y) in both if x == y}

    orders = list(itertools.permutations(answers))
    found = [pairs(order, await grouped(order)) for order in orders]
    assert all(partition == found[0] for partition in found)


async def test_fifty_percent_is_fifty_and_not_a_half():
    assert await grouped([r"50\%", "50", "0.5"]) == [0, 0, 1]


async def test_the_majority_of_1_100_2_2_is_2():
    answers = ["1", "100", "2", "2"]
    classes = await grouped(answers)
    (leader, votes), *_ = Counter(classes).most_common()
    assert (answers[classes.index(leader)], votes) == ("2", 2)


async def test_an_answer_with_nothing_in_it_has_no_class():
    assert await grouped(["", "7", " ", r"\text{}", "0", "7", "."]) == [
        None,
        0,
        None,
        None,
        1,
        0,
        None,
    ]


async def test_a_class_goes_by_the_spelling_that_was_seen_first():
    grouping = Grouping()
    first = await added(grouping, r"\frac{1}{2}")
    await added(grouping, "3")
    assert await added(grouping, "0.5") == first
    assert grouping.spelling(first) == r"\frac{1}{2}"


async def test_an_answer_that_equals_two_classes_joins_them_under_the_earlier_number():
    grouping = Grouping()
    # A list without brackets may be a pair and may be a set: equality is not transitive here.
    pair, reversed_list = await added(grouping, "(1,2)"), await added(grouping, "2,1")
    assert (pair, reversed_list) == (0, 1)
    assert await added(grouping, "1,2") == pair
    assert grouping.root(reversed_list) == pair
    assert grouping.spelling(reversed_list) == "(1,2)"
    assert await added(grouping, "2,1") == pair


numbers = st.one_of(
    st.integers(-3, 3).map(str),
    st.sampled_from(["0.5", "1/2", ".50", r"\frac{1}{2}", r"50\%", "50", "1,000", "1000", "100"]),
)
VALUES = {"0.5": "1/2", ".50": "1/2", r"\frac{1}{2}": "1/2", r"50\%": "50", "1,000": "1000"}


@given(st.lists(numbers, max_size=12))
@settings(deadline=None)
async def test_plain_numbers_are_grouped_by_their_value_and_keep_their_first_class(
    answers: list[str],
):
    grouping = Grouping()
    given_out = [await added(grouping, answer) for answer in answers]
    # Stable: what was given out at once is still the name of the class at the end.
    assert [grouping.root(number) for number in given_out] == given_out
    # Independent of the order: a class is a value, numbered by the first answer that had it.
    values = [Fraction(VALUES.get(answer, answer)) for answer in answers]
    arrived = list(dict.fromkeys(values))
    assert given_out == [arrived.index(value) for value in values]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(["x+1"] * 8, id="the-same-spelling"),
        pytest.param(["x+1", "1+x", "(x+1)", "x + 1"] * 2, id="equal-spellings"),
        pytest.param(["0.5", "1/2", r"\frac{1}{2}"], id="numbers"),
    ],
)
async def test_equal_answers_that_arrive_at_once_are_one_class(answers: list[str]):
    grouping = Grouping()
    other = await added(grouping, "y^2")  # so that every one of them has to wait for a comparison
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(added(grouping, answer)) for answer in answers]
    classes = {grouping.root(task.result()) for task in tasks}
    assert len(classes) == 1
    assert other not in classes


async def test_comparing_does_not_hold_up_the_event_loop():
    grouping = Grouping()
    await added(grouping, "z^3+1")
    turns = 0
    async with asyncio.TaskGroup() as group:
        task = group.create_task(added(grouping, "z^3+2"))
        for _ in range(100_000):
            if task.done():
                break
            turns += 1
            await asyncio.sleep(0)
    assert task.result() == 1
    assert turns > 2
