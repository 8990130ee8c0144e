"""One program: the window, the latched verdict, the books, the budget, cancelling and crashing."""

from __future__ import annotations

import asyncio
import itertools
import operator
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings, strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from dynasor_graph.algorithms import SelfConsistency, find_algorithm
from dynasor_graph.algorithms.self_consistency import sample
from dynasor_graph.budget import Budget, Usage
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError, EngineDied, EngineError
from dynasor_graph.executor import Branch, Reasoning, begin
from dynasor_graph.runner import solve, stream
from dynasor_graph.types import JSON, Request, StopReason
from tests.executor.stage import Watched, registered, replies, reply, run, until

pytestmark = pytest.mark.anyio


def votes(state: JSON) -> dict[str | None, int]:
    return dict(Counter(branch["answer"] for branch in state["branches"]))


# The window ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("concurrency", "peak"),
    [
        pytest.param(1, 1, id="one-by-one"),
        pytest.param(3, 3, id="some-at-a-time"),
        pytest.param(50, 12, id="all-at-once"),
    ],
)
async def test_never_more_branches_are_in_flight_than_the_window_holds(concurrency: int, peak: int):
    engine = Watched(replies(["1", "2", "3"]))

    state, _ = await run(
        "self_consistency",
        engine,
        policy="fixed",
        branches=12,
        budget=Budget(concurrency=concurrency),
    )

    assert engine.peak == peak
    assert votes(state) == {"1": 4, "2": 4, "3": 4}
    assert (state["rounds"], state["stop_reason"]) == (1, "finished")


async def test_the_window_is_refilled_as_branches_finish_without_waiting_for_the_slowest():
    engine = Watched([reply("9", tokens=6000), *replies(["1"] * 11)])

    _, events = await run(
        "self_consistency",
        engine,
        policy="fixed",
        branches=12,
        sampling={"max_tokens": 6000},
        budget=Budget(concurrency=2),
    )

    finished = [event["index"] for event in events if event["event"] == "branch"]
    assert finished == [*range(1, 12), 0]
    assert engine.peak == 2


# The verdict -----------------------------------------------------------------------------------


async def test_static_certaindex_launches_five_branches_and_no_more_if_they_agree():
    engine = FakeEngine(replies(["1"]))

    state, _ = await run("self_consistency", engine, policy="certaindex", branches=20)

    assert len(engine.requests) == 5
    assert (state["stop_reason"], state["rounds"], state["certaindex"]) == ("certain", 1, 1.0)
    assert state["decision"]["saved"] == 15 * 24


async def test_static_certaindex_launches_five_branches_and_then_all_the_rest_if_they_differ():
    engine = FakeEngine(replies(["1", "1", "1", "1", "2"]))

    state, events = await run("self_consistency", engine, policy="certaindex", branches=20)

    assert Counter(branch["round"] for branch in state["branches"]) == {0: 5, 1: 15}
    verdicts = [event["verdict"] for event in events if event["event"] == "decision"]
    assert verdicts == ["continue"] * 4 + ["branch"] + ["continue"] * 15
    assert (state["answer"], state["stop_reason"], state["rounds"]) == ("1", "finished", 2)


async def test_stopping_is_a_value_what_is_left_returns_terminated_with_its_tokens_on_the_ledger():
    engine = Watched([*replies(["1"] * 4), *replies(["2"] * 4, tokens=400)])

    state, events = await run("self_consistency", engine, policy="beta", branches=8)

    assert Counter(branch["finish"] for branch in state["branches"]) == {"stop": 4, "terminated": 4}
    partial = [b["tokens"] for b in state["branches"] if b["finish"] == "terminated"]
    assert all(tokens > 0 for tokens in partial)
    assert state["usage"]["terminated"] == sum(partial)
    assert (state["usage"]["gross"], state["answer"]) == (4 * 24, "1")
    assert state["stop_reason"] == "certain"
    assert len(engine.requests) == 8
    assert [e["event"] for e in events].count("decision") == 4  # nobody is asked after the verdict


