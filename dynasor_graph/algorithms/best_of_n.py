"""Best of N: sample whole answers, have each judged, and return the best or the weighted vote."""

from __future__ import annotations

from typing import ClassVar

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from pydantic import Field

from dynasor_graph.executor import (
    Judged,
    Reasoning,
    Tally,
    begin,
    decide,
    elect,
    outcome,
    program,
    resolve,
)
from dynasor_graph.reward import reward_named
from dynasor_graph.types import JSON

__all__ = ["BestOfN", "graph"]


class BestOfN(Judged):
    """Settings of best of N. Its knob is the number of branches."""

    gives: ClassVar[frozenset[str]] = Judged.gives | {"lengths", "logprobs"}

    branches: int = Field(16, ge=1, description="the knob's cap: most branches")


async def sample(state: Reasoning, runtime: Runtime[BestOfN]) -> JSON:
    """One round: branches roll through the window, and each that ends is judged."""
    async with program(state, runtime, BestOfN) as p:
        reward = await reward_named(p.settings.reward)
        return p.update(await p.sample(p.settings.branches, reward=reward))


async def vote(state: Reasoning, runtime: Runtime[BestOfN]) -> JSON:
    """The answer that wins; ties go to the one seen first."""
    settings = resolve(runtime, BestOfN)
    tally = await Tally.of(state["branches"], settings.answers)
    return outcome(tally, elect(tally, settings.vote))


graph = (
    StateGraph(Reasoning, context_schema=BestOfN)
    .add_node(begin)
    .add_node(sample)
    .add_node(vote)
    .add_edge(START, "begin")
    .add_edge("begin", "sample")
    .add_conditional_edges(
        "sample", decide, {"branch": "sample", "continue": "sample", "terminate": "vote"}
    )
    .add_edge("vote", END)
)
