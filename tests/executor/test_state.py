"""State: plain JSON that survives any checkpointer, a second question, and a parent graph."""

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from dynasor_graph.algorithms import SelfConsistency, find_algorithm
from dynasor_graph.engine import DEFAULT, FakeEngine, forget, register
from dynasor_graph.executor import Branch, begin, decide
from dynasor_graph.types import JSON, Verdict
from tests.executor.stage import Thinker, books_balance, registered, replies, reply, run

pytestmark = pytest.mark.anyio

DONE: JSON = {
    "question": "an older one",
    "branches": [{"index": 0}],
    "usage": {"main": 7},
    "rounds": 3,
    "seconds": 9.0,
    "queued": 2.0,
    "certaindex": 1.0,
    "decision": {"rule": "beta"},
    "shadowed": ["esc"],
    "verdict": "terminate",
    "stop_reason": "certain",
    "answer": "4",
    "text": "4",
}


async def test_begin_resets_all_but_the_question():
    update = await begin(DONE)  # type: ignore[arg-type]

    assert set(update) == set(DONE) - {"question"}
    assert (update["rounds"], update["seconds"], update["verdict"]) == (0, 0.0, "continue")
    assert set(update["usage"].values()) == {0}
    assert {update[k] for k in ("decision", "stop_reason", "answer")} == {None}
    assert update["shadowed"] == []


@pytest.mark.parametrize(
    "verdict", [pytest.param(v, id=v) for v in ("branch", "continue", "terminate")]
)
async def test_the_route_is_the_verdict_in_the_state(verdict: Verdict):
    assert await decide({"verdict": verdict}) == verdict


@pytest.mark.parametrize(
    "algorithm", [pytest.param("self_consistency", id="votes"), pytest.param("cot", id="probes")]
)
async def test_the_state_is_plain_json(algorithm: str):
    engine = FakeEngine(Thinker("." * 600) if algorithm == "cot" else replies(["1", "2", None]))

    state, events = await run(algorithm, engine)

    assert json.loads(json.dumps(state)) == state
    assert json.loads(json.dumps(events)) is not None


async def test_a_terminated_branch_leaves_its_text_behind_and_keeps_its_tokens():
    short, long = reply("1"), "\\boxed{2}" + "." * 900  # it has said an answer, but has not ended
    engine = FakeEngine([short, short, short, short, long])

    state, _ = await run("self_consistency", engine, policy="beta", branches=5)

    stopped = state["branches"][-1]
    assert (stopped["finish"], stopped["text"], stopped["answer"]) == ("terminated", "", None)
    assert stopped["tokens"] == stopped["usage"]["terminated"] > 0


async def test_token_ids_go_to_the_event_if_asked_for_and_never_to_the_state():
    engine = FakeEngine(replies(["1"], tokens=20))

    state, events = await run("self_consistency", engine, branches=2, policy="fixed")
    assert all("token_ids" not in row for row in [*state["branches"], *events])

    engine = FakeEngine(replies(["1"], tokens=20))
    state, events = await run(
        "self_consistency", engine, branches=2, policy="fixed", keep_tokens=True
    )
    kept = [event["token_ids"] for event in events if event["event"] == "branch"]
    assert kept == [list(reply("1", 20).encode())] * 2
    assert all("token_ids" not in branch for branch in state["branches"])


@pytest.mark.parametrize(
    "algorithm", [pytest.param("self_consistency", id="votes"), pytest.param("cot", id="probes")]
)
async def test_a_second_question_on_the_same_thread_starts_from_zero(algorithm: str):
    found = find_algorithm(algorithm)
    graph = found.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "one"}}
    states = []
    for _ in range(2):
        engine = FakeEngine(Thinker("." * 600) if algorithm == "cot" else replies(["1", "2"]))
        with registered(engine) as name:
            context = found.settings(engine=name, sampling={"seed": 1})
            state = await graph.ainvoke({"question": "q"}, config, context=context)
        await books_balance(engine, state)
        states.append(_without_times(state))

    assert states[0] == states[1]


def _without_times(state: JSON) -> JSON:
    branches = [{**branch, "seconds": 0.0} for branch in state["branches"]]
    return {**state, "branches": branches, "seconds": 0.0}


# Under a parent ------------------------------------------------------------------------------


class Task(TypedDict, total=False):
    """A parent that shares a reduced key, and others, with the graph of this library."""

    question: str
    branches: Annotated[list[Branch], operator.add]
    answer: str | None
    usage: dict[str, int]
    checked: bool


@dataclass(kw_only=True)
class Parent:
    """A parent's context, of its own type."""

    user: str = "ada"
    dynasor: SelfConsistency | JSON | None = None


async def check(state: Task, runtime: Runtime[Parent]) -> JSON:
    """A node of the parent's own."""
    return {"checked": runtime.context.user == "ada"}