async def test_requests_that_wait_in_the_engine_are_ended_too_and_have_cost_nothing():
    engine = FakeEngine(replies(["1"]), slots=2)
    engine.gate.clear()

    state, _ = await run("self_consistency", engine, budget=Budget(seconds=0.3))

    assert len(engine.requests) == 5
    assert [b["finish"] for b in state["branches"]] == ["terminated"] * 5
    assert (await engine.load()).generated == 0
    assert (state["answer"], state["stop_reason"]) == (None, "deadline")


async def test_branches_that_were_about_to_start_at_the_verdict_never_reach_the_engine():
    engine = FakeEngine(replies(["1"]))

    state, _ = await run("self_consistency", engine, policy="beta", branches=20)

    # All eight end at the same moment. The first three are each replaced; the fourth settles it.
    assert len(state["branches"]) == 11
    assert len(engine.requests) == 8
    assert [b["tokens"] for b in state["branches"] if b["finish"] == "terminated"] == [0, 0, 0]


async def test_late_finishers_cannot_undo_the_verdict():
    # All eight end at the same moment; the fourth settles it, the rest would unsettle it again.
    engine = FakeEngine(replies(["1"] * 4 + ["2"] * 4))

    state, _ = await run("self_consistency", engine, policy="beta", branches=8)

    assert votes(state) == {"1": 4, "2": 4}
    assert (state["verdict"], state["stop_reason"]) == ("terminate", "certain")
    assert (state["decision"]["verdict"], state["decision"]["evidence"]) == ("terminate", 0.96875)
    assert (state["rounds"], len(engine.requests)) == (1, 8)
    assert state["answer"] == "1"


async def test_the_policy_is_asked_at_each_branch_in_the_order_in_which_they_finish():
    engine = FakeEngine([reply("1", 400), reply("2", 300), reply("3", 200), reply("4", 100)])

    _, events = await run("self_consistency", engine, policy="fixed", branches=4)

    order = [event["index"] for event in events if event["event"] == "branch"]
    knobs = [event["knob"] for event in events if event["event"] == "decision"]
    assert (order, knobs) == ([3, 2, 1, 0], [1, 2, 3, 4])


# The books -------------------------------------------------------------------------------------

SCENES: list[Any] = [
    pytest.param({"policy": "fixed", "branches": 9}, StopReason.FINISHED, id="to-the-cap"),
    pytest.param({"policy": "beta"}, StopReason.CERTAIN, id="stopped-half-way"),
    pytest.param({"policy": "certaindex"}, StopReason.FINISHED, id="two-rounds"),
    pytest.param({"policy": "lossless"}, StopReason.CERTAIN, id="lossless"),
    pytest.param(
        {"policy": "fixed", "sampling": {"max_tokens": 30}}, StopReason.FINISHED, id="cut-branches"
    ),
    pytest.param(
        {"policy": "fixed", "budget": {"tokens": 333}}, StopReason.TOKENS, id="out-of-tokens"
    ),
    pytest.param(
        {"policy": "certaindex", "budget": {"rounds": 1}}, StopReason.ROUNDS, id="out-of-rounds"
    ),
    pytest.param(
        {"policy": "fixed", "budget": {"branches": 3}}, StopReason.FINISHED, id="out-of-branches"
    ),
    pytest.param(
        {"policy": "fixed", "budget": {"seconds": 1e-9}}, StopReason.DEADLINE, id="out-of-time"
    ),
]


@pytest.mark.parametrize(("given_settings", "reason"), SCENES)
@pytest.mark.parametrize(
    "slots", [pytest.param(1_000, id="roomy-engine"), pytest.param(2, id="crowded-engine")]
)
async def test_the_ledger_says_what_the_engine_counted(
    given_settings: dict[str, Any], reason: StopReason, slots: int
):
    lengths = itertools.cycle([24, 24, 150, 60, 31])
    engine = FakeEngine(
        lambda prompt, request: reply("1" if next(lengths) < 100 else "2", next(lengths)),
        slots=slots,
    )

    state, _ = await run("self_consistency", engine, **given_settings)  # checks the books

    assert state["stop_reason"] == reason
    per_branch = sum((Usage.from_json(b["usage"]) for b in state["branches"]), Usage())
    assert per_branch == Usage.from_json(state["usage"])


