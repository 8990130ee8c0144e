"""Self-consistency: sample answers until they agree, and return the majority's."""

from __future__ import annotations

from typing import ClassVar, Literal

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from pydantic import Field

from dynasor_graph.confidence import GroupVote
from dynasor_graph.executor import (
    Context,
    Reasoning,
    Tally,
    begin,
    decide,
    elect,
    outcome,
    program,
    resolve,
)
from dynasor_graph.types import JSON

__all__ = ["SelfConsistency", "graph"]


class SelfConsistency(Context):
    """Settings of self-consistency. Its knob is the number of branches."""

    gives: ClassVar[frozenset[str]] = frozenset({"votes", "order", "lengths", "logprobs", "groups"})

    branches: int = Field(20, ge=1, description="the knob's cap: most branches (paper, online: 20)")
    vote: Literal["majority", "confidence", GroupVote] = Field(
        "majority",
        description="equal votes, each by exp(mean log-probability), or by DeepConf's group confidence",
    )

    @property
    def is_one_chain(self) -> bool:
        """One branch alone is."""
        return min(self.branches, self.budget.branches or self.branches) == 1


async def sample(state: Reasoning, runtime: Runtime[SelfConsistency]) -> JSON:
    """One round: branches roll through the window until the policy, the cap or the budget ends it."""
    async with program(state, runtime, SelfConsistency) as p:
        return p.update(await p.sample(p.settings.branches))


async def vote(state: Reasoning, runtime: Runtime[SelfConsistency]) -> JSON:
    """The answer that most branches gave; ties go to the one seen first."""
    settings = resolve(runtime, SelfConsistency)
    tally = await Tally.of(state["branches"], settings.answers)
    bar = settings.rule.bar(tally.progress(settings.branches))
    leader = elect(tally, settings.vote, bar)
    return outcome(tally, leader)


graph = (
    StateGraph(Reasoning, context_schema=SelfConsistency)
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
