"""Programs that are told to stop: at any moment, under any algorithm, they answer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from dynasor_graph.algorithms import ALGORITHMS
from dynasor_graph.engine import FakeEngine
from dynasor_graph.executor import Judged, stop_program
from dynasor_graph.questions import Question
from dynasor_graph.results import Result
from dynasor_graph.reward import FunctionReward
from dynasor_graph.runner import solve, stream
from dynasor_graph.types import StopReason
from tests.executor.stage import Thinker, Watched, is_last_word, reply, until

pytestmark = pytest.mark.anyio

THOUGHT = "Step one.\nStep two.\n" * 30 + "</think> So it is \\boxed{42}."


def settings(name: str) -> dict[str, Any]:
    if issubclass(ALGORITHMS[name].settings, Judged):
        return {"reward": FunctionReward(lambda partial: 0.5)}
    return {}


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_a_program_that_is_told_to_stop_answers_and_frees_the_engine(name: str):
    engine = FakeEngine([THOUGHT], speed=4)
    told = 0
    question = Question(id="one", text="6 * 7?")
    how = {"policy": "fixed", "stream_tokens": 8, **settings(name)}
    items = stream(question, algorithm=name, engine=engine, **how)
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Result):
                assert item.stop_reason == StopReason.STOPPED
                assert item.usage.generated == (await engine.load()).generated
            elif item["event"] in {"text", "step"} and not told:
                told += await stop_program("one")
    assert told
    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)


async def test_a_program_is_stopped_between_two_of_its_nodes():
    engine = FakeEngine([THOUGHT], speed=16)
    question = Question(id="one", text="6 * 7?")
    items = stream(question, algorithm="cot", engine=engine, policy="fixed", round_tokens=100)
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Result):
                assert item.stop_reason == StopReason.STOPPED
                assert item.usage.main < len(THOUGHT)
            elif item["event"] == "branch":  # a round has ended: its node may be over
                await stop_program("one")


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_a_program_that_is_stopped_before_it_begins_samples_nothing(name: str):
    engine = FakeEngine(["\\boxed{42}"], speed=4)
    question = Question(id="one", text="6 * 7?")
    async with aclosing(stream(question, algorithm=name, engine=engine, **settings(name))) as items:
        async for item in items:
            if isinstance(item, Result):
                assert item.stop_reason == StopReason.STOPPED
            elif item["event"] == "program":
                assert await stop_program("one")
            else:
                assert item["event"] in {"answer", "result"}
    assert len(engine.requests) <= 1  # the last word of a chain


async def test_branches_that_have_ended_vote():
    said = iter([reply("7"), reply("7")])
    engine = Watched(lambda prompt, request: next(said, "on and on " * 300), speed=1)
    how: dict[str, Any] = {"policy": "fixed", "branches": 6, "sampling": {"max_tokens": 4000}}
    running = asyncio.ensure_future(solve(Question(id="one", text="6 * 7?"), engine=engine, **how))
    await until(lambda: engine.now == 6)
    await until(lambda: engine.now == 4)
    assert await stop_program("one")
    result = await running
    assert (result.answer, result.stop_reason) == ("7", "stopped")
    assert result.usage.terminated > 0
    assert result.usage.generated == (await engine.load()).generated


@pytest.mark.parametrize(("times", "answer"), [(1, "5"), (2, None)])
async def test_a_chain_says_its_last_word_unless_it_is_told_again(times: int, answer: str | None):
    engine = FakeEngine(Thinker("so far, " * 300), speed=1)
    question = Question(id="one", text="q")
    running = asyncio.ensure_future(solve(question, algorithm="cot", engine=engine, policy="fixed"))
    await until(lambda: len(engine.requests) > 0)
    assert await stop_program("one")
    if times == 2:
        await until(lambda: any(map(is_last_word, engine.requests)))
        assert await stop_program("one")
    result = await running
    assert (result.answer, result.stop_reason) == (answer, "stopped")


async def test_a_program_that_is_not_there_cannot_be_stopped():
    assert not await stop_program("nobody")
