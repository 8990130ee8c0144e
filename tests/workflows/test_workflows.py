"""The graphs that people deploy and copy: what each does, and that it needs the public API alone."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

import dynasor_graph as dg
from dynasor_graph.engine import forget
from dynasor_graph.reward import forget_reward
from dynasor_graph.types import JSON
from tests.executor.stage import THINKING, Thinker, books_balance, is_probe, registered
from workflows import cot, rebase, self_consistency, tutor

# Importing a workflow registers its engine for the whole process: here no server answers.
forget("default")

pytestmark = pytest.mark.anyio

FOLDER = Path(tutor.__file__).parent
NAMED: dict[str, JSON] = json.loads((FOLDER / "langgraph.json").read_text(encoding="utf-8"))
THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
LONG = "hm. " * 100  # 400 tokens: room for 6 probes, 64 tokens apart
AGREED = ["4"]
DIVIDED = ["1", "2", "3"]


def wavering(at: int) -> str:
    """A probe's answer that is another one each time."""
    return f"{at}}}"


SETTLED = Thinker(LONG, probed=lambda at: "7}", last="\\boxed{7}")
WAVERING = Thinker(LONG + "\\boxed{8}", probed=wavering)


class Pupil(dg.FakeEngine):
    """A model that samples and thinks by script, and by another one once it has a hint."""

    def __init__(
        self, samples: Sequence[str], thinker: Thinker = WAVERING, hinted: Thinker = SETTLED
    ) -> None:
        turn = itertools.cycle(samples)

        def rule(prompt: str, request: dg.Request) -> str:
            if THINKING not in prompt:
                return f"\\boxed{{{next(turn)}}}"
            return (hinted if "Hint:" in prompt else thinker)(prompt, request)

        super().__init__(rule)

    @property
    def prompts(self) -> list[str]:
        return [bytes(request.tokens).decode() for request in self.requests]


@contextmanager
def default(engine: dg.FakeEngine) -> Iterator[None]:
    """The engine of all graphs that name none."""
    dg.register("default", engine)
    try:
        yield
    finally:
        forget("default")


def asked(question: str) -> JSON:
    return {"messages": [{"role": "user", "content": question}]}


def said(state: JSON) -> BaseMessage:
    message = state["messages"][-1]
    assert isinstance(message, BaseMessage)
    return message


def compiled() -> Any:
    return tutor.graph.compile(checkpointer=InMemorySaver(), name="tutor")


@pytest.mark.parametrize(
    ("graph", "thinks"),
    [
        pytest.param(self_consistency.graph, False, id="self-consistency"),
        pytest.param(cot.graph, True, id="cot"),
    ],
)
async def test_a_built_in_algorithm_answers(graph: Any, thinks: bool):
    engine = Pupil(AGREED, Thinker(LONG, probed=lambda at: "4}", last="\\boxed{4}"))
    with default(engine):
        state = await graph.compile().ainvoke({"question": "What is 2 + 2?"})
    assert state["answer"] == "4"
    assert state["stop_reason"] == "certain"
    assert all((THINKING in prompt) is thinks for prompt in engine.prompts)
    await books_balance(engine, state)


async def test_rebase_answers_with_the_reward_that_is_registered():
    def model(prompt: str, request: dg.Request) -> str:
        return "\\boxed{4}" if prompt.endswith("2 + 2\n") else "2 + 2\n\\boxed{4}"

    judged: list[dg.Partial] = []

    def reward(partial: dg.Partial) -> float:
        judged.append(partial)
        return 0.995

    with default(dg.FakeEngine(model)):
        dg.register_reward("default", dg.FunctionReward(reward))
        try:
            state = await rebase.graph.compile().ainvoke({"question": "What is 2 + 2?"})
        finally:
            forget_reward("default")
    assert (state["answer"], state["stop_reason"]) == ("4", "certain")
    assert len(state["branches"]) == 16, "the detection width of the paper's preset"
    assert {partial.ended for partial in judged} == {False, True}


async def test_a_sure_tutor_answers_from_its_samples_alone():
    engine = Pupil(AGREED)
    with default(engine):
        state = await compiled().ainvoke(asked("What is 2 + 2?"), THREAD)
    assert said(state).content == "4"
    assert said(state).additional_kwargs == {
        "by": "model",
        "certaindex": 1.0,
        "net_tokens": state["usage"]["net"],
    }
    assert len(engine.requests) == 5
    assert not any(THINKING in prompt for prompt in engine.prompts)


async def test_an_unsure_tutor_thinks_before_it_answers():
    engine = Pupil(DIVIDED, SETTLED)
    with default(engine):
        state = await compiled().ainvoke(asked("What is 3 + 4?"), THREAD)
    assert said(state).content == "7"
    assert said(state).additional_kwargs["by"] == "model"
    assert sum(map(is_probe, engine.requests)) == 3
    # The books hold both subgraphs' tokens, and equal what the engine counted.
    await books_balance(engine, state)


