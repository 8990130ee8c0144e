"""Prefixes: what a program's earlier prompts had computed."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.scheduler.prefixes import Prefixes

BLOCK = 4


@pytest.mark.parametrize(
    ("program", "prompt", "computed"),
    [
        pytest.param("p", range(10), 8, id="the-same-again"),
        pytest.param("p", range(8), 4, id="never-the-last-token"),
        pytest.param("p", [*range(8), 99, 99, 99, 99, 99], 8, id="goes-another-way"),
        pytest.param("p", [99, *range(1, 10)], 0, id="another-beginning"),
        pytest.param("p", range(4, 10), 0, id="a-block-in-another-place"),
        pytest.param("q", range(10), 0, id="another-program"),
        pytest.param("p", [], 0, id="empty"),
    ],
)
def test_whole_blocks_from_the_beginning_count(program: str, prompt: range, computed: int):
    prefixes = Prefixes(BLOCK)
    prefixes.add("p", tuple(range(11)))
    assert prefixes.computed(program, tuple(prompt)) == computed


prompts = st.lists(st.lists(st.integers(0, 1), max_size=14).map(tuple), max_size=8)


@given(prompts, st.lists(st.integers(0, 1), max_size=14).map(tuple))
def test_it_is_the_longest_common_beginning_in_whole_blocks(
    earlier: list[tuple[int, ...]], prompt: tuple[int, ...]
):
    prefixes = Prefixes(BLOCK)
    longest = 0
    for one in earlier:
        prefixes.add("p", one)
        shared = next(
            (i for i, (a, b) in enumerate(zip(one, prompt, strict=False)) if a != b),
            min(len(one), len(prompt)),
        )
        longest = max(longest, min(shared, len(prompt) - 1) // BLOCK * BLOCK)
    assert prefixes.computed("p", prompt) == longest


def test_a_program_that_has_ended_is_forgotten():
    prefixes = Prefixes(BLOCK)
    for program in ("p", ""):
        prefixes.add(program, range(20))
    prefixes.forget("p")
    assert prefixes.computed("p", range(20)) == prefixes.computed("", range(20)) == 0
