"""Accounts: a budget that all programs of a run share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime

from dynasor_graph.budget import Budget, Ledger, Usage
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError, EngineError
from dynasor_graph.executor import (
    Context,
    Reasoning,
    account,
    begin,
    open_account,
    program,
)
from dynasor_graph.results import Result
from dynasor_graph.runner import solve
from dynasor_graph.types import JSON, Request, StopReason
from tests.executor.stage import Thinker, registered, replies, reply, until

pytestmark = pytest.mark.anyio


async def solve_all(
    engine: FakeEngine, questions: Sequence[str], **given_settings: Any
) -> list[Result]:
    """Programs side by side, under the account "run"."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(solve(question, engine=engine, account="run", **given_settings))
            for question in questions
        ]
    return [task.result() for task in tasks]


def test_no_name_is_no_account():
    assert account(None) is None


def test_an_account_is_open_only_while_inside():
    with open_account("run", 5) as ledger:
        assert account("run") is ledger
        assert (ledger.limit, ledger.source) == (5, "run")
    with pytest.raises(ConfigError, match=r"no account 'run' is open.*open_account"):
        account("run")


def test_two_runs_of_one_name_cannot_be_open_at_a_time():
    with open_account("run", 5) as ledger:
        with (
            pytest.raises(ConfigError, match="account 'run' is open already"),
            open_account("run", 6),
        ):
            pass
        assert account("run") is ledger


async def test_a_program_that_names_no_open_account_is_refused():
    with pytest.raises(ConfigError, match="no account 'nobodys' is open"):
        await solve("q", engine=FakeEngine(), account="nobodys")


async def test_programs_of_a_run_share_its_budget_and_end_with_their_best_answers():
    engine = FakeEngine(replies(["1", "2", "2"]))

    with open_account("run", 300) as ledger:
        first, second = await solve_all(engine, ["a", "b"], policy="fixed")

    spent = first.usage + second.usage
    assert spent.generated == (await engine.load()).generated == ledger.usage.generated <= 300
    assert 300 - ledger.usage.generated < 24  # all that was of use was used
    assert {first.stop_reason, second.stop_reason} == {StopReason.TOKENS}
    assert first.answer is not None
    assert ledger.reserved == 0


async def test_a_programs_own_limit_binds_within_the_account():
    engine = FakeEngine(replies(["1"], tokens=20))

    with open_account("run", 1000) as ledger:
        result = await solve(
            "q", engine=engine, policy="fixed", account="run", budget=Budget(tokens=50)
        )

    assert (result.usage.generated, result.stop_reason) == (40, StopReason.TOKENS)
    assert ledger.usage.generated == 40


async def test_a_program_waits_for_what_others_may_give_back():
    engine = FakeEngine(replies(["1"], tokens=24))
    engine.gate.clear()

    with open_account("run", 60), registered(engine):
        async with asyncio.TaskGroup() as group:
            more: Any = {"account": "run", "branches": 1, "policy": "fixed", "engine": engine}
            first = group.create_task(solve("a", sampling={"max_tokens": 60}, **more))
            await until(lambda: len(engine.requests) == 1)
            second = group.create_task(solve("b", sampling={"max_tokens": 30}, **more))
            for _ in range(200):  # the first holds all there is
                await asyncio.sleep(0)
            assert len(engine.requests) == 1
            engine.gate.set()

    assert [request.max_tokens for request in engine.requests] == [60, 30]
    assert (first.result().answer, second.result().answer) == ("1", "1")
    assert second.result().stop_reason == StopReason.FINISHED


async def test_a_program_that_waits_for_others_still_keeps_its_deadline():
    engine = FakeEngine(replies(["1"], tokens=24))
    engine.gate.clear()

    with open_account("run", 60):
        async with asyncio.TaskGroup() as group:
            more: Any = {"account": "run", "policy": "fixed", "engine": engine}
            first = group.create_task(solve("a", sampling={"max_tokens": 60}, **more))
            await until(lambda: len(engine.requests) == 1)
            second = await solve("b", budget=Budget(seconds=0.05), **more)
            engine.gate.set()

    assert (second.stop_reason, second.answer, second.branches) == (StopReason.DEADLINE, None, 0)
    assert first.result().answer == "1"