async def test_a_tutor_that_stays_unsure_waits_for_a_person():
    engine = Pupil(DIVIDED)
    with default(engine):
        state = await compiled().ainvoke(asked("What is 3 + 4?"), THREAD)
    (wait,) = state["__interrupt__"]
    assert wait.value["question"] == "What is 3 + 4?"
    assert wait.value["answer"] == "8"
    assert wait.value["certaindex"] < 0.5
    assert "hint" in wait.value["reply"]
    assert [message.type for message in state["messages"]] == ["human"]


@pytest.mark.parametrize(
    ("reply", "answer", "by", "more_requests"),
    [
        pytest.param("9", "9", "person", False, id="the-answer"),
        pytest.param(9, "9", "person", False, id="the-answer-as-a-json-number"),
        pytest.param("ok", "8", "model", False, id="accepted"),
        pytest.param(" OK\n", "8", "model", False, id="accepted-in-capitals"),
        pytest.param("", "8", "model", False, id="accepted-without-a-word"),
        pytest.param("hint: count", "7", "model", True, id="a-hint-that-settles-it"),
        pytest.param("Hint:count", "7", "model", True, id="a-hint-in-capitals"),
    ],
)
async def test_a_person_replies(reply: object, answer: str, by: str, more_requests: bool):
    engine = Pupil(DIVIDED)
    graph = compiled()
    with default(engine):
        await graph.ainvoke(asked("What is 3 + 4?"), THREAD)
        before = len(engine.requests)
        state = await graph.ainvoke(Command(resume=reply), THREAD)
    assert said(state).content == answer
    assert said(state).additional_kwargs["by"] == by
    # Resuming must not pay for the samples and the first thought again.
    new = engine.prompts[before:]
    assert bool(new) is more_requests
    assert all("What is 3 + 4?\nHint: count\n" in prompt for prompt in new)
    assert all(THINKING in prompt for prompt in new)
    await books_balance(engine, state)


async def test_a_hint_that_does_not_settle_it_leads_to_another_question():
    graph = compiled()
    with default(Pupil(DIVIDED, hinted=WAVERING)):
        await graph.ainvoke(asked("What is 3 + 4?"), THREAD)
        state = await graph.ainvoke(Command(resume="hint: count"), THREAD)
        (wait,) = state["__interrupt__"]
        assert wait.value["question"] == "What is 3 + 4?\nHint: count"
        state = await graph.ainvoke(Command(resume="7"), THREAD)
    assert said(state).content == "7"


async def test_nothing_found_and_accepted_is_said_so():
    mute = dg.FakeEngine(lambda prompt, request: "no idea")
    graph = compiled()
    with default(mute):
        await graph.ainvoke(asked("Why?"), THREAD)
        state = await graph.ainvoke(Command(resume="ok"), THREAD)
    assert said(state).content == "I do not know."


async def test_a_second_question_on_a_thread_starts_afresh():
    graph = compiled()
    with default(Pupil(DIVIDED)):
        await graph.ainvoke(asked("What is 3 + 4?"), THREAD)
        first = await graph.ainvoke(Command(resume="7"), THREAD)
    engine = Pupil(AGREED)
    with default(engine):
        second = await graph.ainvoke(asked("What is 2 + 2?"), THREAD)
    assert said(first).additional_kwargs["by"] == "person"
    assert said(second).additional_kwargs["by"] == "model"
    assert [message.content for message in second["messages"]] == [
        "What is 3 + 4?",
        "7",
        "What is 2 + 2?",
        "4",
    ]
    assert all("3 + 4" not in prompt for prompt in engine.prompts)
    await books_balance(engine, second)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([], id="none"),
        pytest.param([AIMessage("Hello!")], id="none-of-a-person"),
        pytest.param([{"role": "user", "content": " \n"}], id="a-blank-one"),
    ],
)
async def test_a_tutor_needs_a_question(messages: list[Any]):
    with pytest.raises(dg.InputError, match="must hold a question"):
        await compiled().ainvoke({"messages": messages}, THREAD)


@pytest.mark.parametrize(
    ("context", "asks"),
    [
        pytest.param(None, True, id="by-default-16-of-20-are-not-enough"),
        pytest.param({"sure": 0.8}, False, id="16-of-20-are"),
        pytest.param({"settled": 0.3}, False, id="one-of-three-probes-is"),
        pytest.param({"settled": 0.4}, True, id="one-of-three-probes-is-not"),
        pytest.param(tutor.Tutoring(sure=0.8), False, id="as-an-object"),
    ],
)
async def test_the_thresholds_decide_whether_it_asks(context: Any, asks: bool):
    with default(Pupil(["4", "4", "4", "4", "5"])):
        state = await compiled().ainvoke(asked("?"), THREAD, context=context)
    assert ("__interrupt__" in state) is asks


async def test_settings_reach_both_subgraphs():
    engine = Pupil(DIVIDED, SETTLED)
    with registered(engine) as name:
        told = {"engine": name, "budget": {"branches": 3}, "system": "You are kind."}
        state = await compiled().ainvoke(asked("?"), THREAD, context={"dynasor": told})
    assert said(state).content == "7"
    assert sum(THINKING not in prompt for prompt in engine.prompts) == 3
    assert all(prompt.startswith("system: You are kind.") for prompt in engine.prompts)


