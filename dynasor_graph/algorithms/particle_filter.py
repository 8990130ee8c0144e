"""Particle filter: after each step, resample the partial solutions by the odds of their rewards."""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Sequence
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

__all__ = ["ParticleFilter", "graph", "plan", "weights"]


class ParticleFilter(Search):
    """Settings of particle filtering. Its knob is the number of particles that have ended."""

    width: int = Field(16, ge=1, description="the knob's cap: most particles")
    weight_temperature: float = Field(
        1.0, gt=0, description="of the weights: lower resamples the best more often"
    )


def weights(rewards: Sequence[float], temperature: float) -> list[float]:
    """The chance of each particle to be drawn: its odds `r / (1 - r)`, to the power 1/temperature.

    Source: Puri et al. 2025, section 3: softmax of the logits of a process reward model. Rewards
    are kept 1e-6 away from 0 and 1.

    Returns:
        Numbers that sum to 1.
    """
    clipped = [min(max(reward, 1e-6), 1 - 1e-6) for reward in rewards]
    logits = [math.log(r / (1 - r)) / temperature for r in clipped]
    top = max(logits)
    raised = [math.exp(logit - top) for logit in logits]
    return [one / math.fsum(raised) for one in raised]


def plan(
    tree: Tree, frontier: list[Node], slots: int, *, temperature: float, rng: random.Random
) -> list[int]:
    """The parents of the next level: particles drawn by weight, systematically.

    One draw places `slots` evenly spaced marks on the weights laid end to end, which varies less
    than as many single draws (Kitagawa 1996).
    """
    chances = weights([node["reward"] for node in frontier], temperature)
    start = rng.random()
    marks = ((start + at) / slots for at in range(slots))
    ends = list(itertools.accumulate(chances))
    return [frontier[min(bisect.bisect(ends, mark), len(ends) - 1)]["id"] for mark in marks]


async def expand(state: Searching, runtime: Runtime[ParticleFilter]) -> JSON:
    """One round: one level of the tree, or the first of another tree."""
    async with program(state, runtime, ParticleFilter) as p:
        # The draw of a level is the same when it is done again after a crash.
        rng = random.Random(f"{p.settings.sampling.seed}/{p.name}/{p.rounds}")
        drawn = partial(plan, temperature=p.settings.weight_temperature, rng=rng)
        return await grow_level(p, state, drawn, p.settings.width)


graph = level_graph(ParticleFilter, expand)
