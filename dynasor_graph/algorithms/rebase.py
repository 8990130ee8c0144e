"""Rebase: grow a tree in which steps get children by the softmax of their rewards (balanced search)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

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

__all__ = ["Rebase", "allocate", "graph"]


class Rebase(Search):
    """Settings of Rebase. Its knob is the width: the number of solutions."""

    policy: str | dict[str, Any] = Field("rebase-gsm8k", description="name or JSON")
    width: int = Field(32, ge=1, description="the knob's cap: most solutions (paper, online: 128)")
    softmax_temperature: float = Field(
        0.2, gt=0, description="lower gives more of the children to the best steps"
    )


def allocate(rewards: Sequence[float], slots: int, temperature: float) -> list[int]:
    """How many children each step gets, as Rebase's code deals them out (Wu et al. 2024).

    From the best step down, each gets its share of what is left, rounded up:
    `ceil(slots * w / sum w)` with `w = exp(reward / temperature)`, both less what was dealt.

    Args:
        rewards: Of the steps, each in [0, 1].
        slots: How many children there are to give, >= 0.
        temperature: Of the softmax, > 0.

    Returns:
        A number for each step, in the order of `rewards`; their sum is `slots`.
    """
    # Less the highest reward: the shares are the same, and exp cannot overflow.
    top = max(rewards, default=0.0)
    weights = [math.exp((reward - top) / temperature) for reward in rewards]
    shares = [0] * len(rewards)
    left = math.fsum(weights)
    for at in sorted(range(len(rewards)), key=lambda at: -rewards[at]):
        if slots <= 0:
            break
        # Where rounding leaves nothing to divide by, the rest goes to this step.
        share = weights[at] / left if left > 0 else 1.0
        shares[at] = min(slots, math.ceil(slots * min(1.0, share) - 1e-9))
        slots -= shares[at]
        left -= weights[at]
    return shares


def plan(tree: Tree, frontier: list[Node], slots: int, *, temperature: float) -> list[int]:
    """The parents of the next level, each as often as it gets children."""
    shares = allocate([node["reward"] for node in frontier], slots, temperature)
    return [node["id"] for node, count in zip(frontier, shares, strict=True) for _ in range(count)]


async def expand(state: Searching, runtime: Runtime[Rebase]) -> JSON:
    """One round: one level of the tree, or the first of another tree."""
    async with program(state, runtime, Rebase) as p:
        by_reward = partial(plan, temperature=p.settings.softmax_temperature)
        return await grow_level(p, state, by_reward, p.settings.width)


graph = level_graph(Rebase, expand)
