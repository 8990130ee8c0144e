"""UCT: where a simulation goes: visits and values of a tree's steps. No engine, no clock."""

from __future__ import annotations

import math
from collections.abc import Iterable

from typing_extensions import TypedDict

from dynasor_graph.executor.tree import Tree

__all__ = ["ROOT", "Simulation", "Values", "uct"]

ROOT = -1
"""The root of the only tree that is searched by simulations."""


class Simulation(TypedDict):
    """One iteration: the step it ended at, and the reward that was backed up from there."""

    leaf: int
    reward: float


def uct(value: float, visits: float, parent_visits: float, exploration: float) -> float:
    """Upper confidence bound of a step (Kocsis and Szepesvari 2006).

    `value / visits + exploration * sqrt(log(parent_visits) / visits)`

    Args:
        value: Sum of the rewards of its visits.
        visits: How often it was visited, > 0.
        parent_visits: How often its parent was, >= 1.
        exploration: How much the unknown counts.
    """
    return value / visits + exploration * math.sqrt(math.log(parent_visits) / visits)


class Values:
    """Visits and values of all steps.

    A new step begins with one visit, worth the reward it got.

    Args:
        tree: All steps.
        simulations: Those that are done.
        exploration: The constant of UCT.
        each: Ids that a simulation uses; the last is the rest of its solution, no step to go on from.
    """

    def __init__(
        self, tree: Tree, simulations: Iterable[Simulation], exploration: float, each: int
    ) -> None:
        self.tree, self.exploration, self.each = tree, exploration, each
        self.visits: dict[int, float] = {ROOT: 1.0}
        self.values: dict[int, float] = {ROOT: 0.0}
        for node in tree.nodes.values():
            self.enter(node["id"], node["reward"])
        for one in simulations:
            self.back_up(one["leaf"], one["reward"])

    def enter(self, node: int, reward: float) -> None:
        """A new step."""
        self.visits[node], self.values[node] = 1.0, reward

    def back_up(self, leaf: int, reward: float, visits: float = 1.0) -> None:
        """Add a visit and its reward to a step and to all above it.

        A simulation that is running counts as a visit worth nothing (virtual loss), so that the next
        one goes elsewhere; `visits=-1` takes that back.
        """
        for node in (ROOT, *self.tree.path(leaf)):
            self.visits[node] += visits
            self.values[node] += reward

    def select(self, busy: set[int]) -> int | None:
        """The step to expand next: from the root down, always to the highest bound.

        Args:
            busy: Steps that are being expanded; they are passed by.

        Returns:
            A step without children, or None if all are busy, or the tree is complete.
        """
        return self._select(ROOT, busy)

    def _select(self, node: int, busy: set[int]) -> int | None:
        children = [child for child in self.tree.children(node) if (child + 1) % self.each]
        if not children:
            return None if node in busy else node
        open_ = [child for child in children if not self.tree.nodes[child]["ended"]]
        for child in sorted(open_, key=lambda child: (-self.bound(child, node), child)):
            if (found := self._select(child, busy)) is not None:
                return found
        return None

    def bound(self, node: int, parent: int) -> float:
        """A step's UCT."""
        return uct(self.values[node], self.visits[node], self.visits[parent], self.exploration)
