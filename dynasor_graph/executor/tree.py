"""Tree: partial solutions as token deltas and parent links. A plain value: no engine, no clock."""

from __future__ import annotations

from collections.abc import Iterable

from typing_extensions import TypedDict

__all__ = ["Node", "Tree"]


class Node(TypedDict):
    """One step of a solution, as the state keeps it: what it adds to its parent, and no more.

    `id` counts the program's steps in the order in which they were started; `parent` is the id of
    the step before, and negative where there is none: -1 in the first tree, -2 in the second.
    `tokens` are exactly those that were generated. `reward` judges the path up to here, in [0, 1].
    `answer` is there where the path has `ended` with one.
    """

    id: int
    parent: int
    tokens: list[int]
    reward: float
    ended: bool
    answer: str | None


class Tree:
    """All steps of a program, over all its trees.

    Args:
        nodes: In any order; the order of ids counts.
    """

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.nodes: dict[int, Node] = {}
        self._children: dict[int, list[int]] = {}
        for node in sorted(nodes, key=_id):
            self.add(node)

    def add(self, node: Node) -> None:
        """Take in one more step."""
        self.nodes[node["id"]] = node
        self._children.setdefault(node["parent"], []).append(node["id"])

    @property
    def next_id(self) -> int:
        """An id that no step has, nor any that was started before one of these."""
        return max(self.nodes, default=-1) + 1

    @property
    def trees(self) -> int:
        """How many trees have been begun."""
        return -min((node["parent"] for node in self.nodes.values()), default=0)

    def children(self, node: int) -> list[int]:
        """The steps after one, or the first steps of a tree."""
        return sorted(self._children.get(node, ()))

    def path(self, node: int) -> list[int]:
        """The ids from the first step to this one; none for a negative id."""
        ids = []
        while node >= 0:
            ids.append(node)
            node = self.nodes[node]["parent"]
        return ids[::-1]

    def depth(self, node: int) -> int:
        """How many steps lead to this one, itself included."""
        return len(self.path(node))

    def tokens(self, node: int) -> list[int]:
        """All tokens of the solution up to and with this step."""
        return [token for step in self.path(node) for token in self.nodes[step]["tokens"]]


def _id(node: Node) -> int:
    return node["id"]