policies = st.sampled_from(
    [
        "fixed",
        "beta",
        "beta:confidence=0.6",
        "certaindex",
        "certaindex:threshold=0.2,at=3",
        "certaindex-every:every=2",
        "lossless",
        "beta & lossless",
        "certaindex | beta",
    ]
)


@settings(max_examples=80, deadline=None)
@given(
    script=st.lists(
        st.tuples(st.sampled_from([None, "1", "2", "3"]), st.integers(16, 200)),
        min_size=1,
        max_size=8,
    ),
    policy=policies,
    branches=st.integers(1, 12),
    max_tokens=st.integers(1, 120),
    tokens=st.one_of(st.none(), st.integers(1, 900)),
    rounds=st.one_of(st.none(), st.integers(1, 2)),
    most=st.one_of(st.none(), st.integers(1, 8)),
    concurrency=st.integers(1, 6),
    slots=st.integers(1, 6),
    speed=st.sampled_from([1, 7, 64]),
)
def test_no_limit_is_ever_passed_and_no_token_is_ever_lost(
    script: list[tuple[str | None, int]],
    policy: str,
    branches: int,
    max_tokens: int,
    tokens: int | None,
    rounds: int | None,
    most: int | None,
    concurrency: int,
    slots: int,
    speed: int,
):
    engine = Watched([reply(*words) for words in script], slots=slots, speed=speed)
    budget = Budget(tokens=tokens, rounds=rounds, branches=most, concurrency=concurrency)

    state, _ = asyncio.run(
        run(
            "self_consistency",
            engine,
            policy=policy,
            branches=branches,
            sampling={"max_tokens": max_tokens},
            budget=budget,
        )
    )  # checks that the ledger equals the engine's count

    generated = Usage.from_json(state["usage"]).generated
    assert tokens is None or generated <= tokens
    assert rounds is None or state["rounds"] <= rounds
    assert len(state["branches"]) <= min(branches, most or branches)
    assert [b["index"] for b in sorted(state["branches"], key=lambda b: b["index"])] == list(
        range(len(state["branches"]))
    )
    assert all(branch["tokens"] <= max_tokens for branch in state["branches"])
    assert engine.peak <= concurrency
    assert StopReason(state["stop_reason"])
    given_answers = {branch["answer"] for branch in state["branches"]} - {None}
    assert state["answer"] in (given_answers or {None})


# The budget ------------------------------------------------------------------------------------


async def test_a_small_rest_of_the_budget_waits_for_what_running_branches_give_back():
    engine = Watched(replies(["1"], tokens=20))

    state, _ = await run(
        "self_consistency",
        engine,
        policy="fixed",
        sampling={"max_tokens": 60},
        budget=Budget(tokens=100),
    )

    # Each is granted all it might need; only the last take less, when nothing more can come back.
    assert [request.max_tokens for request in engine.requests] == [60, 60, 60, 40, 20]
    assert engine.peak == 1
    assert [branch["finish"] for branch in state["branches"]] == ["stop"] * 5
    assert (state["usage"]["main"], state["stop_reason"]) == (100, "tokens")


async def test_a_branch_that_cannot_be_useful_is_not_started():
    engine = FakeEngine(replies(["1"], tokens=20))

    state, _ = await run(
        "self_consistency",
        engine,
        policy="fixed",
        sampling={"max_tokens": 60},
        budget=Budget(tokens=50),
    )

    assert [request.max_tokens for request in engine.requests] == [50, 30]  # 10 are less than 20
    assert (state["usage"]["main"], state["stop_reason"]) == (40, "tokens")