def parent_graph(checkpointer: Any = None) -> Any:
    child = find_algorithm("self_consistency").compile()
    return (
        StateGraph(Task, context_schema=Parent)
        .add_node("ask", child)
        .add_node(check)
        .add_edge(START, "ask")
        .add_edge("ask", "check")
        .add_edge("check", END)
        .compile(checkpointer=checkpointer)
    )


@pytest.mark.parametrize(
    "as_json", [pytest.param(False, id="settings"), pytest.param(True, id="a-mapping")]
)
async def test_under_a_parent_of_another_context_its_attribute_counts(as_json: bool):
    engine = FakeEngine(replies(["1"]))
    with registered(engine) as name:
        settings = SelfConsistency(engine=name, branches=3, policy="fixed")
        context = Parent(dynasor=settings.model_dump(mode="json") if as_json else settings)
        state = await parent_graph().ainvoke({"question": "q"}, context=context)

    assert (state["answer"], state["checked"], len(engine.requests)) == ("1", True, 3)


async def test_under_a_parent_with_a_plain_mapping_its_key_counts():
    engine = FakeEngine(replies(["1"]))
    child = find_algorithm("self_consistency").compile()
    graph = (
        StateGraph(Task).add_node("ask", child).add_edge(START, "ask").add_edge("ask", END)
    ).compile()
    with registered(engine) as name:
        context: Any = {"dynasor": {"engine": name, "branches": 3, "policy": "fixed"}}
        state = await graph.ainvoke({"question": "q"}, context=context)

    assert (state["answer"], len(engine.requests)) == ("1", 3)


async def test_under_a_parent_that_says_nothing_the_defaults_count():
    engine = FakeEngine(replies(["1"]))
    register(DEFAULT, engine)
    try:
        state = await parent_graph().ainvoke({"question": "q"}, context=Parent())
    finally:
        forget(DEFAULT)

    assert (state["answer"], len(engine.requests)) == ("1", 5)


async def test_a_parent_that_shares_reduced_keys_counts_each_branch_once():
    engine = FakeEngine(replies(["1", "2"]))
    before: Any = {
        "index": 0,
        "answer": "9",
        "finish": "stop",
        "tokens": 1,
        "text": "",
        "usage": {},
    }
    with registered(engine) as name:
        settings = SelfConsistency(engine=name, branches=3, policy="fixed")
        asked: Any = {"question": "q", "branches": [before], "usage": {"main": 1}}
        state = await parent_graph().ainvoke(asked, context=Parent(dynasor=settings))

    assert [branch["answer"] for branch in state["branches"]] == ["9", "1", "2", "1"]
    assert state["answer"] == "1"
    assert state["usage"]["main"] == 3 * 24  # the child's own, from zero


@pytest.mark.parametrize(
    ("config", "branches"),
    [
        pytest.param({}, [], id="nothing is stored: branches are no tasks of LangGraph"),
        pytest.param({"configurable": {"thread_id": "1"}}, ["branch"] * 3, id="a thread"),
        pytest.param({"callbacks": [BaseCallbackHandler()]}, ["branch"] * 3, id="callbacks"),
    ],
)
async def test_a_parent_streams_what_happens_inside(config: Any, branches: list[str]):
    engine = FakeEngine(replies(["1"]))
    inside: list[tuple[str, Any]] = []
    with registered(engine) as name:
        settings = SelfConsistency(engine=name, branches=3, policy="fixed")
        parts = parent_graph().astream(
            {"question": "q"},
            config,
            context=Parent(dynasor=settings),
            stream_mode=["custom", "updates"],
            subgraphs=True,
        )
        async for place, mode, part in parts:
            if place:
                inside.append((mode, part))

    events = [part["event"] for mode, part in inside if mode == "custom"]
    nodes = [node for mode, part in inside if mode == "updates" for node in part]
    assert events == ["branch", "decision"] * 3
    assert nodes == ["begin", *branches, "sample", "vote"]


# Strict serialisation --------------------------------------------------------------------------

STRICT = """
import asyncio, json, logging, sys

from langgraph.checkpoint.memory import InMemorySaver

from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.engine import FakeEngine, register
from tests.executor.stage import Thinker, replies

logging.basicConfig(level=logging.WARNING)  # LangGraph logs what it refuses to revive


async def main():
    for name in ("self_consistency", "cot"):
        thinks = name == "cot"
        engine = FakeEngine(Thinker("." * 300) if thinks else replies(["1", "2"]))
        register("strict", engine)
        algorithm = find_algorithm(name)
        graph = algorithm.compile(checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": name}}
        context = algorithm.settings(engine="strict")
        said = await graph.ainvoke({"question": "q"}, config, context=context)
        kept = (await graph.aget_state(config)).values
        assert kept == said, (kept, said)
        print(json.dumps(kept["branches"][0]["usage"]))


asyncio.run(main())
"""


def test_the_state_survives_strict_serialisation():
    env = {
        **os.environ,
        "LANGGRAPH_STRICT_MSGPACK": "true",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STRICT], env=env, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["main"] for line in done.stdout.splitlines()] == [24, 240]