async def test_inside_a_graph_with_another_context_the_defaults_hold():
    class Theirs(TypedDict):
        somebody: str

    parent = StateGraph(tutor.Lesson, context_schema=Theirs)
    parent.add_node("lesson", tutor.graph.compile())
    parent.set_entry_point("lesson")
    graph: Any = parent.compile(checkpointer=InMemorySaver())
    with default(Pupil(AGREED)):
        state = await graph.ainvoke(asked("?"), THREAD, context=Theirs(somebody="else"))
    assert said(state).content == "4"


async def test_the_events_of_both_subgraphs_are_streamed():
    seen: list[tuple[str, str]] = []
    steps: list[str] = []
    with default(Pupil(DIVIDED, SETTLED)):
        async for inside, mode, part in compiled().astream(
            asked("?"), THREAD, stream_mode=["custom", "updates"], subgraphs=True
        ):
            if mode == "custom":
                seen.append((inside[0].partition(":")[0], part["event"]))
            elif not inside:
                steps += part
    assert steps == ["read", "sample", "think", "answer"]
    assert set(seen) == {
        ("sample", "branch"),
        ("sample", "decision"),
        ("think", "probe"),
        ("think", "decision"),
        ("think", "branch"),
        ("think", "answer"),
    }
    assert seen.count(("sample", "branch")) == 20
    assert seen.count(("think", "probe")) == 3


def test_the_drawing_names_the_routes_and_shows_the_subgraphs():
    drawn = compiled().get_graph(xray=True)
    assert {(edge.source, edge.data, edge.target) for edge in drawn.edges if edge.data} == {
        ("sample:sample", "branch", "sample:sample"),
        ("sample:sample", "terminate", "sample:vote"),
        ("sample:vote", "sure", "answer"),
        ("sample:vote", "unsure", "think:begin"),
        ("think:think", "branch", "think:think"),
        ("think:think", "terminate", "think:answer"),
        ("think:answer", "sure", "answer"),
        ("think:answer", "unsure", "ask"),
        ("ask", "hint", "think:begin"),
        ("ask", "accept", "answer"),
    }


async def test_a_lesson_on_the_terminal(capsys: pytest.CaptureFixture[str]):
    prompts: list[str] = []
    replies = iter(["hint: count", "not reached"])

    def listen(prompt: str) -> str:
        prompts.append(prompt)
        return next(replies)

    try:
        await tutor.main("What is 3 + 4?", Pupil(DIVIDED), listen)
    finally:
        forget("default")
    lines = capsys.readouterr().out.splitlines()
    assert sum("'branch', 'answer': '1'" in line for line in lines) == 7  # of 20 samples
    assert [line for line in lines if line.startswith("I am not sure:")] == [
        line for line in lines if "'answer': '8'" in line
    ]
    assert "content='7'" in lines[-1]
    assert prompts == ["> "]


def test_every_workflow_is_named_for_the_server():
    files = {row["path"].partition(":")[0] for row in NAMED["graphs"].values()}
    assert files == {f"./{path.name}" for path in FOLDER.glob("*.py")}
    assert set(NAMED["graphs"]) == {
        "self_consistency",
        "cot",
        "rebase",
        "tutor",
        "game24",
        "code_with_tests",
    }


def test_the_server_is_told_to_install_this_project():
    (folder,) = NAMED["dependencies"]
    assert 'name = "dynasor-graph"' in (FOLDER / folder / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", NAMED["graphs"])
def test_a_named_graph_can_be_loaded_and_brings_no_checkpointer(name: str):
    path, _, attribute = NAMED["graphs"][name]["path"].partition(":")
    spec = importlib.util.spec_from_file_location(f"deployed_{name}", FOLDER / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        forget("default")
    graph = getattr(module, attribute)
    assert isinstance(graph, StateGraph)
    assert graph.compile(name=name).get_input_jsonschema()["properties"]


def test_the_graphs_open_the_engine_that_the_environment_names():
    code = (
        "import asyncio, cot, self_consistency, tutor\n"
        "async def ask(module, **given):\n"
        "    return await module.graph.compile().ainvoke(given)\n"
        "print(asyncio.run(ask(self_consistency, question='?'))['answer'])\n"
        "print(asyncio.run(ask(cot, question='?'))['answer'])\n"
        "print(asyncio.run(ask(tutor, messages=[('user', '?')]))['messages'][-1].content)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=FOLDER,
        env={**os.environ, "DYNASOR_ENGINE": "fake"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["42", "42", "42"]


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.py"))]
)
def test_a_workflow_is_written_on_the_public_api_alone(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module))
    ours = {name for name in imported if name.partition(".")[0] == "dynasor_graph"}
    assert ours == {"dynasor_graph"}
    foreign = {name.partition(".")[0] for name in imported - ours} - sys.stdlib_module_names
    assert foreign <= {"langgraph", "langchain_core", "typing_extensions"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "dg"
    }
    assert used <= set(dg.__all__)
