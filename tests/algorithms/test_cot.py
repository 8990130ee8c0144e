"""Chain of thought: what it answers, when it stops, and the errors of public code it does not make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.algorithms.cot import PROBE
from dynasor_graph.budget import Budget
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError, EngineDied, PromptTooLong
from dynasor_graph.results import Result
from dynasor_graph.runner import configure, solve, stream
from dynasor_graph.types import JSON, Request, StopReason
from tests.executor.stage import (
    CONCLUDE,
    THINKING,
    Thinker,
    is_last_word,
    is_probe,
    registered,
    run,
)

pytestmark = pytest.mark.anyio

PROMPT = f"user: q\n{THINKING}"
LONG = "x" * 1500


def answers(*responses: str) -> Callable[[int], str]:
    """The first probe gets the first response, and so on; the last one stays."""
    left = list(responses)
    return lambda at: left.pop(0) if len(left) > 1 else left[0]


# When it stops ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("responses", "stops_at"),
    [
        pytest.param(["5}"], 3, id="three-that-agree"),
        pytest.param(["4}", "5}"], 4, id="a-first-guess-then-three"),
        pytest.param(["5}", "5}", "6}", "5}"], 6, id="a-change-starts-the-count-again"),
        pytest.param(["5}", "5} hmm, wait", "5}"], 4, id="a-hesitating-one-is-omitted"),
        pytest.param(["unknown}"], 3, id="no-in-unknown-is-no-hesitation"),
        pytest.param(["none}"], 3, id="no-in-none-is-no-hesitation"),
        pytest.param(["5} but"], None, id="hesitation-after-the-answer"),
        pytest.param(["Buttercup}"], 3, id="but-in-a-name-is-no-hesitation"),
        pytest.param(["}"], None, id="empty-answers-never-stop"),
        pytest.param(["never closed"], None, id="answers-that-do-not-end-never-stop"),
        pytest.param(["5}", "}", "5}", "}", "5}", "}", "5}", "}"], None, id="gaps-never-stop"),
    ],
)
async def test_it_stops_when_three_probes_agree(responses: list[str], stops_at: int | None):
    engine = FakeEngine(Thinker(LONG, answers(*responses)))

    state, _ = await run("cot", engine, interval=64, policy="probe-consistency:window=3")

    if stops_at is None:
        assert (state["stop_reason"], state["finish"]) == ("finished", "stop")
        assert len(state["thought"]) == len(LONG)
    else:
        assert (state["stop_reason"], state["finish"]) == ("certain", "terminated")
        assert len(state["probes"]) == stops_at


async def test_answers_that_differ_never_stop_it():
    engine = FakeEngine(Thinker(LONG, lambda at: f"{at}}}"))

    state, _ = await run("cot", engine, interval=64, policy="cot-high")

    assert (state["stop_reason"], state["finish"]) == ("finished", "stop")
    assert len(state["probes"]) >= 20
    assert state["certaindex"] < 1.0


async def test_its_own_end_is_an_end():
    engine = FakeEngine(Thinker("x" * 80 + "</think>So \\boxed{8}"))

    state, _ = await run("cot", engine, interval=32)

    assert (state["answer"], state["stop_reason"], state["finish"]) == ("8", "finished", "stop")
    assert not any(is_last_word(request) for request in engine.requests)
    assert state["text"].endswith("So \\boxed{8}")


async def test_fixed_sends_no_probe_at_all():
    engine = FakeEngine(Thinker(LONG + "\\boxed{8}"))

    state, _ = await run("cot", engine, policy="fixed", round_tokens=400)

    assert not any(is_probe(request) for request in engine.requests)
    assert {request.chunk for request in engine.requests} == {0}  # nobody looks mid-way
    assert (state["usage"]["probe"], state["answer"], state["rounds"]) == (0, "8", 4)


async def test_a_policy_over_votes_is_refused():
    with pytest.raises(
        ConfigError, match=r"cot: .*'certaindex' looks at votes.*gives confidence, probes"
    ):
        configure("cot", policy="certaindex")


async def test_a_prompt_that_leaves_no_room_is_refused():
    engine = FakeEngine(Thinker(LONG), context=len(PROMPT) + len(PROBE) + 20)

    with pytest.raises(PromptTooLong, match="shorten the question"):
        await solve("q", engine=engine, algorithm="cot")
    assert engine.requests == []


# The answer ------------------------------------------------------------------------------------


async def test_a_stopped_thought_is_made_to_answer_from_its_exact_tokens():
    engine = FakeEngine(Thinker(LONG, last="\\boxed{17}"))

    state, events = await run("cot", engine, answer_tokens=33)

    last = engine.requests[-1]
    thought = bytes(state["thought"])
    assert last.tokens == (*PROMPT.encode(), *thought, *CONCLUDE.encode())
    assert (last.max_tokens, last.chunk) == (33, 0)
    assert state["answer"] == "17"
    assert state["text"] == thought.decode() + CONCLUDE + "\\boxed{17}"
    said = [event for event in events if event["event"] == "answer"]
    assert [(event["text"], event["tokens"]) for event in said] == [("\\boxed{17}", 11)]
    assert state["usage"]["main"] == len(thought) + 11


async def test_a_thought_that_is_cut_at_its_limit_is_made_to_answer():
    engine = FakeEngine(Thinker(LONG, lambda at: f"{at}}}", last="\\boxed{17}"))

    state, _ = await run("cot", engine, sampling={"max_tokens": 100})

    assert (state["finish"], state["stop_reason"]) == ("length", "finished")
    assert (len(state["thought"]), state["answer"]) == (100, "17")


async def test_a_thought_that_is_closed_already_is_not_closed_again():
    engine = FakeEngine(Thinker("x" * 80 + "</think>" + "y" * 400 + "\\boxed{3}"))

    state, _ = await run("cot", engine, sampling={"max_tokens": 120}, answer_tokens=500)

    assert engine.requests[-1].tokens == (*PROMPT.encode(), *state["thought"])
    assert (state["answer"], state["text"].count("</think>")) == ("3", 1)


@pytest.mark.parametrize(
    ("last", "answer"),
    [
        pytest.param("\\boxed{17}", "17", id="the-forced-answer-counts"),
        pytest.param("I do not know.", "5", id="else-the-last-probe"),
        pytest.param("", "5", id="even-if-nothing-is-said"),
    ],
)
async def test_the_last_probe_answers_where_the_thought_cannot(last: str, answer: str):
    engine = FakeEngine(Thinker(LONG, answers("4}", "5}", "5}"), last))

    state, _ = await run("cot", engine, policy="cot-high")

    assert (state["answer"], state["stop_reason"]) == (answer, "certain")


async def test_a_probe_that_hesitated_or_gave_nothing_does_not_answer():
    engine = FakeEngine(Thinker("x" * 300, answers("4}", "5} wait", "}"), last=""))

    state, _ = await run("cot", engine, sampling={"max_tokens": 250})

    assert [probe["answer"] for probe in state["probes"]] == ["4", "5", None]
    assert state["answer"] == "4"


async def test_a_thought_without_any_answer_gives_none():
    engine = FakeEngine(Thinker(LONG, answers("}"), last=""))

    state, _ = await run("cot", engine, sampling={"max_tokens": 250})

    assert (state["answer"], state["stop_reason"]) == (None, "finished")


# The budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy", [pytest.param("fixed", id="no-probes"), pytest.param("cot-mild", id="probes")]
)
@pytest.mark.parametrize("tokens", [pytest.param(n, id=f"{n}-tokens") for n in (30, 100, 257, 900)])
async def test_the_budget_keeps_back_what_the_answer_needs(policy: str, tokens: int):
    script = Thinker(LONG, lambda at: "y" * 99, last="\\boxed{17}" + "z" * 50)
    engine = FakeEngine(script)

    state, _ = await run(
        "cot", engine, policy=policy, answer_tokens=20, budget=Budget(tokens=tokens)
    )

    last = engine.requests[-1]
    assert is_last_word(last)
    assert (last.max_tokens, state["answer"]) == (20, "17")
    assert tokens - 20 <= (await engine.load()).generated <= tokens
    assert state["stop_reason"] == "tokens"


async def test_a_budget_smaller_than_an_answer_is_spent_on_the_answer():
    engine = FakeEngine(Thinker(LONG, last="\\boxed{1}" * 9))

    state, _ = await run("cot", engine, answer_tokens=64, budget=Budget(tokens=12))

    assert [request.max_tokens for request in engine.requests] == [12]
    assert (state["answer"], state["stop_reason"], state["thought"]) == ("1", "tokens", [])


async def test_the_rounds_of_the_budget_end_the_thought():
    engine = FakeEngine(Thinker(LONG, lambda at: f"{at}}}", last="\\boxed{17}"))

    state, _ = await run("cot", engine, round_tokens=128, budget=Budget(rounds=2))

    assert (len(state["thought"]), state["rounds"]) == (256, 2)
    assert (state["answer"], state["stop_reason"]) == ("17", "rounds")


async def solve_until(
    engine: FakeEngine, is_time: Callable[[JSON], bool], **settings: Any
) -> Result:
    """Solve, and hold the engine's gate from the event on for which `is_time` says so."""
    items = stream("q", engine=engine, algorithm="cot", **settings)
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Result):
                return item
            if is_time(item):
                engine.gate.clear()
    raise AssertionError("a program ends with a result")


