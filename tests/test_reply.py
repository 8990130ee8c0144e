"""Replies: a text taken apart, at once and while it comes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import aclosing

import pytest
from hypothesis import example, given, strategies as st

from dynasor_graph.engine import FakeEngine
from dynasor_graph.reply import LiveReply, Piece, Reply, Splitter, ToolCall
from dynasor_graph.results import Result
from dynasor_graph.runner import configure, stream

ADD = ToolCall(name="add", arguments={"a": 1})
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        pytest.param("Hello.", Reply(content="Hello."), id="content-alone"),
        pytest.param("", Reply(content=""), id="nothing"),
        pytest.param(
            "hm\n</think>\n\n42", Reply(content="42", reasoning="hm"), id="opened-by-the-prompt"
        ),
        pytest.param(
            "\n<think>hm</think>42", Reply(content="42", reasoning="hm"), id="opened-by-the-model"
        ),
        pytest.param("<think>hm", Reply(content="", reasoning="hm"), id="never-closed"),
        pytest.param(
            "a </think> b </think> c",
            Reply(content="b </think> c", reasoning="a"),
            id="the-first-end-counts",
        ),
        pytest.param(
            f"I add.\n{CALL}", Reply(content="I add.", tool_calls=(ADD,)), id="text-and-call"
        ),
        pytest.param(
            f"{CALL}</think>{CALL}",
            Reply(content="", reasoning=CALL, tool_calls=(ADD,)),
            id="a-call-in-a-thought-is-a-thought",
        ),
    ],
)
def test_a_text_is_taken_apart(text: str, reply: Reply):
    assert Reply.of(text, tools=True) == reply


def test_without_tools_a_call_is_a_text():
    assert Reply.of(CALL) == Reply(content=CALL)


def joined(pieces: Iterable[Piece]) -> Reply:
    texts = {"reasoning": "", "content": ""}
    calls = []
    for part, text, call in pieces:
        if call is not None:
            calls.append(call)
        else:
            assert text
            texts[part] += text
    return Reply(**texts, tool_calls=tuple(calls))


PARTS = st.sampled_from(
    ["<think>", "</think>", CALL, "<tool_call>", "</tool_call>", " ", "\n", "a", "b c", "<", "</"]
)


@given(st.lists(PARTS, max_size=8), st.booleans(), st.data())
@example(["a", "</think>", "b"], True, None)
def test_wherever_a_text_is_cut_its_pieces_are_the_same_reply(parts, tools, data):
    text = "".join(parts)
    unasked = "</think>" in text and not text.lstrip().startswith("<think>")
    splitter = Splitter(thinking=unasked, tools=tools)
    places = st.sets(st.integers(0, len(text)))
    cuts = sorted({0, len(text), *(data.draw(places) if data else range(len(text)))})
    pieces = [x for a, b in itertools.pairwise(cuts) for x in splitter.feed(text[a:b])]
    assert joined([*pieces, *splitter.end()]) == Reply.of(text, tools=tools)


def test_what_is_no_tag_is_not_kept_back():
    splitter = Splitter(tools=True)
    assert splitter.feed("a < b") == [Piece("content", "a < b")]
    assert splitter.feed(" <tool") == []
    assert splitter.feed("box>") == [Piece("content", " <toolbox>")]


async def spoken(engine: FakeEngine, algorithm: str, **settings) -> tuple[list[Piece], Result]:
    """What a live reply gives out of a program, and the program's result."""
    context = configure(algorithm, **settings)
    live = LiveReply(
        one_chain=context.is_one_chain, thinking=context.thinking, tools=bool(context.tools)
    )
    pieces: list[Piece] = []
    items = stream("6 * 7?", algorithm=algorithm, engine=engine, stream_tokens=4, **settings)
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Result):
                return [*pieces, *live.end(item.text)], item
            pieces += live.event(item)
    raise AssertionError("a program ends with a result")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("algorithm", "reply", "settings"),
    [
        pytest.param("self_consistency", r"so \boxed{42}", {"branches": 1}, id="one-branch"),
        pytest.param("self_consistency", "Hello there.", {"branches": 1}, id="no-answer"),
        pytest.param(
            "self_consistency", f"I add. {CALL}", {"branches": 1, "tools": [TOOL]}, id="tools"
        ),
        pytest.param("cot", r"six times seven</think>It is \boxed{42}.", {}, id="a-closed-chain"),
    ],
)
async def test_one_chain_is_said_as_it_is_written(algorithm: str, reply: str, settings):
    pieces, result = await spoken(
        FakeEngine([reply], speed=4), algorithm, policy="fixed", **settings
    )
    assert joined(pieces) == Reply.of(result.text, tools="tools" in settings)
    assert len([piece for piece in pieces if piece.part == "content"]) > 1


@pytest.mark.anyio
async def test_a_chain_that_was_stopped_says_what_it_is_made_to():
    def say(prompt: str, request) -> str:
        return (
            "42}."
            if prompt.endswith("{")
            else r"\boxed{42}"
            if "</think>" in prompt
            else "hm " * 99
        )

    pieces, result = await spoken(FakeEngine(say), "cot", interval=16)
    assert result.stop_reason == "certain"
    assert joined(pieces) == Reply.of(result.text)
    assert joined(pieces).content == r"\boxed{42}"


@pytest.mark.anyio
async def test_of_several_branches_the_content_comes_at_the_end():
    engine = FakeEngine([r"one \boxed{1}", r"<think>hm</think>two \boxed{2}", r"zwei \boxed{2}"])
    pieces, _ = await spoken(
        engine, "self_consistency", policy="fixed", branches=3, budget={"concurrency": 1}
    )
    assert joined(pieces) == Reply(
        content=r"two \boxed{2}",
        reasoning="one \\boxed{1}\n\nhm\n\ntwo \\boxed{2}\n\nzwei \\boxed{2}",
    )


@pytest.mark.anyio
async def test_branches_vote_on_the_tools_they_call():
    other = CALL.replace("1}", "2}")
    engine = FakeEngine([CALL, f"hm </think>{CALL}", other, CALL])
    pieces, result = await spoken(
        engine, "self_consistency", policy="fixed", branches=4, tools=[TOOL]
    )
    assert result.answer == '[{"arguments": {"a": 1}, "name": "add"}]'
    assert 0 < result.certaindex < 1
    assert joined(pieces).tool_calls == (ADD,)