async def test_a_budget_smaller_than_any_answer_gives_no_answer_and_no_error():
    engine = FakeEngine(replies(["1"], tokens=50))

    state, _ = await run("self_consistency", engine, budget=Budget(tokens=7))

    assert (state["answer"], state["text"], state["stop_reason"]) == (None, "." * 7, "tokens")
    assert state["usage"]["main"] == 7


async def test_the_rounds_of_the_budget_end_a_program_that_is_not_settled():
    engine = FakeEngine(replies(["1", "1", "2"]))

    state, _ = await run("self_consistency", engine, policy="certaindex", budget=Budget(rounds=1))

    assert (len(engine.requests), state["stop_reason"], state["answer"]) == (5, "rounds", "1")


async def test_no_round_is_opened_with_nothing_left_to_spend():
    engine = FakeEngine(replies(["1", "1", "2"], tokens=24))

    state, _ = await run(
        "self_consistency",
        engine,
        policy="certaindex",
        sampling={"max_tokens": 24},
        budget=Budget(tokens=5 * 24),
    )

    assert (state["rounds"], state["stop_reason"], len(engine.requests)) == (1, "tokens", 5)


async def test_the_branches_of_the_budget_bound_the_algorithms_own():
    engine = FakeEngine(replies(["1", "2", "2"]))

    state, _ = await run("self_consistency", engine, policy="fixed", budget=Budget(branches=3))

    assert (len(engine.requests), state["stop_reason"], state["answer"]) == (3, "finished", "2")


async def test_the_deadline_ends_a_program_that_hangs_with_the_best_answer_so_far():
    engine = FakeEngine([*replies(["1", "2", "2"]), *replies(["3"] * 9, tokens=3000)])
    finished = 0
    found = None
    items = stream(
        "q",
        engine=engine,
        policy="fixed",
        sampling={"max_tokens": 4000},
        budget=Budget(seconds=1.0),
    )
    async with aclosing(items):
        async for item in items:
            found = item
            if isinstance(item, dict) and item["event"] == "branch":
                finished += 1
                if finished == 3:
                    engine.gate.clear()  # from here on only the deadline can end it

    assert not isinstance(found, dict)
    assert found is not None
    assert (found.stop_reason, found.answer) == (StopReason.DEADLINE, "2")
    assert found.usage.terminated > 0
    assert not engine.gate.is_set()
    load = await engine.load()
    assert (load.running, load.waiting, load.generated) == (0, 0, found.usage.generated)
    assert 1.0 <= found.latency_s < 10


async def test_the_deadline_counts_over_all_rounds():
    """A round alone, as a program comes to it that has run for 100 of its 50 seconds."""
    graph: Any = StateGraph(Reasoning, context_schema=SelfConsistency).add_node(sample)
    engine = FakeEngine(replies(["1"]))
    engine.gate.clear()
    late = {**await begin({"question": "q"}), "branches": [], "question": "q", "seconds": 100.0}
    with registered(engine) as name:
        context = {"engine": name, "budget": {"seconds": 50}}
        state = await graph.add_edge(START, "sample").compile().ainvoke(late, context=context)

    assert (state["stop_reason"], state["verdict"]) == ("deadline", "terminate")
    assert 100 <= state["seconds"] < 120
    assert (await engine.load()).running == 0


# Cancelling ------------------------------------------------------------------------------------


async def test_cancelling_the_caller_frees_every_branch():
    engine = FakeEngine(replies(["1"], tokens=3000))
    engine.gate.clear()
    with registered(engine) as name:
        graph = find_algorithm("self_consistency").compile()
        context = {"engine": name, "policy": "fixed", "sampling": {"max_tokens": 4000}}
        task = asyncio.get_running_loop().create_task(
            graph.ainvoke({"question": "q"}, context=context)
        )
        await until(lambda: len(engine.requests) == 8)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    load = await engine.load()
    assert (load.running, load.waiting, len(engine.requests)) == (0, 0, 8)


