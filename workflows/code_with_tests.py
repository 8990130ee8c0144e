"""Code with tests: programs that are sampled until they behave alike, and repaired once.

`{"question", "inputs"?, "function"?, "tests"?}` in: what the program has to do, inputs for it (else the
model is asked for some), the function to call (else it is a program that reads standard input), and
tests with known outputs, `[{"input", "output"}, ...]`. Programs vote by what they do on the inputs.
"""

import json
import os
from collections.abc import Sequence
from typing import Any, NotRequired

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

import dynasor_graph as dg

ENGINE = os.environ.get("DYNASOR_ENGINE", "http://127.0.0.1:8000")
dg.register("default", lambda: dg.open_engine(ENGINE))  # opened at the first question

WRITE = "\n\nWrite {what} in Python. Put the whole program into one fenced code block."
INVENT = """\


Do not solve this. Write {count} inputs to test a solution with, small ones and special cases, as one
JSON list in a fenced code block. Each input is {what}."""
REPAIR = """\


This program was tried:
```python
{program}
```
On the input {given} {gave}{wanted}. Write it anew, and right, in one fenced code block."""

MORE = 8
"""Inputs that are varied from those given or invented, so that more programs are told apart."""


class Test(TypedDict):
    """An input, and what has to come out: a text that is printed, or a value that is returned."""

    input: Any
    output: Any


class Task(TypedDict, total=False):
    """The state: a task in, the program out, and how sure it is.

    `certaindex` is that of the last vote, `passed` the share of the tests that the answer passes (None
    without tests), `repaired` whether it comes from the second vote.
    """

    question: str
    inputs: list[Any]
    function: str | None
    tests: list[Test]
    answer: str | None
    certaindex: float
    passed: float | None
    repaired: bool
    failing: str
    usage: dict[str, int]


class Found(TypedDict):
    """A program, the share of the tests that it passes, and how it fails the first that it does not."""

    program: str
    passed: float
    failing: NotRequired[str]


voting = dg.find_algorithm("self_consistency")
vote = voting.compile()


def told(runtime: Runtime[dg.Context], **ours: Any) -> dict[str, Any]:
    """The settings of a vote: ours, then what the run was told."""
    context: dg.Context | None = runtime.context  # LangGraph gives none where there was none
    return ours | ({} if context is None else context.model_dump(exclude_unset=True))


def spent(state: Task, more: dict[str, int]) -> dict[str, int]:
    """What was spent before, and more."""
    return (dg.Usage.from_json(state.get("usage", {})) + dg.Usage.from_json(more)).to_json()


async def invent(state: Task, runtime: Runtime[dg.Context]) -> dict[str, Any]:
    """Take the inputs that were given, or those of the tests; else ask the model for some."""
    if not state.get("question", "").strip():
        raise dg.InputError("question must say what the program has to do")
    inputs = [*state.get("inputs", []), *(test["input"] for test in state.get("tests", []))]
    if inputs:
        return {"inputs": inputs, "usage": {}}
    function = state.get("function")
    what = f"the list of arguments of `{function}`" if function else "a text for standard input"
    asked = state["question"] + INVENT.format(count=5, what=what)
    only_one = {"answers": "json", "extract": "code", "branches": 1, "policy": "fixed"}
    done = await vote.ainvoke({"question": asked}, context=told(runtime) | only_one)
    try:
        inputs = json.loads(done["answer"] or "")
        dg.Behaviour(inputs=inputs, function=function)
    except ValueError:
        inputs = []
    if not inputs:
        raise dg.InputError(
            'the model gave no inputs of use: give some, such as {"inputs": ["1 2"]}'
        )
    return {"inputs": inputs, "usage": done["usage"]}


async def write(state: Task, runtime: Runtime[dg.Context]) -> dict[str, Any]:
    """Sample programs until enough of them behave alike."""
    function = state.get("function")
    what = f"a function `{function}`" if function else "a program that reads standard input"
    return await sample(state, runtime, state["question"] + WRITE.format(what=what))


async def repair(state: Task, runtime: Runtime[dg.Context]) -> dict[str, Any]:
    """Once more, with the case that fails; the better one stays, of equals the first."""
    again = await sample(state, runtime, state["question"] + state["failing"])
    if (again["passed"] or 0) <= (state["passed"] or 0):
        return {"usage": again["usage"]}
    return again | {"repaired": True}


async def sample(state: Task, runtime: Runtime[dg.Context], asked: str) -> dict[str, Any]:
    """One vote of programs, and the best of those that were voted for."""
    inputs, function = state["inputs"], state.get("function")
    kind = dg.Behaviour(inputs=tuple(inputs), function=function, more=MORE)
    settings = told(runtime, answers=kind.model_dump())
    done = await vote.ainvoke({"question": asked}, context=settings)
    found = await best_of(await by_votes(done["branches"], kind), state.get("tests", []), function)
    return {
        "answer": found and found["program"],
        "certaindex": done["certaindex"],
        "passed": found["passed"] if found and state.get("tests") else None,
        "repaired": False,
        "failing": found.get("failing", "") if found else "",
        "usage": spent(state, done["usage"]),
    }


async def by_votes(branches: Sequence[dg.Branch], kind: dg.Behaviour) -> list[str]:
    """The first program of each class of behaviour, that with most votes in front."""
    grouping, votes = dg.Grouping(kind), dict[int, int]()
    for branch in branches:
        if branch["answer"] is not None and branch["finish"] != "terminated":
            number = await grouping.add(branch["answer"])
            if number is not None:
                votes[number] = votes.get(number, 0) + 1
    return [grouping.spelling(number) for number in sorted(votes, key=lambda n: -votes[n])]


async def best_of(
    programs: Sequence[str], tests: Sequence[Test], function: str | None
) -> Found | None:
    """The program that passes most tests; of equals that with more votes."""
    found = [await tried(program, tests, function) for program in programs]
    return max(found, key=lambda one: one["passed"], default=None)


async def tried(program: str, tests: Sequence[Test], function: str | None) -> Found:
    """What the tests say of a program."""
    if not tests:
        return {"program": program, "passed": 1.0}
    kind = dg.Behaviour(inputs=tuple(test["input"] for test in tests), function=function)
    wanted = await kind.gold(json.dumps([test["output"] for test in tests]))
    given = await kind.form(program) or ("",) * len(tests)
    right = [a == b for a, b in zip(given, wanted or (), strict=True)]
    found = Found(program=program, passed=sum(right) / len(right))
    if not all(right):
        at = right.index(False)
        output = (await kind.run(program))[at]
        gave = (
            f"it gave {output.value!r}" if output.failure is None else f"it failed: {output.detail}"
        )
        found["failing"] = REPAIR.format(
            program=program.strip(),
            given=json.dumps(tests[at]["input"]),
            gave=gave,
            wanted=f", and {tests[at]['output']!r} is right",
        )
    return found


async def after_write(state: Task) -> str:
    """A program that fails a test is repaired; without tests there is nothing to repair it by."""
    return "repair" if state["failing"] else "done"


graph = StateGraph(Task, context_schema=voting.settings)
graph.add_node(invent)
graph.add_node(write)
graph.add_node(repair)
graph.add_edge(START, "invent")
graph.add_edge("invent", "write")
graph.add_conditional_edges("write", after_write, {"repair": "repair", "done": END})
graph.add_edge("repair", END)
