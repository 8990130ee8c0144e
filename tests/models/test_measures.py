"""The numbers of the model card, on tables small enough to work out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from models.abacus.measures import (
    Answered,
    auc,
    calibration_error,
    reward_quality,
    spread,
    thirds,
    thoughts,
)


def answered(
    *answers: str | None,
    steps: int = 1,
    family: str = "amounts",
    lengths: Sequence[int] = (),
    half: Sequence[float] = (),
    end: Sequence[float] = (),
) -> Answered:
    """A problem whose right answer is 4."""
    counts = list(lengths) or [10] * len(answers)
    return Answered(steps, family, "4", list(answers), counts, list(half), list(end))


# How well scores order samples -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "right", "expected"),
    [
        pytest.param([0.1, 0.2, 0.8, 0.9], [False, False, True, True], 1.0, id="all-above"),
        pytest.param([0.8, 0.9, 0.1, 0.2], [False, False, True, True], 0.0, id="all-below"),
        pytest.param([0.1, 0.4, 0.3, 0.9], [False, False, True, True], 0.75, id="one-pair-wrong"),
        pytest.param([0.5, 0.5], [False, True], 0.5, id="a-tie-counts-half"),
        pytest.param([0.5, 0.5, 0.9], [False, True, True], 0.75, id="a-tie-and-a-hit"),
        pytest.param([0.5] * 5, [True, False, True, False, False], 0.5, id="all-tied"),
        pytest.param([3, 1, 2], [True, False, False], 1.0, id="scores-of-any-size"),
    ],
)
def test_auc(scores: list[float], right: list[bool], expected: float):
    assert auc(scores, right) == pytest.approx(expected)


@pytest.mark.parametrize(
    "right",
    [
        pytest.param([True, True], id="all-right"),
        pytest.param([False, False], id="all-wrong"),
        pytest.param([], id="none"),
    ],
)
def test_auc_is_no_number_without_both_kinds(right: list[bool]):
    assert math.isnan(auc([0.3, 0.6][: len(right)], right))


# Few different scores, so that ties are frequent.
scored = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2).filter(
    lambda pairs: len({right for _, right in pairs}) == 2
)


@given(scored)
def test_auc_of_reversed_scores_is_the_rest(pairs: list[tuple[int, bool]]):
    right = [flag for _, flag in pairs]

    assert auc([-score for score, _ in pairs], right) == pytest.approx(
        1 - auc([score for score, _ in pairs], right)
    )


@given(scored)
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]):
    above = [
        1.0 if good > bad else 0.5 if good == bad else 0.0
        for good, flag in pairs
        if flag
        for bad, other in pairs
        if not other
    ]

    assert auc(*map(list, zip(*pairs, strict=True))) == pytest.approx(sum(above) / len(above))


@pytest.mark.parametrize(
    ("scores", "right", "expected"),
    [
        pytest.param([1.0, 0.0], [True, False], 0.0, id="sure-and-right"),
        pytest.param([1.0, 0.0], [False, True], 1.0, id="sure-and-wrong"),
        pytest.param([0.75] * 4, [True, True, True, False], 0.0, id="as-often-as-it-says"),
        pytest.param([0.75] * 4, [True, False, False, False], 0.5, id="less-often"),
        pytest.param([0.22, 0.28], [True, False], 0.25, id="errors-cancel-within-a-bin"),
        pytest.param([0.18, 0.22], [True, False], 0.52, id="but-not-across-two"),
        pytest.param([0.9, 0.1, 0.1, 0.1], [False] * 4, 0.3, id="bins-weigh-by-their-size"),
        pytest.param([], [], 0.0, id="none"),
    ],
)
def test_calibration_error(scores: list[float], right: list[bool], expected: float):
    assert calibration_error(scores, right) == pytest.approx(expected)


# Rows of the tables ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(
            answered("4", "4", "5", None, lengths=[10, 20, 30, 40]),
            {"single": 0.5, "majority": 1, "any": 1, "misleading": 0, "unanswered": 0.25}
            | {"tokens": 25},
            id="right-by-votes",
        ),
        pytest.param(
            answered("5", "4", "5"),
            {"single": 1 / 3, "majority": 0, "any": 1, "misleading": 1, "unanswered": 0}
            | {"tokens": 10},
            id="votes-mislead",
        ),
        pytest.param(
            answered("5", "6"),
            {"single": 0, "majority": 0, "any": 0, "misleading": 0, "unanswered": 0}
            | {"tokens": 10},
            id="never-right",
        ),
        pytest.param(
            answered(None, None),
            {"single": 0, "majority": 0, "any": 0, "misleading": 0, "unanswered": 1}
            | {"tokens": 10},
            id="no-answer",
        ),
        pytest.param(
            answered(None, None, "4"),
            {"single": 1 / 3, "majority": 1, "any": 1, "misleading": 0, "unanswered": 2 / 3}
            | {"tokens": 10},
            id="no-answer-is-no-vote",
        ),
        pytest.param(
            answered("5", "5", "4", half=[0.9, 0.9, 0.1], end=[0.2, 0.3, 0.8]),
            {"single": 1 / 3, "majority": 0, "any": 1, "misleading": 1, "unanswered": 0}
            | {"tokens": 10, "best": 1},
            id="the-reward-at-the-end-finds-it",
        ),
    ],
)
def test_the_row_of_a_problem(one: Answered, expected: dict[str, float]):
    assert one.row() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answers", "majority"),
    [
        pytest.param(["4", "5"], True, id="right-one-first"),
        pytest.param(["5", "4"], False, id="wrong-one-first"),
    ],
)
def test_a_tied_vote_goes_to_the_answer_seen_first(answers: list[str], majority: bool):
    assert answered(*answers).majority is majority


def test_the_spread_is_by_steps_then_by_family_then_of_all():
    table = spread(
        [
            answered("4", "4", steps=1, family="amounts", lengths=[10, 20]),
            answered("4", "5", steps=2, family="amounts", lengths=[30, 30]),
            answered("5", "5", steps=2, family="schedule", lengths=[50, 70]),
        ]
    )

    assert list(table) == ["steps 1", "steps 2", "amounts", "schedule", "all"]
    assert {name: row["single"] for name, row in table.items()} == pytest.approx(
        {"steps 1": 1, "steps 2": 0.25, "amounts": 0.75, "schedule": 0, "all": 0.5}
    )
    assert {name: row["tokens"] for name, row in table.items()} == pytest.approx(
        {"steps 1": 15, "steps 2": 45, "amounts": 22.5, "schedule": 60, "all": 35}
    )
    assert [row["questions"] for row in table.values()] == [1, 2, 2, 1, 3]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(
            [1, 2, 3, 4, 5, 6],
            {"short third": 2, "middle third": 2, "long third": 2},
            id="even",
        ),
        pytest.param(
            list(range(1, 17)),
            {"short third": 5, "middle third": 6, "long third": 5},
            id="as-trained",
        ),
        pytest.param([1, 6], {"short third": 1, "long third": 1}, id="an-empty-third-is-left-out"),
    ],
)
def test_thirds_of_the_numbers_of_steps(steps: list[int], expected: dict[str, int]):
    table = thirds([answered("4", steps=count) for count in steps])

    assert {name: row["questions"] for name, row in table.items()} == expected


def test_thirds_average_their_own_problems():
    table = thirds([answered("4", steps=1), answered("5", steps=2), answered("4", "5", steps=3)])

    assert {name: row["single"] for name, row in table.items()} == {
        "short third": 1,
        "middle third": 0,
        "long third": 0.5,
    }


def test_the_reward_is_judged_over_all_samples_and_within_questions():
    # Rewards tell the questions apart, but halfway they misorder the samples of the mixed ones.
    easy = answered("4", "4", half=[0.9, 0.9], end=[0.9, 0.9])
    mixed = answered("4", "5", half=[0.4, 0.6], end=[0.8, 0.2])
    tied = answered("5", "4", half=[0.3, 0.3], end=[0.1, 0.5])
    hard = answered("5", "5", half=[0.0, 0.0], end=[0.0, 0.0])

    quality = reward_quality([easy, mixed, tied, hard])

    assert quality == pytest.approx(
        {
            # Of the 4 right samples: how many of the 4 wrong ones are below.
            "auc half": (4 + 4 + 3 + 2.5) / 16,
            "auc end": 1,
            "auc half, same question": 0.25,
            "auc end, same question": 1,
            # Bins of 0.9 (both right), 0.6 (wrong), 0.4 (right), 0.3 (one of two right) and 0.
            "ece half": (2 * 0.1 + 0.6 + 0.6 + 2 * 0.2) / 8,
            "ece end": (2 * 0.1 + 0.2 + 0.2 + 0.1 + 0.5) / 8,
            "samples": 8,
        }
    )


def test_without_mixed_questions_nothing_is_said_within_questions():
    quality = reward_quality(
        [answered("4", half=[0.9], end=[0.9]), answered("5", half=[0.2], end=[0.1])]
    )

    assert quality["auc end"] == 1
    assert math.isnan(quality["auc half, same question"])
    assert math.isnan(quality["auc end, same question"])


# Reasoning traces --------------------------------------------------------------------------------


def trace(*attempts: str) -> str:
    return " ".join(f"So I get {attempt}." for attempt in attempts)


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        pytest.param(trace("4", "4"), "4", {"right": 1, "broken": 0, "attempts": 2}, id="kept"),
        pytest.param(trace("4", "5"), "5", {"right": 0, "broken": 1}, id="broken"),
        pytest.param(
            trace("5", "4", "4"),
            "4",
            {"right": 1, "first attempt wrong": 1, "repaired": 1, "attempts": 3},
            id="repaired",
        ),
        pytest.param(
            trace("5", "6"),
            "6",
            {"right": 0, "first attempt wrong": 1, "repaired": 0},
            id="not-repaired",
        ),
        pytest.param(
            trace("5"), None, {"right": 0, "unanswered": 1, "attempts": 1}, id="no-answer"
        ),
        pytest.param(
            "Hm.",
            "4",
            {"first attempt wrong": 1, "repaired": 1, "attempts": 0},
            id="no-attempt-counts-as-a-wrong-one",
        ),
        # 24 characters; the 4 is reached after 13, for the 44 is another number.
        pytest.param(trace("44", "4"), "4", {"settled": 1 - 13 / 24}, id="settled-halfway"),
        pytest.param(trace("4", "5", "4"), "4", {"settled": 1}, id="settled-at-its-first"),
    ],
)
def test_one_trace(text: str, answer: str | None, expected: dict[str, float]):
    found = thoughts([text], ["4"], [answer])

    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_shares_of_traces_are_of_those_they_are_about():
    found = thoughts(
        [trace("4", "4"), trace("4", "5"), trace("5", "4"), trace("6"), trace("7", "7")],
        ["4"] * 5,
        ["4", "5", "4", None, "7"],
    )

    assert found["right"] == pytest.approx(2 / 5)
    assert found["first attempt wrong"] == pytest.approx(3 / 5)
    assert found["repaired"] == pytest.approx(1 / 3)
    assert found["broken"] == pytest.approx(1 / 2)
    assert found["attempts"] == pytest.approx(9 / 5)
    assert found["unanswered"] == pytest.approx(1 / 5)


def test_what_has_no_traces_is_no_number():
    found = thoughts(["Hm."], ["4"], [None])

    assert math.isnan(found["broken"])
    assert math.isnan(found["settled"])
