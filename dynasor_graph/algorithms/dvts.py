"""DVTS: many narrow trees side by side, each going on from its best step (Beeching et al. 2024)."""

from __future__ import annotations

import math
from functools import partial

from langgraph.runtime import Runtime
from pydantic import Field

from dynasor_graph.executor import (
    Node,
    Search,
    Searching,
    Tree,
    grow_level,
    level_graph,
    program,
)
from dynasor_graph.types import JSON

__all__ = ["DiverseTrees", "graph", "plan"]


class DiverseTrees(Search):
    """Settings of diverse verifier tree search. Its knob is the number of solutions."""

    width: int = Field(16, ge=1, description="the knob's cap: most solutions, over all trees")
    children: int = Field(4, ge=1, description="children of each tree's best step")


def plan(tree: Tree, frontier: list[Node], slots: int, *, children: int) -> list[int]:
    """The parents of the next level: the best step of each tree, `children` times, `slots` in all.

    The first steps of a search are its trees' in turn: the first `children` belong to the first
    tree, and so on.
    """
    root = tree.nodes[tree.path(frontier[0]["id"])[0]]["parent"]
    place = {id_: at // children for at, id_ in enumerate(tree.children(root))}
    best: dict[int, Node] = {}
    for node in frontier:
        of = place[tree.path(node["id"])[0]]
        if of not in best or node["reward"] > best[of]["reward"]:
            best[of] = node
    # Trees that have ended leave their share to the others, the best first.
    ranked = sorted(best.values(), key=lambda node: -node["reward"])
    dealt = [node["id"] for _ in range(children) for node in ranked]
    return sorted((dealt * math.ceil(slots / len(dealt)))[:slots])


async def expand(state: Searching, runtime: Runtime[DiverseTrees]) -> JSON:
    """One round: one level of the tree, or the first of another tree."""
    async with program(state, runtime, DiverseTrees) as p:
        best = partial(plan, children=p.settings.children)
        return await grow_level(p, state, best, p.settings.width)


graph = level_graph(DiverseTrees, expand)
