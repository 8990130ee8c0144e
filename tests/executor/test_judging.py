"""Judging: the engine says which answers are the same, what it costs, and when it says neither."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dynasor_graph.answers import Grouping, Judge
from dynasor_graph.budget import Budget, Ledger
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError
from dynasor_graph.executor import Judging
from dynasor_graph.questions import Question
from dynasor_graph.recordings import read_recording
from dynasor_graph.results import Result
from dynasor_graph.runner import solve, stream
from dynasor_graph.trace import TraceWriter
from dynasor_graph.types import JSON, Delta, Request

pytestmark = pytest.mark.anyio

SAID = [
    "\\boxed{a cat}",
    "\\boxed{a dog}",
    "\\boxed{one cat}",
    "\\boxed{the cat}",
    "\\boxed{A  cat}",
]


class Opinionated(FakeEngine):
    """Answers in turn; as a judge it knows cats. `sure`: the log-probability of what it says."""

    def __init__(self, verdict: str | None = None, sure: float = -0.1) -> None:
        self.turn = 0
        self.asked: list[str] = []
        self.verdict, self.sure = verdict, sure
        super().__init__(self.opinion)

    def opinion(self, prompt: str, request: Request) -> str:
        if "Do answer A and answer B mean the same?" not in prompt:
            self.turn += 1
            return SAID[(self.turn - 1) % len(SAID)]
        self.asked.append(prompt)
        return self.verdict or ("yes" if prompt.count("cat") in {0, 2} else "no")

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        async with aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                if request.max_tokens == 1 and delta.finish_reason:
                    delta.logprob = self.sure
                yield delta


HOW: JSON = {"answers": "judge", "policy": "fixed", "branches": 5, "extract": "boxed"}
ONE: JSON = {**HOW, "budget": Budget(concurrency=1)}


async def told(engine: FakeEngine, **settings: Any) -> tuple[list[JSON], Result]:
    events: list[JSON] = []
    async with aclosing(stream(Question(id="q", text="Who?"), engine=engine, **settings)) as items:
        async for item in items:
            if isinstance(item, Result):
                return events, item
            events.append(item)
    raise AssertionError("a program ends with a result")


async def test_each_answer_is_compared_once_with_each_class_and_every_token_is_on_the_ledger():
    engine = Opinionated()
    events, result = await told(engine, **ONE)
    branches = [event for event in events if event["event"] == "branch"]
    assert [branch["group"] for branch in branches] == [0, 1, 0, 0, 0]
    assert branches[-1]["votes"] == (4, 1)
    # dog with cat; one cat with cat and dog; the cat with both; "A  cat" is known by its words.
    assert len(engine.asked) == 1 + 2 + 2
    assert all("Question: Who?" in prompt for prompt in engine.asked)
    assert result.usage.probe == 5
    load = await engine.load()
    assert result.usage.generated == load.generated
    computed = result.usage.prompt + result.usage.probe_prefill
    assert computed == load.prompt_computed
    assert result.answer == "a cat"


async def test_the_judge_is_asked_the_same_in_whatever_order_answers_come():
    judge = Judge()
    assert judge.ask("q", "b", "a") == judge.ask("q", "a", "b")


@pytest.mark.parametrize(
    ("said", "logprob", "chance"),
    [
        pytest.param("yes", None, 1.0, id="yes"),
        pytest.param(" Yes.", -0.6931, 0.5, id="yes-half"),
        pytest.param("y", 0.0, 1.0, id="a-piece-of-yes"),
        pytest.param("No", -0.6931, 0.5, id="no-half"),
        pytest.param("**no**", 0.0, 0.0, id="no"),
        pytest.param("Maybe", -0.1, None, id="neither"),
        pytest.param("Ne", -0.1, None, id="a-piece-of-neither"),
        pytest.param("", None, None, id="nothing"),
    ],
)
def test_what_the_judge_says_is_read_as_a_probability_of_yes(
    said: str, logprob: float | None, chance: float | None
):
    found = Judge().sure(said, logprob)
    assert found == (None if chance is None else pytest.approx(chance, abs=1e-4))


async def test_a_judge_that_says_neither_yes_nor_no_makes_no_two_answers_equal_and_is_told_on():
    events, result = await told(Opinionated("perhaps"), **ONE)
    (fragile,) = [event for event in events if event["event"] == "fragile"]
    assert fragile["kind"] == "judge"
    assert fragile["unclear"] == result.usage.probe == 1 + 2 + 3
    branches = [event for event in events if event["event"] == "branch"]
    assert [branch["group"] for branch in branches] == [0, 1, 2, 3, 0]


async def test_a_judge_that_is_hardly_sure_makes_the_classes_fragile():
    events, _ = await told(Opinionated(sure=-0.65), **ONE)
    (fragile,) = [event for event in events if event["event"] == "fragile"]
    assert fragile["close"] == fragile["compared"] == 5
    assert (fragile["unclear"], fragile["unasked"]) == (0, 0)
    events, _ = await told(Opinionated(), **ONE)
    assert not [event for event in events if event["event"] == "fragile"]


async def test_a_hard_budget_holds_for_the_judge_too():
    engine = Opinionated()
    limit = 4 * len(SAID[0].encode()) + 8
    budget = Budget(tokens=limit, concurrency=1)
    _, result = await told(engine, **{**HOW, "budget": budget})
    assert result.usage.generated <= limit
    assert (await engine.load()).generated == result.usage.generated


async def test_without_a_token_left_answers_are_compared_by_their_words():
    ledger = Ledger(1)
    engine = Opinionated("yes")
    judging = Judging(Judge(), engine, "q", ledger)
    grouping = Grouping(judging)
    assert await grouping.add_all(["a", "b", "c", "a"]) == [0, 0, 1, 0]
    assert (judging.unasked, ledger.usage.probe) == (1, 1)


async def test_the_gold_answer_is_judged_as_well_and_paid_for():
    engine = Opinionated()
    question = Question(id="q", text="Who?", gold="some cat")
    result = await solve(question, engine=engine, **{**ONE, "branches": 1})
    assert result.correct
    assert result.usage.probe == 1
    assert result.usage.generated == (await engine.load()).generated


async def test_a_trace_keeps_the_classes_and_is_read_without_an_engine(tmp_path: Path):
    events, result = await told(Opinionated(), **ONE)
    with TraceWriter(tmp_path / "trace.jsonl") as trace:
        for event in [*events, {"event": "result", "program": "q", **result.to_json()}]:
            trace.write(event)
    (recorded,) = read_recording(tmp_path / "trace.jsonl")
    assert [s.answer for s in recorded.samples] == ["a cat", "a dog", "a cat", "a cat", "a cat"]


async def test_a_probed_chain_of_thought_has_its_answers_judged():
    def say(prompt: str, request: Request) -> str:
        if "mean the same?" in prompt:
            return "yes"
        if prompt.endswith("boxed{"):
            return f"{len(prompt)} cats}}"
        return "hm " * 200

    engine = FakeEngine(say, context=20_000)
    result = await solve(
        "Who?",
        algorithm="cot",
        engine=engine,
        answers="judge",
        policy="probe-consistency",
        sampling={"max_tokens": 600},
    )
    assert result.stop_reason == "certain"
    assert result.usage.generated == (await engine.load()).generated


async def test_outside_of_a_program_there_is_no_engine_to_ask():
    with pytest.raises(ConfigError, match="asks the engine of a program"):
        await Grouping(Judge()).add_all(["a", "b"])
