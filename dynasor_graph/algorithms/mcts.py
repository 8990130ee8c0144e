"""MCTS: simulations that go where rewards are high or unknown, several at a time."""

from __future__ import annotations

import asyncio
import math
import operator
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Literal

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Overwrite
from pydantic import Field
from typing_extensions import TypedDict

from dynasor_graph.budget import Grant, Usage
from dynasor_graph.executor import (
    Node,
    Rolling,
    Search,
    Searching,
    Step,
    Stepper,
    Tree,
    begin_search,
    conclude,
    decide,
    first_decision,
    program,
)
from dynasor_graph.types import JSON, StopReason

__all__ = ["MCTS", "Values", "graph", "uct"]

ROOT = -1


class MCTS(Search):
    """Settings of MCTS. Its knob is the number of iterations (simulations)."""

    policy: str | dict[str, Any] = Field("mcts-gsm8k", description="name or JSON")
    vote: Literal["weighted", "best", "majority"] = Field(
        "best", description="the paper takes the path with the highest reward"
    )
    iterations: int = Field(15, ge=1, description="the knob's cap (paper, online: 15)")
    children: int = Field(4, ge=1, description="steps that an expansion tries")
    exploration: float = Field(1.0, ge=0, description="the constant of UCT")


class Simulation(TypedDict):
    """One iteration: the step it ended at, and the reward that was backed up from there."""

    leaf: int
    reward: float


class Tried(Step):
    """What the task of one iteration returns: its new steps, and where it ended."""

    simulation: Simulation | None


class Iterating(Searching, total=False):
    """State: the tree, and the simulations in order; values and visits follow from both."""

    simulations: Annotated[list[Simulation], operator.add]


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


class _Iterations(Rolling[Tried]):
    """One round of simulations in the rolling window."""

    def __init__(self, stepper: Stepper, simulations: list[Simulation], cap: int) -> None:
        s = stepper.p.settings
        self.each = s.children + 1  # ids that a simulation uses: its children, and the rest
        super().__init__(stepper.p, -(-stepper.tree.next_id // self.each))
        self.stepper, self.cap = stepper, cap
        self.done, self.new = len(simulations), list[Simulation]()
        self.values = Values(stepper.tree, simulations, s.exploration, self.each)
        self.leaves: dict[int, int] = {}

    def may_launch(self) -> bool:
        decision = self.p.decision
        return (
            decision is not None
            and decision.verdict == "continue"
            and self.done + len(self.jobs) < min(self.cap, decision.width)
            and self._leaf() is not None
        )

    def _leaf(self) -> int | None:
        return self.values.select(set(self.leaves.values()))

    def want(self) -> tuple[int, int]:
        leaf = self._leaf()
        rest = self.stepper.room - len(self.stepper.tree.tokens(ROOT if leaf is None else leaf))
        s = self.p.settings
        most = s.children * min(s.step_tokens, max(1, rest)) + max(1, rest)
        return most, min(most, self.each * self.stepper.usual())

    def prepare(self, index: int, grant: Grant) -> Callable[[], Awaitable[Tried]]:
        leaf = self._leaf()
        assert leaf is not None, "may_launch found one"
        self.leaves[index] = leaf
        self.values.back_up(leaf, 0.0)  # the virtual loss
        return lambda: self._simulate(index, leaf, grant.tokens)

    async def _simulate(self, index: int, leaf: int, tokens: int) -> Tried:
        """Try a few next steps, and follow the best of them to the end."""
        stepper, first = self.stepper, index * self.each
        most = min(max(1, stepper.longest(leaf)), max(1, tokens // self.each))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(stepper.grow(first + at, leaf, most))
                for at in range(self.each - 1)
            ]
        steps = [task.result() for task in tasks]
        nodes = _distinct(steps)
        scored = await stepper.judge(steps)
        for node, reward in zip(nodes, scored["rewards"], strict=True):
            node["reward"] = reward
        usage, ends = Usage(reward=scored["computed"]), None
        if nodes and not self.p.in_flight.stopped:
            ends = max(nodes, key=lambda node: node["reward"])
            if not ends["ended"]:
                so_far = [*stepper.tree.tokens(leaf), *ends["tokens"]]
                left = tokens - sum(Usage.from_json(step["usage"]).generated for step in steps)
                most = max(1, min(left, stepper.room - len(so_far)))
                last = first + self.each - 1
                rest = await stepper.grow(last, ends["id"], most, rest_of=so_far)
                steps.append(rest)
                scored = await stepper.judge([rest], before=so_far)
                usage += Usage(reward=scored["computed"])
                ends = None
                for node, reward in zip(rest["nodes"], scored["rewards"], strict=True):
                    node["reward"], ends = reward, node
        for step in steps:
            usage += Usage.from_json(step["usage"])
        return Tried(
            nodes=[node for step in steps for node in step["nodes"]],
            texts=[text for step in steps for text in step["texts"]],
            finish=steps[-1]["finish"],
            seconds=max(step["seconds"] for step in steps),
            usage=usage.lines(),
            simulation=ends and Simulation(leaf=ends["id"], reward=ends["reward"]),
        )

    async def observe(self, index: int, grant: Grant, result: Tried) -> None:
        p = self.p
        before = p.tasks.was_restored(index)
        usage = Usage.from_json(result["usage"])
        p.ledger.settle(grant, usage, before=before)
        self.values.back_up(self.leaves.pop(index), 0.0, visits=-1)
        await self.stepper.take_in(result, usage)
        for node in result["nodes"]:
            self.values.enter(node["id"], node["reward"])
        if (simulation := result["simulation"]) is not None:
            self.values.back_up(simulation["leaf"], simulation["reward"])
            self.new.append(simulation)
            self.done += 1
            await p.judge(self.stepper.progress(self.done), p.certaindex)


def _distinct(steps: list[Step]) -> list[Node]:
    """The steps that say different things; of equals the first, and the others forget theirs."""
    seen: dict[tuple[int, ...], Node] = {}
    for step in steps:
        for node in step["nodes"]:
            if seen.setdefault(tuple(node["tokens"]), node) is not node:
                step["nodes"], step["texts"] = [], []
    return list(seen.values())


async def begin(state: Iterating) -> JSON:
    """Reset the counters, the tree and the simulations."""
    return await begin_search(state) | {"simulations": Overwrite([])}


async def simulate(state: Iterating, runtime: Runtime[MCTS]) -> JSON:
    """One round: simulations roll until the policy, the cap or the budget ends it."""
    async with program(state, runtime, MCTS) as p:
        cap = p.settings.iterations
        stepper = await Stepper.of(p, state, cap)
        p.decision = first_decision(p, stepper.progress(len(state["simulations"])))
        rolling = _Iterations(stepper, state["simulations"], cap)
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
