"""Decoding: sums over many sequences are those over each."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.simulation.decoding import Decoding

lengths = st.lists(st.integers(1, 50), max_size=20)


def decoding(bases: list[int], block: int) -> Decoding:
    found = Decoding(block)
    for base in bases:
        found.add(base)
    return found


@given(lengths, st.integers(1, 8), st.integers(0, 30))
def test_the_sums_are_those_over_each_sequence(bases: list[int], block: int, step: int):
    found = decoding(bases, block)
    assert found.tokens(step) == sum(base + step for base in bases)
    assert found.blocks(step) == sum(-(-(base + step) // block) for base in bases)


@given(lengths, lengths, st.integers(1, 8), st.integers(0, 30))
def test_who_was_removed_leaves_nothing(bases: list[int], others: list[int], block: int, step: int):
    found = decoding(bases + others, block)
    for base in others:
        found.remove(base)
    assert found.blocks(step) == decoding(bases, block).blocks(step)


@given(lengths, st.integers(1, 8), st.integers(1, 30), st.integers(0, 60))
def test_as_many_steps_as_there_is_room_for(bases: list[int], block: int, most: int, room: int):
    found = decoding(bases, block)
    fitting = [step for step in range(most) if found.blocks(step) <= room]
    assert found.steps(0, most, room) == len(fitting)


@pytest.mark.parametrize(("room", "steps"), [(1, 0), (2, 2), (4, 6), (9, 10)])
def test_two_sequences_of_two_tokens_in_blocks_of_four(room: int, steps: int):
    assert decoding([3, 3], 4).steps(0, 10, room) == steps
