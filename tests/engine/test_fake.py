"""The scripted engine: its scripts, its gate, its slots and its death."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from dynasor_graph.engine import FakeEngine, complete
from dynasor_graph.errors import EngineDied, EngineError
from dynasor_graph.types import Message, Request

pytestmark = pytest.mark.anyio


async def say(engine: FakeEngine, text: str = "", max_tokens: int = 100) -> str:
    request = Request(tokens=tuple(await engine.encode(text)), max_tokens=max_tokens)
    return (await complete(engine, request)).text


# Scripts -------------------------------------------------------------------------------------


async def test_a_list_is_said_in_turn_and_then_again() -> None:
    engine = FakeEngine(["one", "two"])
    assert [await say(engine) for _ in range(5)] == ["one", "two", "one", "two", "one"]


async def test_a_mapping_answers_by_a_text_in_the_prompt() -> None:
    engine = FakeEngine({"2 + 2": "four", "2": "two", "": "what?"})
    assert await say(engine, "What is 2 + 2?") == "four"
    assert await say(engine, "What is 2 - 2?") == "two"
    assert await say(engine, "Hello") == "what?"


async def test_a_prompt_that_no_script_fits_is_shown() -> None:
    engine = FakeEngine({"2 + 2": "four"})
    with pytest.raises(EngineError, match="no scripted reply for the prompt 'What is 3 - 1'"):
        await say(engine, "What is 3 - 1")
    assert (await engine.load()).running == 0


async def test_a_rule_sees_prompt_and_request() -> None:
    engine = FakeEngine(lambda prompt, request: f"{prompt.upper()} at most {request.max_tokens}")
    assert await say(engine, "hello", 50) == "HELLO at most 50"


async def test_an_empty_list_of_replies_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        FakeEngine([])


async def test_without_a_script_it_answers_all_the_same() -> None:
    assert await say(FakeEngine()) == "\\boxed{42}"


# Tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 7])
async def test_letters_of_several_bytes_survive_any_chunking(chunk: int) -> None:
    text = "½ of π ≈ 1,57 ✓ 🎲"
    engine = FakeEngine([text], speed=5)
    done = await complete(engine, Request(tokens=(1,), max_tokens=99, chunk=chunk))
    assert done.text == text == await engine.decode(done.token_ids)
    assert done.tokens == len(text.encode()) + 1


@pytest.mark.parametrize(
    ("max_tokens", "text", "tokens", "reason"),
    [
        pytest.param(3, "hel", 3, "length", id="cut"),
        pytest.param(5, "hello", 5, "length", id="no-room-for-the-end"),
        pytest.param(6, "hello", 6, "stop", id="just-enough"),
    ],
)
async def test_the_end_of_text_is_a_token_too(
    max_tokens: int, text: str, tokens: int, reason: str
) -> None:
    done = await complete(FakeEngine(["hello"]), Request(tokens=(1,), max_tokens=max_tokens))
    assert (done.text, done.tokens, done.finish_reason) == (text, tokens, reason)


@pytest.mark.parametrize(
    ("stop", "text", "tokens"),
    [
        pytest.param(("c",), "ab", 3, id="one"),
        pytest.param(("e", "cd"), "ab", 4, id="the-one-that-comes-first"),
        pytest.param(("x", "fg"), "abcdef", 6, id="not-within-the-limit"),
    ],
)
async def test_stop_texts_end_a_reply(stop: tuple[str, ...], text: str, tokens: int) -> None:
    request = Request(tokens=(1,), max_tokens=6, stop=stop, chunk=1)
    done = await complete(FakeEngine(["abcdefgh"], speed=1), request)
    assert (done.text, done.tokens) == (text, tokens)


async def test_a_chat_is_one_line_for_each_message() -> None:
    engine = FakeEngine()
    chat: list[Message] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2 + 2?"},
    ]
    plain, thinking = await engine.render(chat), await engine.render(chat, thinking=True)
    assert await engine.decode(plain) == "system: Be brief.\nuser: 2 + 2?\nassistant: "
    assert await engine.decode(thinking[len(plain) :]) == "<think>\n"


async def test_it_remembers_its_requests_oldest_first() -> None:
    engine = FakeEngine()
    requests = [Request(tokens=(i,), max_tokens=4) for i in range(3)]
    for request in requests:
        await complete(engine, request)
    assert engine.requests == requests


# Gate, slots, death ----------------------------------------------------------------------------


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_closed_gate_holds_requests_where_they_are() -> None:
    engine = FakeEngine(["abcdef"], speed=1)
    async with aclosing(engine.stream(Request(tokens=(1,), max_tokens=9, chunk=1))) as deltas:
        assert (await anext(deltas)).text == "a"
        engine.gate.clear()
        held = asyncio.ensure_future(anext(deltas))
        await turns(100)
        assert not held.done()
        assert (await engine.load()).generated == 1
        engine.gate.set()
        assert (await held).text == "b"


async def test_a_held_request_can_be_aborted() -> None:
    engine = FakeEngine(["abcdef"])
    engine.gate.clear()
    request = Request(tokens=(1,), max_tokens=9)
    reading = asyncio.ensure_future(complete(engine, request))
    await turns(10)
    await engine.abort(request)
    assert (await reading).finish_reason == "terminated"


async def test_of_those_that_wait_the_lowest_priority_number_goes_first() -> None:
    engine = FakeEngine(slots=1)
    order: list[int] = []

    async def read(priority: int) -> None:
        await complete(engine, Request(tokens=(1,), max_tokens=8, priority=priority))
        order.append(priority)

    engine.gate.clear()
    async with asyncio.TaskGroup() as group:
        for priority in (10, 11, 5, -1, 5):
            group.create_task(read(priority))
            await turns(1)
        assert (await engine.load()).waiting == 4
        engine.gate.set()
    assert order == [10, -1, 5, 5, 11]


async def test_no_more_requests_run_than_there_are_slots() -> None:
    engine = FakeEngine(["some words"], speed=1, slots=2)
    loads = []
    async with asyncio.TaskGroup() as group:
        for i in range(12):
            group.create_task(complete(engine, Request(tokens=(i,), max_tokens=5 + i)))
        for _ in range(40):  # those that come late find slots that others wait for
            await asyncio.sleep(0)
            loads.append(await engine.load())
            group.create_task(complete(engine, Request(tokens=(99,), max_tokens=1)))
    assert {load.running for load in loads} == {2}
    assert [request.tokens for request in engine.requests[:12]] == [(i,) for i in range(12)]
    assert (await engine.load()).running == (await engine.load()).waiting == 0


async def test_a_request_aborted_in_the_queue_takes_no_turn_of_the_script() -> None:
    engine = FakeEngine(["first", "second"], slots=1)
    engine.gate.clear()
    requests = [Request(tokens=(i,), max_tokens=9) for i in range(3)]
    tasks = [asyncio.ensure_future(complete(engine, request)) for request in requests]
    await turns(5)
    await engine.abort(requests[1])
    aborted = await tasks[1]
    assert (aborted.finish_reason, aborted.tokens) == ("terminated", 0)
    engine.gate.set()
    assert ((await tasks[0]).text, (await tasks[2]).text) == ("first", "second")


async def test_a_reader_cancelled_in_the_queue_gives_its_place_back() -> None:
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    tasks = [
        asyncio.ensure_future(complete(engine, Request(tokens=(i,), max_tokens=9)))
        for i in range(3)
    ]
    await turns(5)
    tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.wait(tasks[:2])
    await turns(5)
    load = await engine.load()
    assert (load.running, load.waiting) == (1, 0)
    engine.gate.set()
    assert (await tasks[2]).finish_reason == "length"


async def test_a_killed_engine_fails_what_runs_what_waits_and_what_comes() -> None:
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    tasks = [
        asyncio.ensure_future(complete(engine, Request(tokens=(i,), max_tokens=9)))
        for i in range(2)
    ]
    await turns(5)
    engine.kill()
    await asyncio.wait(tasks)
    assert [type(task.exception()) for task in tasks] == [EngineDied, EngineDied]
    with pytest.raises(EngineDied, match="killed"):
        await say(engine)