@pytest.mark.parametrize(
    "algorithm", [pytest.param("self_consistency", id="votes"), pytest.param("cot", id="probes")]
)
async def test_a_program_that_fails_does_not_keep_the_others_waiting(algorithm: str):
    think = Thinker("." * 100 + "\\boxed{5}")

    def answer(prompt: str, request: Request) -> str:
        if "bad" in prompt:
            raise EngineError("this one cannot be answered")
        return think(prompt, request) if algorithm == "cot" else reply("5")

    engine = FakeEngine(answer)
    limits: Any = {"policy": "fixed", "sampling": {"max_tokens": 200}}

    with open_account("run", 300) as ledger:
        with pytest.raises(EngineError):
            await solve("bad", engine=engine, algorithm=algorithm, account="run", **limits)
        good = await solve("good", engine=engine, algorithm=algorithm, account="run", **limits)

    assert good.stop_reason is not None
    assert ledger.reserved == 0
    # What the failed program generated is not known: all it was granted counts as spent.
    assert ledger.usage.generated >= (await engine.load()).generated
    assert ledger.usage.generated <= 300


async def test_what_a_failed_program_generated_is_not_given_out_again():
    def answer(prompt: str, request: Request) -> str:
        if "bad" in prompt and len(engine.requests) == 2:
            raise EngineError("the second branch fails")
        return reply("5", tokens=140)

    engine = FakeEngine(answer)
    limits: Any = {"policy": "fixed", "sampling": {"max_tokens": 150}, "account": "run"}

    with open_account("run", 300) as ledger:
        with pytest.raises(EngineError):
            await solve("bad", engine=engine, **limits)
        good = await solve("good", engine=engine, **limits)

    assert (good.stop_reason, good.branches) == (StopReason.TOKENS, 0)
    assert (await engine.load()).generated <= ledger.usage.generated == 300


async def test_a_program_that_has_spent_its_own_budget_does_not_wait_for_others():
    engine = FakeEngine(replies(["1"], tokens=24))
    engine.gate.clear()

    with open_account("run", 1000):
        async with asyncio.TaskGroup() as group:
            more: Any = {"account": "run", "policy": "fixed", "engine": engine}
            first = group.create_task(solve("a", branches=1, **more))
            await until(lambda: len(engine.requests) == 1)
            other = FakeEngine(replies(["2"], tokens=24))
            spent = await solve("b", budget=Budget(tokens=30), **{**more, "engine": other})
            assert not first.done()
            engine.gate.set()

    assert (spent.answer, spent.branches, spent.stop_reason) == ("2", 1, StopReason.TOKENS)


