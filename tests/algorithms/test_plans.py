"""Beam search, DVTS and particle filtering: which steps go on, on frontiers made by hand."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.algorithms import beam, dvts, particle_filter
from dynasor_graph.executor import Node, Tree


def node(id_: int, parent: int, reward: float) -> Node:
    return Node(id=id_, parent=parent, tokens=[id_], reward=reward, ended=False, answer=None)


@pytest.mark.parametrize(
    ("rewards", "slots", "children", "parents"),
    [
        pytest.param([0.1, 0.9, 0.5, 0.7], 4, 2, [1, 1, 3, 3], id="the-best-two"),
        pytest.param([0.1, 0.9, 0.5, 0.7], 4, 4, [1, 1, 1, 1], id="the-best-alone"),
        pytest.param([0.1, 0.9, 0.5], 3, 1, [1, 2, 0], id="as-many-as-there-are"),
        pytest.param([0.1, 0.9, 0.5], 3, 2, [1, 1, 2], id="a-part-of-the-last"),
        pytest.param([0.4], 4, 2, [0, 0, 0, 0], id="fewer-than-are-kept"),
        pytest.param([0.5, 0.5], 2, 2, [0, 0], id="ties-go-to-the-earlier"),
    ],
)
def test_beam(rewards: list[float], slots: int, children: int, parents: list[int]):
    frontier = [node(at, -1, reward) for at, reward in enumerate(rewards)]

    assert beam.plan(Tree(frontier), frontier, slots, children=children) == parents


def dvts_tree() -> Tree:
    """Two trees of two first steps each (0, 1 and 2, 3), and a second level below 1 and 2."""
    first = [node(0, -1, 0.2), node(1, -1, 0.9), node(2, -1, 0.6), node(3, -1, 0.5)]
    second = [node(4, 1, 0.3), node(5, 1, 0.4), node(6, 2, 0.8), node(7, 2, 0.7)]
    return Tree([*first, *second])


@pytest.mark.parametrize(
    ("frontier", "slots", "parents"),
    [
        pytest.param([0, 1, 2, 3], 4, [1, 1, 2, 2], id="the-best-of-each-tree"),
        pytest.param([4, 5, 6, 7], 4, [5, 5, 6, 6], id="deeper"),
        pytest.param([4, 5], 4, [5, 5, 5, 5], id="a-tree-that-ended-leaves-its-share"),
        pytest.param([4, 5, 6, 7], 3, [5, 6, 6], id="the-better-tree-gets-the-odd-one"),
    ],
)
def test_dvts(frontier: list[int], slots: int, parents: list[int]):
    tree = dvts_tree()
    nodes = [tree.nodes[id_] for id_ in frontier]

    assert dvts.plan(tree, nodes, slots, children=2) == parents


@pytest.mark.parametrize(
    ("rewards", "temperature", "chances"),
    [
        pytest.param([0.5, 0.5], 1.0, [0.5, 0.5], id="even"),
        pytest.param([0.75, 0.5], 1.0, [0.75, 0.25], id="odds-of-three-to-one"),
        pytest.param([0.9, 0.5], 2.0, [0.75, 0.25], id="warmer-takes-the-root-of-nine"),
        pytest.param([1.0, 0.0], 1.0, [1.0, 0.0], id="the-ends"),
        pytest.param([1.0, 1.0, 1.0], 1.0, [1 / 3] * 3, id="all-certain"),
    ],
)
def test_particles_are_drawn_by_the_odds_of_their_rewards(
    rewards: list[float], temperature: float, chances: list[float]
):
    assert particle_filter.weights(rewards, temperature) == pytest.approx(chances, abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), st.integers(1, 64), st.integers())
def test_a_systematic_draw_is_within_one_of_its_expectation(
    rewards: list[float], slots: int, seed: int
):
    frontier = [node(at, -1, reward) for at, reward in enumerate(rewards)]
    drawn = particle_filter.plan(
        Tree(frontier), frontier, slots, temperature=1.0, rng=random.Random(seed)
    )

    counts = Counter(drawn)
    assert len(drawn) == slots
    for at, chance in enumerate(particle_filter.weights(rewards, 1.0)):
        assert abs(counts[at] - slots * chance) < 1 + 1e-6
