"""Operations: what they give, how they are written, and the slip that each of them tempts into."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, strategies as st

from dynasor_graph.abacus import MAX_VALUE, operations as op
from dynasor_graph.abacus.problem import Operation

NAMES = [name for name in op.__all__ if name != "clock"]
HARD = 0.1
"""Slips that have a cause, such as a carry, happen at least as often; others seldom."""


def case(
    name: str,
    inputs: tuple[int, int],
    written: str,
    value: int,
    slip: int,
    *,
    hard: bool,
    because: str,
):
    return pytest.param(name, inputs, written, value, slip, hard, id=f"{name}-{because}".lower())


CASES = [
    case("ADD", (12, 5), "12 + 5", 17, 18, hard=False, because="counts-one-too-many"),
    case("ADD", (17, 5), "17 + 5", 22, 12, hard=True, because="forgets-the-carry"),
    case("ADD", (15, 5), "15 + 5", 20, 10, hard=True, because="forgets-the-carry-of-10"),
    case("ADD", (14, 5), "14 + 5", 19, 20, hard=False, because="has-no-carry-at-9"),
    case("SUBTRACT", (17, 5), "17 - 5", 12, 13, hard=False, because="counts-one-too-few"),
    case("SUBTRACT", (22, 5), "22 - 5", 17, 27, hard=True, because="forgets-the-borrow"),
    case("SUBTRACT", (25, 5), "25 - 5", 20, 21, hard=False, because="borrows-nothing-at-0"),
    case("MULTIPLY", (12, 4), "4 * 12", 48, 49, hard=False, because="counts-one-too-many"),
    case("MULTIPLY", (14, 3), "3 * 14", 42, 32, hard=True, because="forgets-the-carry"),
    case("MULTIPLY", (11, 12), "12 * 11", 132, 122, hard=True, because="is-hard-in-two-digits"),
    case("DIVIDE", (12, 4), "12 / 4", 3, 4, hard=False, because="counts-one-too-many"),
    case("DIVIDE", (13, 4), "13 / 4", 3, 4, hard=False, because="rounds-down-after-a-mistake"),
    case("PERCENT", (80, 25), "25% of 80", 20, 30, hard=True, because="is-ten-too-many"),
    case("PERCENT", (33, 10), "10% of 33", 3, 13, hard=True, because="rounds-down"),
    case("PERCENT_OFF", (80, 25), "80 - 25% of 80", 60, 50, hard=True, because="takes-ten-more"),
    case("PERCENT_OFF", (33, 10), "33 - 10% of 33", 30, 20, hard=True, because="rounds-up"),
    case("REMAINDER", (17, 5), "17 mod 5", 2, 4, hard=True, because="is-two-too-many"),
    case("REMAINDER", (19, 5), "19 mod 5", 4, 1, hard=True, because="stays-below-the-divisor"),
    case("LARGER", (7, 9), "max(7, 9)", 9, 7, hard=True, because="takes-the-smaller"),
    case("LARGER", (9, 7), "max(9, 7)", 9, 7, hard=True, because="takes-the-second"),
    case("SMALLER", (7, 9), "min(7, 9)", 7, 9, hard=True, because="takes-the-larger"),
    case("SMALLER", (9, 7), "min(9, 7)", 7, 9, hard=True, because="takes-the-first"),
    case("HOURS", (2, 15), "60 * 2 + 15", 135, 215, hard=True, because="takes-100-minutes-an-hour"),
    case("SPAN", (545, 580), "9:05 to 9:40", 35, 36, hard=False, because="counts-one-too-many"),
    case("SPAN", (580, 605), "9:40 to 10:05", 25, 85, hard=True, because="forgets-the-hour"),
    case("SPAN", (580, 640), "9:40 to 10:40", 60, 61, hard=False, because="spans-whole-hours"),
]


@pytest.mark.parametrize(("name", "inputs", "written", "value", "slip", "hard"), CASES)
def test_an_operation(
    name: str, inputs: tuple[int, int], written: str, value: int, slip: int, hard: bool
) -> None:
    operation: Operation = getattr(op, name)
    assert operation.expression(*inputs) == written
    assert operation.apply(*inputs) == value
    wrong, chance = operation.slip(*inputs)
    assert wrong == slip
    assert (chance >= HARD) == hard


def test_each_operation_has_a_case() -> None:
    assert {str(one.values[0]) for one in CASES} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(left=st.integers(1, MAX_VALUE), right=st.integers(3, MAX_VALUE))
def test_a_slip_is_a_mistake_with_a_chance(name: str, left: int, right: int) -> None:
    # Whoever takes the other of two equal amounts is right by accident.
    assume(name not in {"LARGER", "SMALLER"} or left != right)
    operation: Operation = getattr(op, name)
    wrong, chance = operation.slip(left, right)
    assert wrong != operation.apply(left, right)
    assert 0 < chance <= 1


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [(0, "0:00"), (59, "0:59"), (60, "1:00"), (545, "9:05"), (580, "9:40"), (1350, "22:30")],
)
def test_clock(minutes: int, shown: str) -> None:
    assert op.clock(minutes) == shown
