"""ChatDynasor: what it passes on, what it reports, and that it frees the engine."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.load import dumpd, load
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel, ValidationError

from dynasor_graph.chat_model import ChatDynasor, opened
from dynasor_graph.engine import FakeEngine, forget, register
from dynasor_graph.errors import ConfigError, EngineRefused, EngineUnreachable, InputError
from tests.chat_model.obedient import obey
from tests.engine.stub import Reply, Stub
from tests.executor.stage import replies, until

pytestmark = pytest.mark.anyio

QUESTION = "6 * 7?"


def asked(engine: FakeEngine, at: int = -1) -> str:
    """The prompt of a request."""
    return bytes(engine.requests[at].tokens).decode()


async def test_a_reply_says_how_settled_it_is_and_what_it_cost():
    engine = FakeEngine(["<think>hm</think>so \\boxed{42}"])
    reply = await ChatDynasor(engine=engine, branches=20).ainvoke(QUESTION)
    assert reply.content == "so \\boxed{42}"
    assert reply.additional_kwargs == {"reasoning_content": "hm"}
    assert [block["type"] for block in reply.content_blocks] == ["reasoning", "text"]
    told = reply.response_metadata
    assert (told["certaindex"], told["stop_reason"], told["answer"]) == (1.0, "certain", "42")
    assert (told["model_name"], told["algorithm"]) == ("fake", "self_consistency")
    assert (told["branches"], told["rounds"]) == (5, 1)
    stopped = told["ledger"].get("terminated", 0)
    assert told["tokens_saved"] == told["decision"]["saved"] - stopped > 0
    usage: Any = reply.usage_metadata
    load = await engine.load()
    assert usage["output_tokens"] == load.generated == told["ledger"]["main"]
    assert usage["input_tokens"] == sum(len(request.tokens) for request in engine.requests)
    assert usage["input_token_details"]["cache_read"] == told["ledger"]["prompt_cached"]
    assert usage["output_token_details"]["reasoning"] == load.generated - len("so \\boxed{42}")


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        pytest.param({"temperature": 0.1}, "temperature", 0.1, id="temperature"),
        pytest.param({"top_p": 0.5}, "top_p", 0.5, id="top_p"),
        pytest.param({"max_tokens": 33}, "max_tokens", 33, id="max_tokens"),
        pytest.param({"stop": ["a", "b"]}, "stop", ("a", "b"), id="stop"),
    ],
)
@pytest.mark.parametrize("how", ["model", "call", "settings"])
async def test_sampling_reaches_the_engine(given: dict[str, Any], field: str, value: Any, how: str):
    engine = FakeEngine()
    if how == "settings":
        await ChatDynasor(engine=engine, settings={"sampling": given}).ainvoke(QUESTION)
    elif how == "model":
        await ChatDynasor(engine=engine, **given).ainvoke(QUESTION)
    else:
        model = ChatDynasor(engine=engine, **{field: {"stop": ["z"]}.get(field, 1)})
        await model.ainvoke(QUESTION, **given)
    assert {getattr(request, field) for request in engine.requests} == {value}


async def test_a_seed_makes_replies_repeatable_and_branches_differ():
    engine = FakeEngine()
    model = ChatDynasor(engine=engine, branches=3, policy="fixed", seed=7)
    for text in (QUESTION, QUESTION, "6 * 8?"):
        await model.ainvoke(text)
    seeds = [request.seed for request in engine.requests]
    assert seeds[:3] == seeds[3:6]
    assert len({*seeds}) == 6
    await ChatDynasor(engine=engine, branches=1).ainvoke(QUESTION)
    assert engine.requests[-1].seed is None


async def test_a_deadline_gives_the_best_answer_so_far():
    engine = FakeEngine(lambda prompt, request: "on and on " * 500, speed=1, context=10_000)
    reply = await ChatDynasor(engine=engine, timeout=0.05, max_tokens=5000).ainvoke(QUESTION)
    assert reply.response_metadata["stop_reason"] == "deadline"


async def test_running_out_of_tokens_is_a_length_finish():
    model = ChatDynasor(engine=FakeEngine(), settings={"budget": {"tokens": 3}})
    assert (await model.ainvoke(QUESTION)).response_metadata["finish_reason"] == "length"


async def test_a_conversation_reaches_the_engine_as_it_is():
    engine = FakeEngine()
    call = {"name": "add", "args": {"a": 1}, "id": "x", "type": "tool_call"}
    await ChatDynasor(engine=engine, branches=1).ainvoke(
        [
            SystemMessage("Be brief."),
            HumanMessage([{"type": "text", "text": "one"}, "two"]),
            AIMessage([{"type": "reasoning", "reasoning": "hm"}, "I add."], tool_calls=[call]),
            ToolMessage("3", tool_call_id="x"),
            ChatMessage(content="and now?", role="user"),
        ]
    )
    assert asked(engine).splitlines() == [
        "system: Be brief.",
        "user: one",
        "two",
        "assistant: I add.",
        "tool: 3",
        "user: and now?",
        "assistant: ",
    ]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        pytest.param([SystemMessage("Be brief.")], ["empty"], id="no-question"),
        pytest.param([HumanMessage(" ")], ["empty"], id="an-empty-question"),
        pytest.param(
            [HumanMessage([{"type": "image_url", "image_url": {"url": "data:,"}}])],
            ["message 1", "image_url", "text"],
            id="an-image",
        ),
        pytest.param(
            [HumanMessage("hi"), FunctionMessage(content="x", name="f")],
            ["message 2", "FunctionMessage"],
            id="a-role-that-templates-lack",
        ),
    ],
)
async def test_messages_that_cannot_be_asked_are_refused(messages: list[Any], words: list[str]):
    with pytest.raises(InputError) as refused:
        await ChatDynasor(engine=FakeEngine()).ainvoke(messages)
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"temperature": 9}, ["temperature", "9"], id="temperature"),
        pytest.param({"policy": "betta"}, ["betta", "beta"], id="policy"),
        pytest.param({"algorithm": "cott"}, ["cott", "cot"], id="algorithm"),
        pytest.param({"settings": {"colour": 1}}, ["colour"], id="an-unknown-setting"),
        pytest.param({"colour": 1}, ["colour"], id="an-unknown-parameter"),
        pytest.param({"base_url": "http://x"}, ["engine", "base_url"], id="engine-and-url"),
        pytest.param({"chunk_tokens": 0}, ["chunk_tokens"], id="no-chunk"),
    ],
)
def test_a_wrong_parameter_shows_at_once(given: dict[str, Any], words: list[str]):
    with pytest.raises(ValidationError) as refused:
        ChatDynasor(engine="default", **given)
    assert all(word in str(refused.value) for word in words)


async def test_a_wrong_argument_of_a_call_is_refused_by_its_name():
    with pytest.raises(ConfigError, match="logit_bias"):
        await ChatDynasor(engine=FakeEngine()).ainvoke(QUESTION, logit_bias={})


# Streaming ---------------------------------------------------------------------------------------


async def whole(chunks: AsyncIterator[AIMessageChunk]) -> tuple[Any, int]:
    """All chunks as one message, and how many of them had content."""
    read = [chunk async for chunk in chunks]
    message = read[0]
    for chunk in read[1:]:
        message += chunk
    return message, sum(bool(chunk.content) for chunk in read)


async def test_one_branch_streams_its_content_as_it_is_written():
    engine = FakeEngine(["<think>hm</think>" + "word " * 20 + "\\boxed{42}"], speed=4)
    model = ChatDynasor(engine=engine, branches=1, chunk_tokens=4)
    message, pieces = await whole(model.astream(QUESTION))
    assert pieces > 10
    assert message.content == "word " * 20 + "\\boxed{42}"
    assert message.additional_kwargs["reasoning_content"] == "hm"
    assert message.response_metadata["stop_reason"] == "finished"
    assert message.usage_metadata["output_tokens"] == (await engine.load()).generated


async def test_of_several_branches_reasoning_streams_and_the_content_comes_whole():
    model = ChatDynasor(engine=FakeEngine(replies(["1", "2", "2"])), branches=3, policy="fixed")
    message, pieces = await whole(model.astream(QUESTION))
    assert pieces == 1
    assert message.content.endswith("\\boxed{2}")
    assert message.additional_kwargs["reasoning_content"].endswith("\\boxed{1}")


async def test_a_stream_that_is_left_frees_every_branch():
    engine = FakeEngine(lambda prompt, request: "on and on " * 800, speed=1, context=20_000)
    model = ChatDynasor(engine=engine, max_tokens=8000)
    async with aclosing(model._astream([HumanMessage(QUESTION)])) as chunks:
        async for _ in chunks:
            break
    assert (await engine.load()).running == 0


async def test_a_call_that_is_cancelled_frees_every_branch():
    engine = FakeEngine()
    engine.gate.clear()
    call = asyncio.create_task(ChatDynasor(engine=engine).ainvoke(QUESTION))
    await until(lambda: len(engine.requests) == 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await engine.load()).running == 0


def test_a_stream_without_a_loop_that_is_left_frees_every_branch():
    engine = FakeEngine(lambda prompt, request: "on and on " * 800, speed=1, context=20_000)
    chunks = ChatDynasor(engine=engine, max_tokens=8000)._stream([HumanMessage(QUESTION)])
    next(chunks)
    chunks.close()
    assert asyncio.run(engine.load()).running == 0


def test_a_batch_asks_from_many_threads():
    engine = FakeEngine()
    said = ChatDynasor(engine=engine, branches=2, policy="fixed").batch(
        [f"{n} + {n}?" for n in range(8)]
    )
    assert {reply.content for reply in said} == {"\\boxed{42}"}
    assert len(engine.requests) == 16


# Tools and schemas -------------------------------------------------------------------------------


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def subtract(a: int, b: int) -> int:
    """Subtract two numbers."""
    return a - b


async def test_branches_vote_on_the_tools_that_they_call():
    calls = [f'<tool_call>{{"name": "add", "arguments": {{"a": {n}}}}}</tool_call>' for n in (1, 2)]
    engine = FakeEngine([calls[0], calls[1], calls[0], calls[0]])
    model = ChatDynasor(engine=engine, branches=4, policy="fixed").bind_tools([add])
    reply = await model.ainvoke("Add.")
    assert [(call["name"], call["args"]) for call in reply.tool_calls] == [("add", {"a": 1})]
    assert reply.content == ""
    assert 0 < reply.response_metadata["certaindex"] < 1
    assert reply.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("choice", "offered", "told"),
    [
        pytest.param(None, ["add", "subtract"], False, id="nothing-said"),
        pytest.param("auto", ["add", "subtract"], False, id="auto"),
        pytest.param("none", [], False, id="none"),
        pytest.param("any", ["add", "subtract"], True, id="any"),
        pytest.param("required", ["add", "subtract"], True, id="required"),
        pytest.param("subtract", ["subtract"], True, id="by-name"),
        pytest.param({"function": {"name": "add"}}, ["add"], True, id="as-openai-says-it"),
    ],
)
async def test_a_choice_of_tools_is_told_to_the_model(choice: Any, offered: list[str], told: bool):
    engine = FakeEngine(obey)
    model = ChatDynasor(engine=engine, branches=1).bind_tools([add, subtract], tool_choice=choice)
    await model.ainvoke("Add 1 and 2.")
    prompt = asked(engine)
    assert [name for name in ("add", "subtract") if f'"name": "{name}"' in prompt] == offered
    assert ("Answer by calling" in prompt) is told


def test_a_choice_of_a_tool_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"multiply.*add"):
        ChatDynasor(engine="default").bind_tools([add], tool_choice="multiply")


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


@pytest.mark.parametrize("method", ["function_calling", "json_mode"])
async def test_a_reply_that_fits_no_schema_is_an_error_that_raw_replies_keep(method: Any):
    model = ChatDynasor(engine=FakeEngine(["no joke"]), branches=1)
    shaped = model.with_structured_output(Joke, method=method, include_raw=True)
    reply: Any = await shaped.ainvoke("A joke?")
    assert reply["raw"].content == "no joke"
    assert reply["parsed"] is None


def test_an_unknown_method_of_structured_output_is_refused():
    model: Any = ChatDynasor(engine="default")
    with pytest.raises(ConfigError, match="method"):
        model.with_structured_output(Joke, method="grammar")


# In an agent, and elsewhere ----------------------------------------------------------------------


async def test_in_a_graph_with_a_checkpointer_a_program_is_no_part_of_the_graph():
    model = ChatDynasor(engine=FakeEngine(), branches=3)

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    saver = InMemorySaver()
    graph = StateGraph(MessagesState).add_node(think).add_edge(START, "think").compile(saver)
    thread: Any = {"configurable": {"thread_id": "1"}}
    start: Any = {"messages": QUESTION}
    run = graph.astream(start, thread, stream_mode="custom", subgraphs=True)
    assert [part async for part in run] == []
    assert {*saver.storage["1"]} == {""}, "no checkpoint of a subgraph"


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(lambda model: pickle.loads(pickle.dumps(model)), id="pickle"),
        pytest.param(
            lambda model: load(
                dumpd(model), valid_namespaces=["dynasor_graph"], allowed_objects=[ChatDynasor]
            ),
            id="langchain",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_a_model_comes_back_as_it_was(again: Callable[[ChatDynasor], ChatDynasor]):
    model = ChatDynasor(model="abacus-7m", branches=4, policy="beta", temperature=0.3)
    assert again(model).model_dump() == model.model_dump()


async def test_a_registered_name_is_looked_up_at_the_call():
    model = ChatDynasor(engine="by-and-by", branches=1)
    with pytest.raises(ConfigError, match="by-and-by"):
        await model.ainvoke(QUESTION)
    register("by-and-by", FakeEngine())
    try:
        assert (await model.ainvoke(QUESTION)).content == "\\boxed{42}"
    finally:
        forget("by-and-by")


@pytest.mark.vllm
def test_a_model_is_opened_at_the_first_call_and_serves_loops_and_none(vllm_engine):
    register("chat:abacus-7m", vllm_engine)  # in the place of the one that would be opened
    opened._known.add("chat:abacus-7m")
    try:
        model = ChatDynasor(branches=2, max_tokens=16, temperature=0)
        said = model.invoke("Ada has 7 coins. How many coins does Ada have?")
        for _ in range(2):
            again = asyncio.run(model.ainvoke("Ada has 7 coins. How many coins does Ada have?"))
            assert again.content == said.content
    finally:
        forget("chat:abacus-7m")
        opened._known.discard("chat:abacus-7m")


# Against a server --------------------------------------------------------------------------------

CHAT = "POST /v1/chat/completions"
DONE = {
    "certaindex": 0.8,
    "stop_reason": "certain",
    "rounds": 1,
    "branches": 5,
    "tokens_saved": 60,
}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def completion(**more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "42", "reasoning_content": "hm", **more}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    row = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return row | {"usage": USAGE, "x_dynasor": DONE}


def deltas() -> str:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    parts: list[dict[str, Any]] = [
        {"role": "assistant", "reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"content": "4"},
        {"content": "2"},
        {"tool_calls": [{"index": 0, **CALL}]},
    ]
    rows = [head | {"choices": [{"index": 0, "delta": part}]} for part in parts]
    rows.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    rows.append(head | {"choices": [], "usage": USAGE, "x_dynasor": DONE})
    return "".join(f"data: {json.dumps(row)}\n\n" for row in rows) + "data: [DONE]\n\n"


def check(reply: AIMessage) -> None:
    assert reply.content == "42"
    assert reply.additional_kwargs["reasoning_content"] == "hm"
    assert [call["args"] for call in reply.tool_calls] == [{"a": 1}]
    assert reply.response_metadata.items() >= DONE.items()
    assert reply.usage_metadata == {
        "input_tokens": 9,
        "output_tokens": 7,
        "total_tokens": 16,
        "input_token_details": {"cache_read": 4},
        "output_token_details": {"reasoning": 5},
    }


async def test_a_server_is_asked_for_all_that_was_set():
    async with Stub({CHAT: Reply(completion(tool_calls=[CALL]))}) as stub:
        model = ChatDynasor(
            base_url=stub.url,
            api_key="k",
            model="abacus-7m",
            algorithm="cot",
            temperature=0.5,
            max_tokens=9,
            seed=3,
            stop=["x"],
            timeout=4,
            thinking=True,
            settings={"interval": 32, "sampling": {"top_k": 3}},
        )
        check(await model.bind_tools([add]).ainvoke(QUESTION))
        (body,) = stub.bodies
    assert "authorization: bearer k" in stub.heads[0].lower()
    (tool,) = body.pop("tools")
    assert tool["function"]["name"] == "add"
    assert body == {
        "model": "abacus-7m@cot",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 3,
        "stop": ["x"],
        "x_dynasor": {
            "interval": 32,
            "thinking": True,
            "sampling": {"top_k": 3},
            "budget": {"seconds": 4.0},
        },
    }


async def test_a_server_streams():
    async with Stub({CHAT: Reply(deltas())}) as stub:
        message, pieces = await whole(ChatDynasor(base_url=stub.url).astream(QUESTION))
        assert stub.bodies[0]["stream_options"] == {"include_usage": True}
    assert pieces == 2
    check(message)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        pytest.param(
            Reply({"error": {"message": "temperature: too high"}}, status=400),
            EngineRefused,
            "temperature: too high",
            id="bad-request",
        ),
        pytest.param(
            Reply({"error": {"message": "no"}}, status=401), EngineRefused, "key", id="wrong-key"
        ),
        pytest.param(
            Reply(completion(tool_calls=[CALL | {"function": {"name": "f", "arguments": "{"}}])),
            EngineRefused,
            "no JSON",
            id="a-call-that-is-cut",
        ),
    ],
)
async def test_what_a_server_refuses_is_said(reply: Reply, error: type[Exception], words: str):
    async with Stub({CHAT: reply}) as stub:
        model = ChatDynasor(base_url=stub.url, max_retries=0)
        with pytest.raises(error, match=words):
            await model.ainvoke(QUESTION)


async def test_a_server_that_is_not_there_is_named():
    model = ChatDynasor(base_url="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1:9"):
        await model.ainvoke(QUESTION)