async def test_leaving_a_stream_early_frees_every_branch():
    engine = FakeEngine([*replies(["1"]), *replies(["2"] * 7, tokens=3000)])
    items = stream("q", engine=engine, policy="fixed", sampling={"max_tokens": 4000})
    async with aclosing(items):
        async for item in items:
            if isinstance(item, dict) and item["event"] == "branch":
                break

    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)
    assert load.generated < 8 * 3000


async def test_a_failing_branch_fails_the_program_and_frees_the_others():
    def answer(prompt: str, request: Request) -> str:
        if len(engine.requests) == 5:
            raise EngineError("this branch is one too many")
        return reply("1", tokens=3000)

    engine = FakeEngine(answer)

    with pytest.raises(EngineError, match="one too many"):
        await solve("q", engine=engine, policy="fixed", sampling={"max_tokens": 4000})

    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)


# LangGraph's own settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm", [pytest.param("self_consistency", id="votes"), pytest.param("cot", id="probes")]
)
async def test_max_concurrency_of_one_is_refused_instead_of_deadlocking(algorithm: str):
    with pytest.raises(ConfigError, match=r"max_concurrency=1.*budget\.concurrency=1"):
        await run(algorithm, FakeEngine(), config={"max_concurrency": 1})


async def test_any_larger_max_concurrency_works():
    engine = Watched(replies(["1"]))

    state, _ = await run(
        "self_consistency", engine, config={"max_concurrency": 2}, policy="fixed", branches=6
    )

    assert votes(state) == {"1": 6}


# Crashing and resuming ---------------------------------------------------------------------------


