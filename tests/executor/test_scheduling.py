"""What programs tell the scheduler, and what they learn from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from dynasor_graph.algorithms import ALGORITHMS
from dynasor_graph.engine import FakeEngine
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.questions import Question
from dynasor_graph.recordings import Recorded, Sample
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.results import Result
from dynasor_graph.reward import FunctionReward
from dynasor_graph.runner import Runner, solve
from dynasor_graph.scheduler import Scheduled
from dynasor_graph.types import Delta, Request
from tests.executor.stage import replies, run


class Told(FakeEngine):
    """An engine that notes what it is told of programs."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.forgotten: list[str] = []

    def tell(self, program: str, **facts: Any) -> None:
        self.told.append((program, facts))

    def forget(self, program: str) -> None:
        self.forgotten.append(program)


@pytest.mark.anyio
async def test_a_program_tells_what_is_left_of_it_after_each_decision() -> None:
    engine = Told(replies(["4", "4", "4", "4"], tokens=30))
    await run("self_consistency", engine, policy="beta", branches=20, budget={"concurrency": 1})
    names = {name for name, _ in engine.told}
    assert len(names) == 1
    assert [facts["remaining"] for _, facts in engine.told] == [None, 3, 2, 1, 0]
    assert [facts["mean_tokens"] for _, facts in engine.told] == [None, 30, 30, 30, 30]
    assert {facts["algorithm"] for _, facts in engine.told} == {"SelfConsistency"}
    assert engine.forgotten == [*names]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "budget",
    [
        pytest.param({"seconds": 60}, id="cut"),
        pytest.param({"slo": 60}, id="wanted"),
        pytest.param({"seconds": 600, "slo": 60}, id="wanted-before-it-is-cut"),
        pytest.param({"seconds": 60, "slo": 600}, id="cut-before-it-is-wanted"),
    ],
)
async def test_tenant_and_deadline_are_told(budget: dict[str, int]) -> None:
    engine = Told(replies(["4"]))
    before = asyncio.get_running_loop().time()
    await run(
        "self_consistency",
        engine,
        policy="fixed",
        branches=1,
        tenant="gold",
        budget=budget,
    )
    (_, facts) = engine.told[0]
    assert facts["tenant"] == "gold"
    assert before + 59 < facts["deadline"] < before + 61


@pytest.mark.anyio
@pytest.mark.parametrize("name", ALGORITHMS)
async def test_when_an_algorithm_has_ended_the_scheduler_has_forgotten_its_program(
    name: str,
) -> None:
    engine = Scheduled(FakeEngine(["so it is 7\n\\boxed{7}"]), "sjf")
    more: dict[str, Any] = {}
    if "reward" in ALGORITHMS[name].settings.model_fields:
        more["reward"] = FunctionReward(lambda partial: 0.5)
    result = await solve("7?", algorithm=name, engine=engine, **more)
    assert result.answer == "7"
    assert engine.counts.programs == engine.counts.waiting == engine.counts.inside == 0


def timed(order: str | None, limit: int) -> dict[str, Result]:
    """Two programs of two branches on an engine with seats, through runner, graph and executor."""
    rows = [
        Recorded(id=name, samples=(Sample("1", tokens), Sample("1", tokens)))
        for name, tokens in (("P1", 4), ("P2", 5))
    ]

    async def main() -> dict[str, Result]:
        engine = ReplayEngine(rows, tokens_per_second=1.0)
        runner = Runner(
            engine=engine if order is None else Scheduled(engine, order, limit=limit),
            scheduler=None,
            policy="fixed",
            branches=2,
            sampling={"max_tokens": engine.longest},
        )
        asked = [Question(id=row.id, text=row.id) for row in rows]
        return {result.id: result async for result in runner.run(asked)}

    return run_virtual(main())


@pytest.mark.parametrize(
    ("order", "limit", "latencies", "queued"),
    [
        pytest.param("gang", 2, {"P1": 4, "P2": 9}, {"P1": 0, "P2": 8}, id="gang"),
        pytest.param("sjf", 2, {"P1": 4, "P2": 9}, {"P1": 0, "P2": 8}, id="sjf"),
        pytest.param("gang", 4, {"P1": 4, "P2": 5}, {"P1": 0, "P2": 0}, id="room for all"),
        pytest.param(None, 0, {"P1": 4, "P2": 5}, {"P1": 0, "P2": 0}, id="no scheduler"),
    ],
)
def test_queueing_and_running_are_told_apart(
    order: str | None, limit: int, latencies: dict[str, float], queued: dict[str, float]
) -> None:
    found = timed(order, limit)
    assert {name: one.latency_s for name, one in found.items()} == pytest.approx(latencies)
    assert {name: one.queued_s for name, one in found.items()} == pytest.approx(queued)


@pytest.mark.anyio
async def test_a_branch_says_how_long_it_was_held_back() -> None:
    engine = Scheduled(FakeEngine(replies(["4", "5"], tokens=200)), "fcfs", limit=1)
    state, events = await run("self_consistency", engine, policy="fixed", branches=2)
    held = [event["queued"] for event in events if event["event"] == "branch"]
    assert held[0] >= 0
    assert held[1] > 0
    assert state["queued"] == pytest.approx(sum(held), abs=1e-4)
    assert all(
        event["queued"] <= event["seconds"] for event in events if event["event"] == "branch"
    )


class Placed(FakeEngine):
    """An engine that notes the priority that each request came with."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.places: list[int] = []

    def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.places.append(request.priority)
        return super().stream(request)


@pytest.mark.anyio
async def test_a_runner_schedules_unless_it_is_told_not_to() -> None:
    told = Told(["\\boxed{4}"])
    asked = [Question(id="a", text="a")]
    # The engine is a scheduler itself, and is told by the programs.
    assert [result.answer async for result in Runner(engine=told).run(asked)] == ["4"]
    assert told.told
    plain = Placed(["\\boxed{4}"])
    runner = Runner(engine=plain, policy="fixed", branches=3)
    assert [result.answer async for result in runner.run(asked)] == ["4"]
    # vLLM's priority is the place in the order.
    assert set(plain.places) != {0}
    bare = Placed(["\\boxed{4}"])
    runner = Runner(engine=bare, scheduler=None, policy="fixed", branches=3)
    assert [result.answer async for result in runner.run(asked)] == ["4"]
    assert bare.places == [0, 0, 0]
