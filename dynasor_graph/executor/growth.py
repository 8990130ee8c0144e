"""Growth: one level of a tree: which steps grow is planned before, and then they roll."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from dynasor_graph.budget import Grant, Usage
from dynasor_graph.executor.program import Program, program
from dynasor_graph.executor.rolling import Rolling
from dynasor_graph.executor.search import (
    Scored,
    Search,
    Searching,
    Step,
    Stepper,
    begin_search,
    conclude,
)
from dynasor_graph.executor.state import decide
from dynasor_graph.executor.tree import Node, Tree
from dynasor_graph.executor.window import first_decision
from dynasor_graph.types import JSON, StopReason

__all__ = ["Plan", "grow_level", "level_graph"]

Plan = Callable[[Tree, list[Node], int], Sequence[int]]
"""The tree, the nodes of the frontier, and how many paths are still to be found -> the parents to grow
from, each as often as it is to grow. At least one, unless the frontier is empty."""

S = TypeVar("S", bound=Search)


class _Level(Rolling[Step]):
    """The steps of one level."""

    def __init__(self, stepper: Stepper, parents: Sequence[int]) -> None:
        super().__init__(stepper.p, stepper.tree.next_id)
        self.stepper, self.parents, self.first = stepper, parents, stepper.tree.next_id
        self.steps: list[tuple[int, Step]] = []

    def may_launch(self) -> bool:
        return self.index - self.first < len(self.parents)

    def want(self) -> tuple[int, int]:
        most = max(1, self.stepper.longest(self.parents[self.index - self.first]))
        return most, min(most, self.stepper.usual())

    def prepare(self, index: int, grant: Grant) -> Callable[[], Awaitable[Step]]:
        parent = self.parents[index - self.first]
        return lambda: self.stepper.grow(index, parent, grant.tokens)

    async def observe(self, index: int, grant: Grant, result: Step) -> None:
        before = self.p.tasks.was_restored(index)
        self.p.ledger.settle(grant, Usage.from_json(result["usage"]), before=before)
        self.steps.append((index, result))

    async def judge(self) -> None:
        """Judge all steps of the level, and ask the policy at each solution that has ended.

        In one batch: the next level needs all rewards anyway, and on a CPU a batch of 16 costs as much
        as 5 single ones.
        """
        p, stepper = self.p, self.stepper
        steps = [step for _, step in sorted(self.steps, key=_first)]
        if not any(step["nodes"] for step in steps):
            return
        scored: Scored = await p.tasks.start(self.index, lambda: stepper.judge(steps))
        p.tasks.was_restored(self.index)
        p.ledger.note(Usage(reward=scored["computed"]))
        rewards = iter(scored["rewards"])
        for step in steps:
            for node in step["nodes"]:
                node["reward"] = next(rewards)
            if await stepper.take_in(step, Usage.from_json(step["usage"])):
                await p.judge(stepper.progress(), p.certaindex)


async def grow_level(p: Program[S], state: Searching, plan: Plan, cap: int) -> JSON:
    """One round: grow the frontier by one step, or begin a tree; what the node returns.

    A tree is as wide as the policy wants it: up to its detection knob first; where that does not
    settle the question, the next tree has the rest of the cap (the paper leaves open how Rebase goes
    on from width 16; all paths vote).

    Args:
        p: The open round.
        state: The state before it.
        plan: Chooses the parents.
        cap: Most paths, over all trees.
    """
    cap = min(cap, p.settings.budget.branches or cap)
    stepper = await Stepper.of(p, state, cap)
    tree = stepper.tree
    decision = first_decision(p, stepper.progress())
    target = min(cap, decision.width) if decision.verdict == "continue" else 0
    slots = target - p.tally.finished
    frontier = [tree.nodes[id_] for id_ in state["frontier"]]
    parents: Sequence[int] = ()
    if slots > 0:
        parents = plan(tree, frontier, slots) if frontier else [-1 - tree.trees] * slots
    level = _Level(stepper, parents)
    await level.run()
    await level.judge()
    grown = sorted(node["id"] for node in stepper.nodes)
    frontier_now = [id_ for id_ in grown if not tree.nodes[id_]["ended"]]
    if p.stop_reason is None and level.may_launch():
        p.stop_reason = StopReason.TOKENS
    if p.stop_reason is None and not _goes_on(p, stepper, frontier_now):
        p.stop_reason = StopReason.FINISHED
    return p.update(stepper.ended, nodes=stepper.nodes, frontier=frontier_now)


def _goes_on(p: Program[Any], stepper: Stepper, frontier: list[int]) -> bool:
    """Whether this tree is to grow on, or another is to be begun."""
    decision = p.decision or first_decision(p, stepper.progress())
    wants = stepper.cap if decision.verdict == "branch" else min(stepper.cap, decision.width)
    return p.tally.finished < wants and decision.verdict != "terminate"


def _first(pair: tuple[int, Step]) -> int:
    return pair[0]


def level_graph(
    kind: type[Search], expand: Callable[..., Awaitable[JSON]]
) -> StateGraph[Any, Any, Any, Any]:
    """The graph of a search that goes level by level: begin, expand until it is over, answer.

    Args:
        kind: The settings.
        expand: One round, by `grow_level`.
    """

    async def answer(state: Searching, runtime: Runtime[Any]) -> JSON:
        async with program(state, runtime, kind) as p:
            return await conclude(p, state)

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(Searching, context_schema=kind)
    return (
        graph.add_node("begin", begin_search)
        .add_node("expand", expand)
        .add_node("answer", answer)
        .add_edge(START, "begin")
        .add_edge("begin", "expand")
        .add_conditional_edges(
            "expand", decide, {"branch": "expand", "continue": "expand", "terminate": "answer"}
        )
        .add_edge("answer", END)
    )
