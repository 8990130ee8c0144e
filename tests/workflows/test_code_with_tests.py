"""Code with tests: programs vote by behaviour, the tests choose, and one repair is tried."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import dynasor_graph as dg
from dynasor_graph.engine import forget
from dynasor_graph.types import JSON
from tests.executor.stage import books_balance, registered
from workflows.code_with_tests import graph

# Importing a workflow registers its engine for the whole process: here no server answers.
forget("default")

pytestmark = pytest.mark.anyio

TASK = "Read whole numbers and print the largest."
RIGHT = ["print(max(map(int, input().split())))", "print(sorted(map(int, input().split()))[-1])"]
WRONG = ["print(max(input().split()))", "print(input().split()[-1])"]
TESTS = [{"input": "1 2", "output": "2"}, {"input": "10 9", "output": "10"}]


def fenced(program: str) -> str:
    return f"Here it is:\n```python\n{program}\n```\n"


def model(
    programs: Sequence[str], repaired: Sequence[str] = RIGHT, inputs: str = '["3 1", "2 30 4"]'
) -> Callable[[str, dg.Request], str]:
    """A model by script: programs in turn, others once it sees a failing case, and inputs."""
    turn, again = itertools.cycle(programs), itertools.cycle(repaired)

    def say(prompt: str, request: dg.Request) -> str:
        if "Do not solve this" in prompt:
            return f"```json\n{inputs}\n```"
        return fenced(next(again if "This program was tried" in prompt else turn))

    return say


async def solved(
    rule: Callable[[str, dg.Request], str], **given: Any
) -> tuple[JSON, dg.FakeEngine]:
    engine = dg.FakeEngine(rule)
    settings = {"branches": 10, "sampling": {"seed": 1}}
    with registered(engine) as name:
        context = dg.SelfConsistency.model_validate(settings | {"engine": name})
        task: Any = {"question": TASK, **given}
        state = await graph.compile().ainvoke(task, context=context)
    return state, engine


async def test_programs_that_behave_alike_are_one_vote_and_end_it():
    state, engine = await solved(model(RIGHT), inputs=["3 1", "2 30 4"])
    assert state["answer"].strip() in RIGHT
    assert state["certaindex"] == 1.0
    assert state["passed"] is None
    assert len(engine.requests) < 10, "it was certain before all branches had run"
    await books_balance(engine, state)


async def test_without_inputs_the_model_is_asked_for_some():
    state, engine = await solved(model(RIGHT))
    assert state["inputs"] == ["3 1", "2 30 4"]
    assert state["certaindex"] == 1.0
    await books_balance(engine, state)


async def test_a_program_that_passes_the_tests_goes_before_one_with_more_votes():
    state, engine = await solved(model([WRONG[0], WRONG[0], RIGHT[0]]), tests=TESTS)
    assert state["answer"].strip() == RIGHT[0]
    assert (state["passed"], state["repaired"]) == (1.0, False)
    assert not any("This program was tried" in prompt for prompt in prompts(engine))


async def test_what_fails_a_test_is_repaired_once_with_the_failing_case():
    state, engine = await solved(model(WRONG[:1]), tests=TESTS)
    assert state["answer"].strip() in RIGHT
    assert (state["passed"], state["repaired"]) == (1.0, True)
    (asked, *_) = [prompt for prompt in prompts(engine) if "This program was tried" in prompt]
    assert "On the input \"10 9\" it gave '9\\n', and '10' is right." in asked
    await books_balance(engine, state)


async def test_a_repair_that_is_no_better_changes_nothing():
    state, engine = await solved(model(WRONG[:1], WRONG[:1]), tests=TESTS)
    assert state["answer"].strip() == WRONG[0]
    assert (state["passed"], state["repaired"]) == (0.5, False)
    await books_balance(engine, state)


async def test_a_program_that_raises_says_so_in_the_repair():
    state, engine = await solved(model(["print(1)", "print(max([]))"]), tests=TESTS)
    assert state["repaired"]
    broken, engine = await solved(
        model(["x = input()\nprint(int(x))"]), tests=[{"input": "7", "output": "7"}, *TESTS]
    )
    assert broken["repaired"]
    assert any("it failed: ValueError" in prompt for prompt in prompts(engine))


async def test_functions_are_called():
    programs = ["def largest(xs):\n    return max(xs)", "largest = lambda xs: sorted(xs)[-1]"]
    tests = [{"input": [[1, 3, 2]], "output": 3}]
    state, _ = await solved(model(programs), function="largest", tests=tests)
    assert state["certaindex"] == 1.0
    assert state["passed"] == 1.0


@pytest.mark.parametrize(
    ("given", "inputs", "message"),
    [
        pytest.param({"question": " "}, "[]", "question must say", id="no-question"),
        pytest.param({}, "none", "gave no inputs of use", id="no-json"),
        pytest.param({}, "[1, 2]", "gave no inputs of use", id="no-texts"),
        pytest.param({"function": "f"}, json.dumps(["1"]), "no inputs of use", id="no-lists"),
    ],
)
async def test_a_task_that_cannot_be_begun_is_refused(given: Any, inputs: str, message: str):
    with pytest.raises(dg.InputError, match=message):
        await solved(model(RIGHT, inputs=inputs), **given)


async def test_no_program_at_all_is_no_answer():
    state, _ = await solved(lambda prompt, request: "I cannot.", tests=TESTS)
    assert state["answer"] is None
    assert state["passed"] is None


def prompts(engine: dg.FakeEngine) -> list[str]:
    return [bytes(request.tokens).decode() for request in engine.requests]