async def test_after_the_deadline_nothing_more_is_generated():
    engine = FakeEngine(Thinker(LONG, answers("4}", "5}")))

    result = await solve_until(
        engine,
        lambda event: event["event"] == "probe" and event["answer"] == "5",
        policy="probe-consistency:window=99",
        budget=Budget(seconds=1.0),
    )

    assert (result.stop_reason, result.answer) == (StopReason.DEADLINE, "5")
    assert not any(is_last_word(request) for request in engine.requests)
    load = await engine.load()
    assert (load.running, load.waiting, load.generated) == (0, 0, result.usage.generated)


async def test_the_deadline_bounds_the_forced_answer_too():
    engine = FakeEngine(Thinker(LONG, last="\\boxed{17}" + "z" * 40))

    result = await solve_until(
        engine, lambda event: event.get("verdict") == "terminate", budget=Budget(seconds=1.0)
    )

    assert any(is_last_word(request) for request in engine.requests)
    assert (result.stop_reason, result.answer) == (StopReason.CERTAIN, "5")  # of its probes
    assert result.latency_s < 10
    load = await engine.load()
    assert (load.running, load.waiting, load.generated) == (0, 0, result.usage.generated)


# Cancelling, crashing, resuming ----------------------------------------------------------------


async def test_leaving_early_frees_the_chain_and_its_probes():
    engine = FakeEngine(Thinker(LONG, answers("5}", "y" * 900)))
    items = stream("q", engine=engine, algorithm="cot", probe_tokens=1000)
    async with aclosing(items):
        async for item in items:
            if isinstance(item, dict) and item["event"] == "probe":
                break

    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)
    assert load.generated < len(LONG)