class ByBranch:
    """Replies that belong to branches: asked again for a branch, it says the same."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = itertools.cycle(lines)
        self._said: dict[int | None, str] = {}

    def __call__(self, prompt: str, request: Request) -> str:
        if request.seed not in self._said:
            self._said[request.seed] = next(self._lines)
        return self._said[request.seed]


SETTINGS: dict[str, Any] = {"branches": 6, "sampling": {"max_tokens": 4000, "seed": 1}}
SHORT, LONG = 24, 3000


@asynccontextmanager
async def in_memory(folder: Path) -> AsyncIterator[Any]:
    yield InMemorySaver()


@asynccontextmanager
async def in_sqlite(folder: Path) -> AsyncIterator[Any]:
    async with AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver:
        yield saver


savers = pytest.mark.parametrize(
    "saver", [pytest.param(in_memory, id="memory"), pytest.param(in_sqlite, id="sqlite")]
)


async def run_until_it_dies(
    graph: Any, config: Any, script: Callable[[str, Request], str], *, after: int, **settings: Any
) -> FakeEngine:
    """Start a program, and kill its engine as soon as so many branches have finished."""
    engine = FakeEngine(script)
    finished = 0
    with registered(engine) as name:
        parts = graph.astream(
            {"question": "q"},
            config,
            context={"engine": name, **SETTINGS, **settings},
            stream_mode="custom",
        )
        try:
            async for event in parts:
                finished += event["event"] == "branch"
                if finished == after:
                    engine.kill()
        except EngineDied:
            return engine
    raise AssertionError("it did not notice that its engine died")


async def resume(
    graph: Any, config: Any, script: Callable[[str, Request], str], **settings: Any
) -> tuple[FakeEngine, JSON]:
    engine = FakeEngine(script)
    with registered(engine) as name:
        state = await graph.ainvoke(None, config, context={"engine": name, **SETTINGS, **settings})
    return engine, state


def essence(state: JSON) -> JSON:
    """What a state says, less times, cache hits and the order in which branches finished."""
    branches = sorted(state["branches"], key=lambda branch: branch["index"])
    keys = ("index", "round", "answer", "tokens", "finish", "text")
    return {
        **{key: state[key] for key in ("answer", "verdict", "stop_reason", "rounds", "text")},
        "main": state["usage"]["main"],
        "branches": [{key: branch[key] for key in keys} for branch in branches],
    }


@savers
async def test_after_a_crash_in_mid_round_only_the_unfinished_branches_run_again(
    saver: Any, tmp_path: Path
):
    script = ByBranch([reply(a, n) for a in "12" for n in (SHORT, LONG, SHORT)])
    config: Any = {"configurable": {"thread_id": "t"}}
    whole, _ = await run("self_consistency", FakeEngine(script), policy="fixed", **SETTINGS)

    async with saver(tmp_path) as checkpointer:
        graph = find_algorithm("self_consistency").compile(checkpointer=checkpointer)
        died = await run_until_it_dies(graph, config, script, after=4, policy="fixed")
        again, state = await resume(graph, config, script, policy="fixed")

    assert (len(died.requests), len(again.requests)) == (6, 2)
    assert essence(state) == essence(whole)
    # What was restored is on the ledger too.
    assert state["usage"]["main"] - (await again.load()).generated == 4 * SHORT


@savers
async def test_after_a_crash_in_the_second_round_the_first_is_not_run_again(
    saver: Any, tmp_path: Path
):
    answers = ["1", "1", "1", "1", "2", "1", "1", "2", "1"]
    lengths = [SHORT] * 5 + [SHORT, LONG, SHORT, LONG]
    script = ByBranch([reply(a, n) for a, n in zip(answers, lengths, strict=True)])
    more: dict[str, Any] = {"policy": "certaindex", "branches": 9}
    config: Any = {"configurable": {"thread_id": "t"}}
    whole, _ = await run("self_consistency", FakeEngine(script), **{**SETTINGS, **more})

    async with saver(tmp_path) as checkpointer:
        graph = find_algorithm("self_consistency").compile(checkpointer=checkpointer)
        died = await run_until_it_dies(graph, config, script, after=7, **more)
        again, state = await resume(graph, config, script, **more)

    assert (len(died.requests), len(again.requests)) == (9, 2)
    assert essence(state) == essence(whole)


@savers
async def test_under_a_parent_only_the_unfinished_branches_run_again_too(
    saver: Any, tmp_path: Path
):
    class Task(TypedDict, total=False):
        question: str
        answer: str
        branches: Annotated[list[Branch], operator.add]

    script = ByBranch([reply(a, n) for a in "12" for n in (SHORT, LONG, SHORT)])
    child = find_algorithm("self_consistency").compile()
    parent = StateGraph(Task).add_node("ask", child).add_edge(START, "ask").add_edge("ask", END)
    settings = {**SETTINGS, "policy": "fixed"}

    async with saver(tmp_path) as checkpointer:
        graph = parent.compile(checkpointer=checkpointer)
        died, finished = FakeEngine(script), 0
        with registered(died) as name:
            context: Any = {"dynasor": {"engine": name, **settings}}
            parts: Any = graph.astream(
                {"question": "q"}, CONFIG, context=context, stream_mode="custom", subgraphs=True
            )
            try:
                async for _, event in parts:
                    finished += event["event"] == "branch"
                    if finished == 4:
                        died.kill()
            except EngineDied:
                pass
            else:
                raise AssertionError("it did not notice that its engine died")
        again = FakeEngine(script)
        with registered(again) as name:
            context = {"dynasor": {"engine": name, **settings}}
            state = await graph.ainvoke(None, CONFIG, context=context)

    assert (len(died.requests), len(again.requests)) == (6, 2)
    assert (state["answer"], len(state["branches"])) == ("1", 6)
    assert [b["answer"] for b in sorted(state["branches"], key=lambda b: b["index"])] == [*"111222"]


@pytest.mark.parametrize(
    "smaller",
    [
        pytest.param({"sampling": {"max_tokens": 10, "seed": 1}}, id="max-tokens"),
        pytest.param({"budget": {"tokens": 10}}, id="budget"),
    ],
)
async def test_a_program_may_be_resumed_with_less_than_it_has_spent(smaller: dict[str, Any]):
    script = ByBranch([reply(a, n) for a in "12" for n in (SHORT, LONG, SHORT)])
    graph = find_algorithm("self_consistency").compile(checkpointer=InMemorySaver())
    await run_until_it_dies(graph, CONFIG, script, after=4, policy="fixed")

    again, state = await resume(graph, CONFIG, script, policy="fixed", **smaller)

    assert state["answer"] == "1"
    assert state["usage"]["main"] >= SHORT
    assert all(request.max_tokens <= 10 for request in again.requests)


async def test_a_program_that_crashed_between_verdict_and_state_stays_stopped():
    script = ByBranch([*replies(["1"] * 4), *replies(["2"] * 2, tokens=LONG)])
    config: Any = {"configurable": {"thread_id": "t"}}
    graph = find_algorithm("self_consistency").compile(checkpointer=InMemorySaver())
    engine = FakeEngine(script)
    with registered(engine) as name:
        parts: Any = graph.astream(
            {"question": "q"},
            config,
            context={"engine": name, **SETTINGS, "policy": "beta"},
            stream_mode="custom",
        )
        async with aclosing(parts):
            async for event in parts:
                if event.get("verdict") == "terminate":
                    break

    again, state = await resume(graph, config, script, policy="beta")

    assert (state["stop_reason"], state["answer"], state["rounds"]) == ("certain", "1", 1)
    assert [branch["answer"] for branch in state["branches"]].count("1") == 4
    assert (
        await again.load()
    ).generated < LONG  # the stragglers were not waited for this time either


CRASH = """
import asyncio, os, sys

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.engine import FakeEngine, register
from tests.executor.stage import reply
from tests.executor.test_program import CONFIG, LONG, SETTINGS, SHORT


