"""The clients that people have: the official one of OpenAI, LangChain's, and our own."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI

from dynasor_graph.chat_model import ChatDynasor
from dynasor_graph.errors import EngineRefused
from tests.server.conftest import MODEL, Served

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def sync(served: Served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("algorithm", ["", "@direct", "@self_consistency", "@cot"])
def test_the_official_client_asks(sync: openai.OpenAI, algorithm: str):
    reply = sync.chat.completions.create(
        model=MODEL + algorithm,
        messages=[{"role": "user", "content": "6 * 7?"}],
        temperature=0.5,
        seed=3,
        extra_body={"x_dynasor": {"budget": {"seconds": 60}}},
    )
    (choice,) = reply.choices
    assert choice.message.content == "It is \\boxed{42}."
    assert choice.finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    told = reply.model_dump()["x_dynasor"]
    assert told["answer"] == "42"
    assert sum(told["ledger"].get(k, 0) for k in ("main", "terminated", "probe")) == (
        reply.usage.completion_tokens
    )


@pytest.mark.parametrize("algorithm", ["@direct", "@self_consistency", "@cot"])
def test_the_official_client_streams(sync: openai.OpenAI, algorithm: str):
    chunks = list(
        sync.chat.completions.create(
            model=MODEL + algorithm,
            messages=[{"role": "user", "content": "6 * 7?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *said, last, usage = chunks
    deltas = [chunk.choices[0].delta for chunk in said]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "It is \\boxed{42}."
    assert (last.choices[0].finish_reason, usage.choices) == ("stop", [])
    assert usage.usage is not None
    assert usage.usage.completion_tokens > 0
    reasoning = "".join(delta.model_dump().get("reasoning_content") or "" for delta in deltas)
    assert bool(reasoning) is (algorithm != "@direct")
    assert len(deltas) > 3  # it comes as it is written, not all at the end


def test_the_official_client_accumulates_a_stream(sync: openai.OpenAI):
    with sync.chat.completions.stream(
        model=f"{MODEL}@direct",
        messages=[{"role": "user", "content": "What is the weather?"}],
        tools=[WEATHER],  # type: ignore[list-item]
    ) as stream:
        reply = stream.get_final_completion()
    (call,) = reply.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Jena"}')
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.content == "Let me see."


def test_the_official_client_asks_many_at_once(served: Served):
    async def all_() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none") as client:

            async def one(number: int) -> str | None:
                reply = await client.chat.completions.create(
                    model=f"{MODEL}@direct",
                    messages=[{"role": "user", "content": f"6 * 7? ({number})"}],
                )
                return reply.choices[0].message.content

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(number)) for number in range(40)]
            return [task.result() for task in tasks]

    assert asyncio.run(all_()) == ["It is \\boxed{42}."] * 40


def test_the_official_client_completes_and_lists_models(sync: openai.OpenAI):
    text = sync.completions.create(model=f"{MODEL}@direct", prompt="6*7=", n=2)
    assert [choice.text for choice in text.choices] == ["It is \\boxed{42}."] * 2
    stream = sync.completions.create(model=f"{MODEL}@direct", prompt="6*7=", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "It is \\boxed{42}."
    names = [model.id for model in sync.models.list()]
    assert {MODEL, f"{MODEL}@cot", f"{MODEL}@direct"} <= set(names)
    assert sync.models.retrieve(f"{MODEL}@cot").id == f"{MODEL}@cot"


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        pytest.param({"model": "gpt-9"}, openai.NotFoundError, "model", id="no such model"),
        pytest.param({"temperature": 3.0}, openai.BadRequestError, "temperature", id="too hot"),
        pytest.param({"logprobs": True}, openai.BadRequestError, "logprobs", id="not honoured"),
        pytest.param({"extra_body": {"foo": 1}}, openai.BadRequestError, "foo", id="not known"),
    ],
)
def test_the_official_client_is_told_what_is_wrong(sync: openai.OpenAI, fields, error, param):
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "6 * 7?"}], **fields}
    with pytest.raises(error) as refused:
        sync.chat.completions.create(**asked)
    assert refused.value.param == param


def langchain(served: Served, **options) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{served.url}/v1", api_key="none", model=f"{MODEL}@direct", **options
    )


def test_langchain_asks_and_streams(served: Served):
    model = langchain(served, temperature=0.2, max_tokens=500)
    reply = model.invoke("6 * 7?")
    assert reply.content == "It is \\boxed{42}."
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["output_tokens"] > 0
    chunks = list(model.stream("6 * 7?"))
    assert "".join(str(chunk.content) for chunk in chunks) == "It is \\boxed{42}."
    assert len(chunks) > 3


def test_langchain_calls_tools_and_answers_them(served: Served):
    model = langchain(served).bind_tools([WEATHER])
    reply = model.invoke("What is the weather?")
    (call,) = reply.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Jena"})
    answered = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    again = model.invoke([{"role": "user", "content": "And 6 * 7?"}, reply, answered])
    assert again.content == "It is \\boxed{42}."


def test_langchain_asks_many_at_once(served: Served):
    replies = asyncio.run(langchain(served).abatch(["6 * 7?"] * 8))
    assert [reply.content for reply in replies] == ["It is \\boxed{42}."] * 8


# ChatDynasor -------------------------------------------------------------------------------------


def ours(served: Served, **options: Any) -> ChatDynasor:
    return ChatDynasor(base_url=served.url, model=MODEL, **options)


@pytest.mark.parametrize("algorithm", ["direct", "self_consistency", "cot"])
def test_our_chat_model_is_told_how_settled_a_reply_is(served: Served, algorithm: str):
    model = ours(served, algorithm=algorithm, temperature=0.3, timeout=60.0)
    reply = model.invoke("6 * 7?")
    assert reply.content == "It is \\boxed{42}."
    told = reply.response_metadata
    assert (told["answer"], told["algorithm"]) == ("42", algorithm)
    assert 0 <= told["certaindex"] <= 1
    assert told["stop_reason"] in {"certain", "finished"}
    assert told["finish_reason"] == "stop"
    usage: Any = reply.usage_metadata
    ledger = told["ledger"]
    assert usage["output_tokens"] == sum(
        ledger.get(kind, 0) for kind in ("main", "terminated", "probe")
    )


def test_our_chat_model_streams_and_its_chunks_add_up(served: Served):
    whole = ours(served, algorithm="direct").invoke("6 * 7?")
    chunks = list(ours(served, algorithm="direct", streaming=True).stream("6 * 7?"))
    assert len(chunks) > 3
    joined = sum(chunks[1:], chunks[0])
    assert joined.content == whole.content
    assert joined.response_metadata["certaindex"] == whole.response_metadata["certaindex"]
    assert joined.usage_metadata == whole.usage_metadata


@pytest.mark.parametrize("stream", [False, True])
def test_our_chat_model_calls_tools(served: Served, stream: bool):
    model = ours(served, branches=5).bind_tools([WEATHER])
    reply = model.invoke("What is the weather?")
    if stream:
        first, *rest = model.stream("What is the weather?")
        reply = sum(rest, first)
    (call,) = reply.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Jena"})
    assert reply.response_metadata["certaindex"] == 1.0


def test_our_chat_model_says_what_the_server_refused(served: Served):
    with pytest.raises(EngineRefused, match="branches"):
        ours(served, branches=10_000).invoke("6 * 7?")
