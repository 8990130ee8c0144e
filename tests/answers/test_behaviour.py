"""Programs as answers: where they stand, what is right, the inputs of a question, varied inputs."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import dynasor_graph as dg
from benchmarks.variants import TASKS, arguments, mutant
from dynasor_graph.answers import Grouping, agrees, extract_answer, kind_for, read_kind
from dynasor_graph.answers.behaviour import vary
from dynasor_graph.errors import ConfigError, InputError

pytestmark = pytest.mark.anyio

DOUBLE = {"kind": "behaviour", "function": "f", "inputs": [[1], [2]]}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("```python\nx = 1\n```", "x = 1\n", id="one"),
        pytest.param("```\na\n```\nor\n~~~py\nb\n~~~\nso", "b\n", id="the-last"),
        pytest.param("````md\n```\na\n```\n````", "```\na\n```\n", id="nested"),
        pytest.param("  ```python\n  x\n  ```", "  x\n", id="indented"),
        pytest.param("```python\nx = 1\n```\n```python\ny = ", "x = 1\n", id="cut-off"),
        pytest.param("<think>```\na\n```</think>```\nb\n```", "b\n", id="after-the-thinking"),
        pytest.param("<think>```\na\n```</think>As above.", None, id="thinking-is-no-answer"),
        pytest.param("x = 1", None, id="none"),
        pytest.param("```python\n\n```", None, id="empty"),
        pytest.param("The answer is `x`.", None, id="inline"),
    ],
)
def test_code_stands_in_the_last_fenced_block(text: str, code: str | None):
    assert extract_answer(text, "code") == code


@pytest.mark.parametrize(
    ("gold", "right"),
    [
        pytest.param("[2, 4]", True, id="outputs"),
        pytest.param("[2, 5]", False, id="other-outputs"),
        pytest.param("[2]", False, id="too-few"),
        pytest.param("def f(x): return x + x", True, id="a-program"),
        pytest.param("def f(x):", False, id="no-program"),
    ],
)
async def test_right_is_a_right_program_or_its_outputs(gold: str, right: bool):
    assert await agrees("f = lambda x: 2 * x", gold, read_kind(DOUBLE)) is right


async def test_right_outputs_of_programs_are_texts():
    kind = read_kind({"kind": "behaviour", "inputs": ["1", "2"]})
    assert await agrees("print(int(input()) * 2, '')", '["2", "4\\n"]', kind)


async def test_a_question_brings_its_inputs():
    fields = {"inputs": [[1], [2]], "function": "f"}
    kind = kind_for(read_kind("behaviour:seconds=1"), "q", fields, None)
    assert kind.model_dump()["seconds"] == 1
    assert await agrees("f = lambda x: 2 * x", "[2, 4]", kind)
    with pytest.raises(InputError, match=r"question 'q': .*needs inputs to run programs on"):
        kind_for(read_kind("behaviour"), "q", {}, None)
    with pytest.raises(InputError, match=r"inputs\.0: must be a text"):
        kind_for(read_kind("behaviour"), "q", {"inputs": [[1]]}, None)


async def test_a_long_output_is_compared_whole():
    kind = read_kind({"kind": "behaviour", "inputs": ["x"]})
    grouping = Grouping(kind)
    sources = ["print('a' * 999 + 'b')", "print('a' * 999 + 'c')", "print('a' * 999, end='b')"]
    assert await grouping.add_all(sources) == [0, 1, 0]


async def test_programs_vote_in_a_run():
    said = iter(["f = lambda x: 2 * x", "def f(x): return x + x", "f = lambda x: 3", "f = ("])
    engine = dg.FakeEngine(lambda prompt, request: f"So 17:\n```python\n{next(said)}\n```")
    question = dg.Question(id="q", text="Double it.", gold="[2, 4]")
    result = await dg.solve(question, engine=engine, answers=DOUBLE, policy="fixed", branches=4)
    assert result.answer in ("f = lambda x: 2 * x\n", "def f(x): return x + x\n")
    assert result.certaindex == pytest.approx(0.25)  # 2, 1 and none of 4
    assert result.correct


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({**DOUBLE, "function": "f()"}, id="function"),
        pytest.param({**DOUBLE, "more": -1}, id="more"),
        pytest.param({**DOUBLE, "memory_mib": 1}, id="memory"),
        pytest.param({**DOUBLE, "seconds": 0}, id="seconds"),
    ],
)
def test_a_wrong_setting_is_refused(spec: Any):
    with pytest.raises(ConfigError):
        read_kind(spec)


plain = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text("ab 1", max_size=4)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.lists(plain, min_size=1, max_size=2), max_size=3), st.integers(0, 6))
@settings(deadline=None)
def test_varied_inputs_are_new_of_the_same_form_and_always_the_same(inputs: list[Any], count: int):
    made = vary(inputs, count)
    assert made == vary(inputs, count)
    assert len(made) <= count
    written = [str(one) for one in [*inputs, *made]]
    assert len(set(written[len(inputs) :])) == len(made)
    assert not set(map(str, made)) & set(map(str, inputs))
    assert all(isinstance(one, list) and one for one in made)


@pytest.mark.parametrize("task", TASKS)
async def test_variants_without_a_mistake_are_right_and_some_with_one_are_not(task: str):
    """The generator of the benchmark: else it would measure nothing."""
    draw = random.Random(0)
    inputs = tuple(map(tuple, arguments(task, 6, draw)))
    kind = dg.Behaviour(inputs=inputs, function="f", seconds=0.5, total_seconds=1)
    grouping = Grouping(kind)
    programs = [TASKS[task][1], *(mutant(task, 0, draw) for _ in range(2))]
    assert await grouping.add_all(programs) == [0, 0, 0]
    wrong = [mutant(task, 1, draw) for _ in range(4)]
    assert set(await grouping.add_all(wrong)) != {0}
