"""Tool calls in a text, and how branches vote on them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.answers import Grouping, ToolCall, as_action, find_calls, is_action

pytestmark = pytest.mark.anyio

ADD = ToolCall(name="add", arguments={"a": 1, "b": 2})
WRITTEN = '<tool_call>\n{"name": "add", "arguments": {"b": 2, "a": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "calls", "rest"),
    [
        pytest.param("no tools", [], "no tools", id="none"),
        pytest.param(WRITTEN, [ADD], "", id="one"),
        pytest.param(f"a{WRITTEN}\n{WRITTEN}b", [ADD, ADD], "a\nb", id="two-and-text-around"),
        pytest.param(
            '<tool_call>{"name": "now"}</tool_call>',
            [ToolCall(name="now", arguments={})],
            "",
            id="no-arguments",
        ),
        *(
            pytest.param(text, [], text, id=name)
            for name, text in {
                "not-json": "<tool_call>add(1, 2)</tool_call>",
                "not-closed": '<tool_call>{"name": "add"}',
                "a-list": "<tool_call>[1]</tool_call>",
                "no-name": '<tool_call>{"arguments": {}}</tool_call>',
                "empty-name": '<tool_call>{"name": ""}</tool_call>',
                "a-name-that-is-none": '<tool_call>{"name": 3}</tool_call>',
                "arguments-in-a-list": '<tool_call>{"name": "a", "arguments": [1]}</tool_call>',
                "nan": '<tool_call>{"name": "a", "arguments": {"x": NaN}}</tool_call>',
                "infinite": '<tool_call>{"name": "a", "arguments": {"x": 1e999}}</tool_call>',
                "deep": "<tool_call>" + "[" * 100_000 + "</tool_call>",
            }.items()
        ),
        pytest.param(
            f"<tool_call>oh</tool_call>{WRITTEN}",
            [ADD],
            "<tool_call>oh</tool_call>",
            id="a-broken-one-hides-no-other",
        ),
    ],
)
def test_calls_are_found_and_what_is_none_stays_text(text: str, calls: list[ToolCall], rest: str):
    assert find_calls(text) == (calls, rest)


def test_equal_calls_are_one_action_however_they_were_written():
    (call,), _ = find_calls(WRITTEN)
    assert as_action([call]) == as_action([ADD])
    assert is_action(as_action([ADD]))
    assert as_action([ADD]) != as_action([ADD, ADD])


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3), st.text("a"))
def test_an_action_is_known_as_one_and_reads_back(arguments, name):
    action = as_action([ToolCall(name=name, arguments=arguments)])
    assert is_action(action)
    assert json.loads(action) == [{"name": name, "arguments": arguments}]


@pytest.mark.parametrize("answer", ["42", "[1, 2]", '[{"name": "add"}]', "Paris"])
def test_other_answers_are_no_actions(answer: str):
    assert not is_action(answer)


@pytest.mark.parametrize(
    ("argument", "other"),
    [
        pytest.param("Paris", "paris", id="case"),
        pytest.param("50%", "50", id="percent"),
        pytest.param("1,000", "1000", id="thousands"),
        pytest.param(r"\frac{1}{2}", "1/2", id="fraction"),
    ],
)
async def test_actions_are_compared_to_the_letter(argument: str, other: str):
    grouping = Grouping()
    said = [
        as_action([ToolCall(name="look", arguments={"x": x})]) for x in (argument, other, argument)
    ]
    assert [await grouping.add(one) for one in said] == [0, 1, 0]
    assert await grouping.add("42") == 2
