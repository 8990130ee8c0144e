"""Beam search: of all steps keep the best few, and let each have as many children."""

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

__all__ = ["Beam", "graph", "plan"]


class Beam(Search):
    """Settings of beam search. Its knob is the number of solutions."""

    width: int = Field(16, ge=1, description="the knob's cap: most solutions")
    children: int = Field(4, ge=1, description="children of each step that is kept")


def plan(tree: Tree, frontier: list[Node], slots: int, *, children: int) -> list[int]:
    """The parents of the next level: the best steps, `children` times each, `slots` in all."""
    ranked = sorted(frontier, key=lambda node: -node["reward"])
    kept = ranked[: math.ceil(slots / children)]
    dealt = [node["id"] for node in kept for _ in range(children)]
    # Where fewer steps are left than are to be kept, the best of them get what is over.
    return (dealt * math.ceil(slots / len(dealt)))[:slots]


async def expand(state: Searching, runtime: Runtime[Beam]) -> JSON:
    """One round: one level of the tree, or the first of another tree."""
    async with program(state, runtime, Beam) as p:
        best = partial(plan, children=p.settings.children)
        return await grow_level(p, state, best, p.settings.width)


graph = level_graph(Beam, expand)
