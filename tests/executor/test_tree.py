"""Tree: paths, depths and tokens from deltas and parent links."""

from __future__ import annotations

import random

from hypothesis import given, strategies as st

from dynasor_graph.executor import Node, Tree


def node(id_: int, parent: int, *tokens: int) -> Node:
    return Node(id=id_, parent=parent, tokens=[*tokens], reward=0.5, ended=False, answer=None)


TREE = Tree([node(2, 0, 5), node(0, -1, 1, 2), node(1, -1, 3), node(4, 2, 6, 7), node(5, -2, 8)])


def test_paths_and_tokens():
    assert TREE.path(4) == [0, 2, 4]
    assert TREE.depth(4) == 3
    assert TREE.tokens(4) == [1, 2, 5, 6, 7]
    assert TREE.path(-1) == []
    assert TREE.tokens(-1) == []
    assert TREE.depth(-1) == 0


def test_children_are_in_order_of_their_ids():
    assert TREE.children(-1) == [0, 1]
    assert TREE.children(0) == [2]
    assert TREE.children(4) == []


def test_trees_and_ids_are_counted():
    assert (TREE.trees, TREE.next_id) == (2, 6)
    assert (Tree().trees, Tree().next_id) == (0, 0)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.randoms())
def test_nodes_may_come_in_any_order(seeds: list[int], rng: random.Random):
    nodes = [node(at, seed % (at + 1) - 1, at) for at, seed in enumerate(seeds)]
    shuffled = rng.sample(nodes, len(nodes))

    tree, other = Tree(nodes), Tree(shuffled)

    for one in nodes:
        assert tree.tokens(one["id"]) == other.tokens(one["id"])
        assert tree.depth(one["id"]) == len(tree.tokens(one["id"]))