class Saver(AsyncSqliteSaver):
    stored = 0

    async def aput_writes(self, config, writes, task_id, task_path=""):
        await super().aput_writes(config, writes, task_id, task_path)
        self.stored += any(channel == "__return__" for channel, _ in writes)
        if self.stored == 3:
            os._exit(9)


async def main():
    register("crash", FakeEngine([reply("1", n) for n in (SHORT, SHORT, LONG, SHORT, LONG, LONG)]))
    async with Saver.from_conn_string(sys.argv[1]) as saver:
        graph = find_algorithm("self_consistency").compile(checkpointer=saver)
        context = {"engine": "crash", "policy": "fixed", **SETTINGS}
        await graph.ainvoke({"question": "q"}, CONFIG, context=context, durability="sync")


asyncio.run(main())
"""

CONFIG: Any = {"configurable": {"thread_id": "t"}}


async def test_finished_branches_survive_the_death_of_the_process(tmp_path: Path):
    database = str(tmp_path / "checkpoints.sqlite")
    root = str(Path(__file__).parents[2])

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CRASH, database],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (9, "")

    async with AsyncSqliteSaver.from_conn_string(database) as saver:
        graph = find_algorithm("self_consistency").compile(checkpointer=saver)
        script = ByBranch([reply("2", SHORT)])
        again, state = await resume(graph, CONFIG, script, policy="fixed")

    assert len(again.requests) == 3
    answers = {branch["index"]: branch["answer"] for branch in state["branches"]}
    assert answers == {0: "1", 1: "1", 3: "1", 2: "2", 4: "2", 5: "2"}
    assert state["usage"]["main"] == 6 * SHORT


async def test_what_is_run_again_keeps_its_seed():
    script = ByBranch([reply(a, n) for a in "12" for n in (SHORT, LONG, SHORT)])
    graph = find_algorithm("self_consistency").compile(checkpointer=InMemorySaver())

    died = await run_until_it_dies(graph, CONFIG, script, after=4, policy="fixed")
    again, _ = await resume(graph, CONFIG, script, policy="fixed")

    seeds = [request.seed for request in died.requests]
    assert [request.seed for request in again.requests] == [seeds[1], seeds[4]]
    assert len(set(seeds)) == 6
