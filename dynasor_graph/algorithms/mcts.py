"""MCTS: simulations that go where rewards are high or unknown, several at a time."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Overwrite
from pydantic import Field

from dynasor_graph.executor import (
    Search,
    Searching,
    Simulation,
    Simulations,
    Stepper,
    begin_search,
    conclude,
    decide,
    first_decision,
    program,
)
from dynasor_graph.types import JSON, StopReason

__all__ = ["MCTS", "graph"]


class MCTS(Search):
    """Settings of MCTS. Its knob is the number of iterations (simulations)."""

    policy: str | dict[str, Any] = Field("mcts-gsm8k", description="name or JSON")
    vote: Literal["weighted", "best", "majority"] = Field(
        "best", description="the paper takes the path with the highest reward"
    )
    iterations: int = Field(15, ge=1, description="the knob's cap (paper, online: 15)")
    children: int = Field(4, ge=1, description="steps that an expansion tries")
    exploration: float = Field(1.0, ge=0, description="the constant of UCT")


class Iterating(Searching, total=False):
    """State: the tree, and the simulations in order; values and visits follow from both."""

    simulations: Annotated[list[Simulation], operator.add]


async def begin(state: Iterating) -> JSON:
    """Reset the counters, the tree and the simulations."""
    return await begin_search(state) | {"simulations": Overwrite([])}


async def simulate(state: Iterating, runtime: Runtime[MCTS]) -> JSON:
    """One round: simulations roll until the policy, the cap or the budget ends it."""
    async with program(state, runtime, MCTS) as p:
        cap, done = p.settings.iterations, state["simulations"]
        stepper = await Stepper.of(p, state, cap)
        p.decision = first_decision(p, stepper.progress(len(done)))
        s = p.settings
        rolling = Simulations(
            stepper, done, cap=cap, children=s.children, exploration=s.exploration
        )
        await rolling.run()
        if p.stop_reason is None and p.decision.verdict != "branch":
            p.stop_reason = StopReason.TOKENS if rolling.may_launch() else StopReason.FINISHED
        elif p.stop_reason is None and rolling.done >= cap:
            p.stop_reason = StopReason.FINISHED
        return p.update(stepper.ended, nodes=stepper.nodes, simulations=rolling.new)


async def answer(state: Iterating, runtime: Runtime[MCTS]) -> JSON:
    """The answer of the path with the highest reward, or as `vote` says."""
    async with program(state, runtime, MCTS) as p:
        return await conclude(p, state)


graph = (
    StateGraph(Iterating, context_schema=MCTS)
    .add_node(begin)
    .add_node(simulate)
    .add_node(answer)
    .add_edge(START, "begin")
    .add_edge("begin", "simulate")
    .add_conditional_edges(
        "simulate", decide, {"branch": "simulate", "continue": "simulate", "terminate": "answer"}
    )
    .add_edge("answer", END)
)
