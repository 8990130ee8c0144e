"""Showing: one branch at a time is shown as it grows, whole and in order; nothing else changes."""

from __future__ import annotations

import json

import pytest

from dynasor_graph.engine import FakeEngine
from dynasor_graph.types import JSON, Message
from tests.executor.stage import Thinker, replies, run

pytestmark = pytest.mark.anyio


def shown(events: list[JSON], part: str = "reasoning") -> dict[int, str]:
    """Text that was shown of each branch, in the order in which they were."""
    texts: dict[int, str] = {}
    for event in events:
        if event["event"] == "text" and event["part"] == part:
            texts[event["branch"]] = texts.get(event["branch"], "") + event["text"]
    return texts


async def test_nothing_is_shown_unless_it_is_asked_for():
    engine = FakeEngine(replies(["1", "1"]))
    _, events = await run("self_consistency", engine, policy="fixed", branches=2)
    assert shown(events) == {}
    assert {request.chunk for request in engine.requests} == {0}


@pytest.mark.parametrize(
    ("window", "branches"),
    [
        pytest.param(1, [0, 1, 2, 3], id="one by one: each is shown"),
        pytest.param(4, [0], id="all at once: the first"),
        pytest.param(2, [0, 2], id="the next that begins when one has ended"),
    ],
)
async def test_one_branch_is_shown_at_a_time(window: int, branches: list[int]):
    engine = FakeEngine(replies(["1", "2", "1", "2"]))
    state, events = await run(
        "self_consistency",
        engine,
        policy="fixed",
        branches=4,
        stream_tokens=5,
        budget={"concurrency": window},
    )
    texts = shown(events)
    assert list(texts) == branches
    assert texts == {index: state["branches"][index]["text"] for index in branches}
    assert sum(request.chunk == 5 for request in engine.requests) == len(branches)


async def test_a_chain_is_shown_with_its_last_word_and_its_probes_are_not():
    engine = FakeEngine(Thinker("so far, " * 40, last="it is \\boxed{5}"))
    state, events = await run("cot", engine, interval=64, stream_tokens=16)
    (thought,) = shown(events).values()
    (said,) = shown(events, "answer").values()
    assert state["text"] == f"{thought}\n</think>\n{said}"
    assert said == "it is \\boxed{5}"
    assert state["stop_reason"] == "certain"


async def test_a_round_that_is_cut_goes_on_being_shown_in_the_next():
    chain = "so far, " * 40 + "</think>\\boxed{5}"
    _, events = await run(
        "cot", FakeEngine(Thinker(chain)), policy="fixed", stream_tokens=16, round_tokens=100
    )
    assert "".join(shown(events).values()) == chain


async def test_a_chat_is_asked_with_all_its_messages_and_tools():
    chat: list[Message] = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "6 * 7?"},
    ]
    engine = FakeEngine(replies(["42"]))
    tool = {"type": "function", "function": {"name": "add"}}
    state, _ = await run(
        "self_consistency", engine, question=chat, system="Be brief.", tools=[tool], branches=1
    )
    (request,) = engine.requests
    asked = bytes(request.tokens).decode().splitlines()
    assert asked[0] == f"tools: {json.dumps([tool])}"
    assert asked[1:] == [
        "system: Be brief.",
        "user: hello",
        "assistant: hi",
        "user: 6 * 7?",
        "assistant: ",
    ]
    assert state["answer"] == "42"
