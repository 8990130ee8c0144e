"""Simulate: iterations of MCTS in the rolling window, several at a time with virtual loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from dynasor_graph.budget import Grant, Usage
from dynasor_graph.executor.rolling import Rolling
from dynasor_graph.executor.search import Step, Stepper
from dynasor_graph.executor.tree import Node
from dynasor_graph.executor.uct import ROOT, Simulation, Values

__all__ = ["Simulations"]


class Tried(Step):
    """What the task of one iteration returns: its new steps, and where it ended."""

    simulation: Simulation | None


class Simulations(Rolling[Tried]):
    """One round of simulations in the rolling window. Single-use.

    Args:
        stepper: Grows and judges.
        simulations: Those that are done.
        cap: Most iterations, over all rounds.
        children: Steps that an expansion tries.
        exploration: The constant of UCT.
    """

    def __init__(
        self,
        stepper: Stepper,
        simulations: list[Simulation],
        *,
        cap: int,
        children: int,
        exploration: float,
    ) -> None:
        self.each = children + 1  # ids that a simulation uses: its children, and the rest
        super().__init__(stepper.p, -(-stepper.tree.next_id // self.each))
        self.stepper, self.cap = stepper, cap
        self.done, self.new = len(simulations), list[Simulation]()
        self.values = Values(stepper.tree, simulations, exploration, self.each)
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
        rest = max(1, rest)
        most = (self.each - 1) * min(self.p.settings.step_tokens, rest) + rest
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