async def test_a_probe_that_fails_fails_the_program_with_its_own_reason():
    def answer(at: int) -> str:
        engine.kill()
        return "5}"

    engine = FakeEngine(Thinker(LONG, answer))

    with pytest.raises(EngineDied, match="was killed"):
        await solve("q", engine=engine, algorithm="cot")

    load = await engine.load()
    assert (load.running, load.waiting) == (0, 0)


def essence(state: JSON) -> JSON:
    keys = ("answer", "verdict", "stop_reason", "rounds", "text", "thought", "probes", "finish")
    return {key: state[key] for key in keys}


@pytest.mark.parametrize(
    "database",
    [pytest.param(None, id="memory"), pytest.param("checkpoints.sqlite", id="sqlite")],
)
async def test_after_a_crash_only_the_round_that_crashed_is_thought_again(
    database: str | None, tmp_path: Any
):
    script = Thinker(LONG, lambda at: "7}" if at > 500 else f"{at}}}", "\\boxed{7}")
    settings: Any = {"round_tokens": 256, "interval": 64}
    config: Any = {"configurable": {"thread_id": "t"}}
    whole, _ = await run("cot", FakeEngine(script), **settings)

    async def crash_and_resume(saver: Any) -> tuple[FakeEngine, JSON]:
        graph = find_algorithm("cot").compile(checkpointer=saver)
        engine = FakeEngine(script)
        with registered(engine) as name:
            context = {"engine": name, **settings}
            parts = graph.astream({"question": "q"}, config, context=context, stream_mode="custom")
            try:
                async for event in parts:
                    if event["event"] == "probe" and event["at"] > 512:  # in the third round
                        engine.kill()
            except EngineDied:
                pass
            else:
                raise AssertionError("it did not notice that its engine died")
        again = FakeEngine(script)
        with registered(again) as name:
            state = await graph.ainvoke(None, config, context={"engine": name, **settings})
        return again, state

    if database is None:
        again, state = await crash_and_resume(InMemorySaver())
    else:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / database)) as saver:
            again, state = await crash_and_resume(saver)

    assert essence(state) == essence(whole)
    assert again.requests[0].tokens == (*PROMPT.encode(), *b"x" * 512)
    kept = sum(
        branch["usage"].get("main", 0) + branch["usage"].get("probe", 0)
        for branch in state["branches"][:2]
    )
    assert kept + (await again.load()).generated == sum(
        state["usage"][line] for line in ("main", "probe", "terminated")
    )