async def test_a_program_that_is_cancelled_does_not_keep_the_others_waiting():
    engine = FakeEngine(replies(["1"], tokens=100))
    engine.gate.clear()

    with open_account("run", 400) as ledger:
        more: Any = {"account": "run", "engine": engine, "sampling": {"max_tokens": 300}}
        first = asyncio.get_running_loop().create_task(solve("a", **more))
        await until(lambda: len(engine.requests) == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        engine.gate.set()
        second = await solve("b", **more)

    assert second.stop_reason == StopReason.TOKENS
    assert (second.answer, ledger.reserved) == ("1", 0)
    assert (await engine.load()).generated <= 400


async def test_chains_of_thought_wait_for_what_others_may_give_back():
    # Each reserves a round of 2048 tokens, needs some 300, and returns the rest.
    engine = FakeEngine(Thinker("x" * 5000, last="\\boxed{5}"))

    with open_account("run", 3000) as ledger:
        results = await solve_all(engine, [f"q{i}" for i in range(6)], algorithm="cot")

    assert [result.answer for result in results] == ["5"] * 6
    assert {result.stop_reason for result in results} == {StopReason.CERTAIN}
    assert ledger.usage.generated == (await engine.load()).generated <= 3000


async def test_chains_of_thought_share_what_is_not_enough_for_all():
    engine = FakeEngine(Thinker("x" * 5000, lambda at: f"{at}}}", last="\\boxed{5}"))

    with open_account("run", 1000) as ledger:
        results = await solve_all(engine, [f"q{i}" for i in range(4)], algorithm="cot")

    assert {result.stop_reason for result in results} == {StopReason.TOKENS}
    assert ledger.usage.generated == (await engine.load()).generated <= 1000
    assert any(result.answer for result in results)
    assert ledger.reserved == 0


async def test_a_last_text_waits_for_what_others_may_give_back():
    async def conclude(state: Reasoning, runtime: Runtime[Context]) -> JSON:
        async with program(state, runtime, Context) as p:
            return {"text": await p.say(await p.prompt(), 30)}

    graph: Any = StateGraph(Reasoning, context_schema=Context).add_node(begin).add_node(conclude)
    graph = graph.add_edge(START, "begin").add_edge("begin", "conclude").compile()
    engine = FakeEngine(replies(["1"], tokens=24))

    with open_account("run", 100) as ledger, registered(engine) as name:
        held = ledger.reserve(90)
        assert held is not None
        context = {"engine": name, "account": "run"}
        task = asyncio.ensure_future(graph.ainvoke({"question": "q"}, context=context))
        for _ in range(200):
            await asyncio.sleep(0)
        assert engine.requests == []
        ledger.settle(held, Usage(main=10))
        state = await task

    assert [request.max_tokens for request in engine.requests] == [30]
    assert state["text"] == reply("1", tokens=24)


async def test_a_chain_that_waits_for_others_still_keeps_its_deadline():
    engine = FakeEngine(Thinker("x" * 5000))
    engine.gate.clear()

    with open_account("run", 2750):  # the first round takes all but the answer
        async with asyncio.TaskGroup() as group:
            more: Any = {"account": "run", "engine": engine, "algorithm": "cot"}
            first = group.create_task(solve("a", sampling={"max_tokens": 4000}, **more))
            await until(lambda: len(engine.requests) == 1)
            second = await solve("b", round_tokens=500, budget=Budget(seconds=0.05), **more)
            engine.gate.set()

    assert (second.stop_reason, second.answer, second.branches) == (StopReason.DEADLINE, None, 0)
    assert first.result().answer == "5"


@settings(max_examples=30, deadline=None)
@given(
    tokens=st.integers(1, 700),
    lengths=st.lists(st.integers(16, 90), min_size=1, max_size=5),
    programs=st.integers(1, 4),
    own=st.one_of(st.none(), st.integers(1, 300)),
    policy=st.sampled_from(["fixed", "beta", "certaindex"]),
    max_tokens=st.integers(1, 100),
)
def test_the_budget_of_a_run_is_never_passed(
    tokens: int, lengths: list[int], programs: int, own: int | None, policy: str, max_tokens: int
):
    engine = FakeEngine([reply(str(n % 2), n) for n in lengths])

    async def run_all() -> tuple[list[Result], Ledger, int]:
        with open_account("run", tokens) as ledger:
            results = await solve_all(
                engine,
                [f"q{i}" for i in range(programs)],
                policy=policy,
                branches=6,
                budget=Budget(tokens=own),
                sampling={"max_tokens": max_tokens},
            )
        return results, ledger, (await engine.load()).generated

    results, ledger, generated = asyncio.run(run_all())

    assert sum(result.usage.generated for result in results) == ledger.usage.generated == generated
    assert generated <= tokens
    assert own is None or all(result.usage.generated <= own for result in results)
    assert ledger.reserved == 0