class Breaking(InMemorySaver):
    """Breaks down when the verdict "terminate" is to be stored, and stays so until repaired."""

    sound, broken = False, False

    async def aput_writes(self, config: Any, writes: Any, task_id: str, path: str = "") -> None:
        verdicts = [value for channel, value in writes if channel == "verdict"]
        self.broken = self.broken or ("terminate" in verdicts and not self.sound)
        self._check()
        await super().aput_writes(config, writes, task_id, path)

    async def aput(self, *args: Any) -> Any:
        self._check()
        return await super().aput(*args)

    def _check(self) -> None:
        if self.broken:
            raise OSError("the disk is full")


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("probe-consistency", id="answers"),
        pytest.param("probe-confidence:confidence=0.9,window=3", id="confidence"),
    ],
)
async def test_a_round_that_was_thought_but_not_recorded_keeps_its_verdict(policy: str):
    script = Thinker(LONG)
    config: Any = {"configurable": {"thread_id": "t"}}
    saver = Breaking()
    graph = find_algorithm("cot").compile(checkpointer=saver)
    engine = FakeEngine(script)
    with registered(engine) as name, pytest.raises(OSError, match="the disk is full"):
        await graph.ainvoke({"question": "q"}, config, context={"engine": name, "policy": policy})
    saver.sound, saver.broken = True, False
    assert (await graph.aget_state(config)).next == ("think",)

    again = FakeEngine(script)
    with registered(again) as name:
        state = await graph.ainvoke(None, config, context={"engine": name, "policy": policy})

    # The branch was stored, so only the policy is asked again, and the answer.
    assert [is_last_word(request) for request in again.requests] == [True]
    assert (state["stop_reason"], state["verdict"], state["rounds"]) == ("certain", "terminate", 1)
    assert (state["answer"], state["certaindex"], len(state["probes"])) == ("5", 1.0, 3)
    assert state["decision"]["verdict"] == "terminate"


# The rest --------------------------------------------------------------------------------------


async def test_the_drawing_carries_the_verdicts():
    drawn = find_algorithm("cot").compile().get_graph().draw_mermaid()

    assert "think -. &nbsp;terminate&nbsp; .-> answer" in drawn
    assert "think -. &nbsp;branch&nbsp; .-> think" in drawn  # two labels to one node: one is drawn


async def test_rounds_draw_their_own_seeds_and_the_same_program_the_same():
    async def seeds(seed: int | None) -> list[int | None]:
        engine = FakeEngine(Thinker("x" * 500))
        await run("cot", engine, policy="fixed", round_tokens=100, sampling={"seed": seed})
        return [request.seed for request in engine.requests]

    first, again, other, none = [await seeds(seed) for seed in (1, 1, 2, None)]

    assert first == again
    assert len(set(first)) == 6
    assert set(none) == {None}
    assert not set(first) & set(other)


async def test_the_thinking_mode_is_a_setting():
    engine = FakeEngine(["The answer is 4."])

    state, _ = await run("cot", engine, thinking=False, system="be brief")

    assert engine.requests[0].tokens == tuple(b"system: be brief\nuser: q\nassistant: ")
    assert state["answer"] == "4"


async def test_many_chains_on_a_crowded_engine_do_not_mix():
    def answer(prompt: str, request: Request) -> str:
        number = prompt[len("user: ")]
        said = f"\\boxed{{{number}}}"
        return Thinker(LONG + said, lambda at: number + "}", said)(prompt, request)

    engine = FakeEngine(answer, slots=3)

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(solve(str(number), engine=engine, algorithm="cot"))
            for number in range(5)
        ]

    results = [task.result() for task in tasks]
    assert [result.answer for result in results] == ["0", "1", "2", "3", "4"]
    spent = sum(result.usage.generated for result in results)
    assert spent == (await engine.load()).generated
