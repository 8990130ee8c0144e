"""Shadows: what another policy would have done is recorded, and nothing else becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal
from unittest.mock import patch

import pytest
from hypothesis import given, settings, strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.budget import Budget
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import EngineDied
from dynasor_graph.executor import Tally, elect
from dynasor_graph.policies import RULES, Decision, Fixed, Progress, Rule
from dynasor_graph.policies.base import go_on, terminate
from dynasor_graph.types import JSON
from tests.algorithms.climbing import JUDGED, search
from tests.executor.stage import Thinker, is_probe, registered, replies, reply, run

pytestmark = pytest.mark.anyio

LONG = "x" * 1500
VOTING = (
    "beta",
    "certaindex",
    "certaindex-every:every=1",
    "esc",
    "lossless",
    "majority-share",
    "beta | lossless",
)
PROBING = (
    "probe-consistency",
    "cot-high",
    "probe-consistency:window=4,agreement=0.7",
    "probe-confidence:confidence=0.9,window=3",
)


def shadows(events: Sequence[JSON]) -> dict[str, JSON]:
    """The shadow events by policy; none stands twice."""
    rows = [event for event in events if event["event"] == "shadow"]
    found = {row["policy"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def essence(state: JSON) -> JSON:
    """A state without times, and without what the shadows said."""
    branches = [{k: v for k, v in b.items() if k != "seconds"} for b in state["branches"]]
    left_out = {"seconds", "shadowed"}
    return {**{k: v for k, v in state.items() if k not in left_out}, "branches": branches}


def without_seconds(events: Sequence[JSON]) -> list[JSON]:
    left_out = {"seconds"}
    shown = (event for event in events if event["event"] != "shadow")
    return [{k: v for k, v in event.items() if k not in left_out} for event in shown]


# Many branches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [pytest.param(n, id=f"window-{n}") for n in (1, 3, 20)])
async def test_shadows_change_neither_results_nor_tokens(window: int):
    how: Any = {"policy": "fixed", "branches": 20, "budget": Budget(concurrency=window)}
    said = replies(["1", "1", "1", "1", "1", "2"])
    alone, events = await run("self_consistency", FakeEngine(said), **how)

    state, more = await run(
        "self_consistency", FakeEngine(said), shadow=("beta", "certaindex"), **how
    )

    assert essence(state) == essence(alone)
    assert without_seconds(more) == without_seconds(events)
    assert list(shadows(more)) == ["beta", "certaindex"] == state["shadowed"]
    assert alone["shadowed"] == []


async def test_a_shadow_says_when_why_and_what_it_would_have_answered():
    engine = FakeEngine(replies(["2", "1"] + ["1"] * 10))

    _, events = await run(
        "self_consistency", engine, policy="fixed", branches=12, shadow=({"rule": "beta"},)
    )

    (row,) = (event for event in events if event["event"] == "shadow")
    assert row["policy"] == {"rule": "beta"}
    assert (row["knob"], row["tokens"], row["answer"]) == (7, 7 * 24, "1")
    assert row["decision"]["verdict"] == "terminate"
    assert row["decision"]["evidence"] >= row["decision"]["threshold"] == 0.95
    assert "verdict" not in row, "nothing ended"
    assert (row["program"], row["round"]) == (events[0]["program"], 0)


async def test_a_shadow_that_never_stops_says_nothing():
    engine = FakeEngine(replies(["1", "2"]))

    state, events = await run(
        "self_consistency", engine, policy="fixed", branches=9, shadow=("beta", "certaindex")
    )

    assert (shadows(events), state["shadowed"]) == ({}, [])


async def test_what_the_policy_stopped_is_stopped_for_its_shadows_too():
    engine = FakeEngine(replies(["1"]))

    state, events = await run(
        "self_consistency",
        engine,
        policy="beta",
        shadow=("certaindex", "beta:confidence=0.9"),
        budget=Budget(concurrency=1),
    )

    assert (state["stop_reason"], len(state["branches"])) == ("certain", 4)
    assert {name: row["knob"] for name, row in shadows(events).items()} == {
        "beta:confidence=0.9": 3
    }


async def test_over_the_rounds_of_a_program_a_shadow_speaks_once():
    engine = FakeEngine(replies(["1", "1", "1", "1", "2"]))

    state, events = await run(
        "self_consistency", engine, policy="certaindex", branches=20, shadow=("beta", "esc")
    )

    assert state["rounds"] == 2
    assert shadows(events)["beta"]["round"] == 0


async def test_a_shadow_that_has_spoken_is_not_asked_again():
    asked: list[int] = []
    with patch.dict(RULES):

        class Spy(Rule):
            rule: Literal["spy"] = "spy"

            def decide(self, progress: Progress, /) -> Decision:
                asked.append(progress.knob)
                if progress.knob < 3:
                    return go_on("spy", progress)
                return terminate("spy", progress, evidence=None)

        await run(
            "self_consistency",
            FakeEngine(replies(["1"])),
            policy="fixed",
            branches=9,
            shadow=(Spy(),),
            budget=Budget(concurrency=1),
        )

    assert asked == [1, 2, 3]


async def test_log_probabilities_are_asked_for_where_a_shadow_reads_them():
    engines = FakeEngine(replies(["1"])), FakeEngine(replies(["1"]))
    how: Any = {"policy": "fixed", "branches": 3}
    with patch.dict(RULES):

        class Sure(Fixed):
            rule: Any = "sure"

            def reads(self) -> frozenset[str]:
                return frozenset({"logprobs"})

        await run("self_consistency", engines[0], shadow=("beta",), **how)
        await run("self_consistency", engines[1], shadow=("beta", "sure"), **how)

    asked = [[request.logprobs for request in engine.requests] for engine in engines]
    assert asked == [[False] * 3, [True] * 3]


@pytest.mark.parametrize("policy", VOTING)
@given(answers=st.lists(st.sampled_from(["1", "2", None]), min_size=1, max_size=16))
@settings(max_examples=12, deadline=None)
async def test_a_shadow_stops_where_the_policy_itself_stops(policy: str, answers: list[str | None]):
    how: Any = {"branches": len(answers), "budget": Budget(concurrency=1)}
    said = replies(answers)
    real, decided = await run("self_consistency", FakeEngine(said), policy=policy, **how)

    _, events = await run(
        "self_consistency", FakeEngine(said), policy="fixed", shadow=(policy,), **how
    )

    last = [event for event in decided if event["event"] == "decision"][-1]
    row = shadows(events).get(policy)
    assert (row is not None) == (last["verdict"] == "terminate")
    if row is not None:
        assert (row["knob"], row["tokens"]) == (last["knob"], last["tokens"])
        assert row["tokens"] == real["usage"]["main"]
        assert row["answer"] == real["answer"]
        assert {**row["decision"], "tokens": last["tokens"]} == real["decision"]


# Searches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", JUDGED)
@pytest.mark.parametrize("vote", ["weighted", "best", "majority"])
async def test_a_search_has_shadows_that_answer_as_it_votes(algorithm: str, vote: str):
    alone, _ = await search(algorithm, vote=vote)

    shadow = "certaindex:threshold=null,at=4,reward_threshold=0.1"
    state, events = await search(algorithm, vote=vote, shadow=(shadow,))

    assert essence(state) == essence(alone)
    row = shadows(events)[shadow]
    before = events[: events.index(row)]
    finished = [event for event in before if event["event"] == "branch"]
    leader = elect(await Tally.of(finished), vote)  # type: ignore[arg-type]
    assert (row["knob"], row["answer"]) == (4, leader and leader["answer"])
    assert 0 < row["tokens"] <= state["usage"]["gross"]  # a level is judged once it is whole


# Chains of thought -----------------------------------------------------------------------------


def settling(at: int) -> str:
    """Two answers that take turns, and from 400 tokens on one that stays."""
    return "5}" if at > 400 else f"{at // 64 % 2}}}"


@pytest.mark.parametrize("policy", PROBING)
@pytest.mark.parametrize(
    "probed",
    [
        pytest.param(settling, id="it-settles"),
        pytest.param(lambda at: "5}", id="at-once"),
        pytest.param(lambda at: f"{at}}}", id="never"),
        pytest.param(lambda at: "5} wait" if at % 128 < 64 else "5}", id="it-hesitates"),
    ],
)
async def test_a_shadow_of_a_whole_thought_stops_where_the_policy_itself_stops(
    policy: str, probed: Callable[[int], str]
):
    how: Any = {"round_tokens": 256}
    real, decided = await run("cot", FakeEngine(Thinker(LONG, probed)), policy=policy, **how)
    engine = FakeEngine(Thinker(LONG, probed))

    state, events = await run("cot", engine, policy="fixed", shadow=(policy,), **how)

    last = [event for event in decided if event["event"] == "decision"][-1]
    row = shadows(events).get(policy)
    assert (row is not None) == (last["verdict"] == "terminate")
    assert (state["stop_reason"], len(state["thought"])) == ("finished", len(LONG))
    if row is not None:
        assert (row["knob"], row["tokens"]) == (last["knob"], last["tokens"])
        assert row["answer"] == real["probes"][-1]["answer"] == "5"
        assert {**row["decision"], "tokens": last["tokens"]} == real["decision"]


async def test_a_shadow_that_probes_leaves_the_thought_as_it_is():
    script = Thinker(LONG + "\\boxed{8}", settling)
    alone, _ = await run("cot", FakeEngine(script), policy="fixed")

    state, _ = await run("cot", FakeEngine(script), policy="fixed", shadow=("cot-mild",))

    same = ("thought", "text", "answer", "stop_reason", "rounds", "finish")
    assert {k: state[k] for k in same} == {k: alone[k] for k in same}
    assert state["usage"]["main"] == alone["usage"]["main"]
    assert state["usage"]["probe"] > alone["usage"]["probe"] == 0


@pytest.mark.parametrize(
    ("policy", "shadow", "probes", "confidence"),
    [
        pytest.param("fixed", (), False, False, id="no-shadow"),
        pytest.param("fixed", ("fixed",), False, False, id="one-that-reads-nothing"),
        pytest.param("fixed", ("cot-mid",), True, False, id="probes"),
        pytest.param("fixed", ("cot-mid", "deer"), True, True, id="confidence"),
        pytest.param("cot-mid", ("deer",), True, True, id="confidence-beside-answers"),
    ],
)
async def test_a_thought_is_probed_as_its_shadows_need(
    policy: str, shadow: tuple[str, ...], probes: bool, confidence: bool
):
    engine = FakeEngine(Thinker(LONG, settling))

    await run("cot", engine, policy=policy, shadow=shadow)

    asked_on_the_way = [request for request in engine.requests if is_probe(request)]
    assert bool(asked_on_the_way) is probes
    assert any(request.logprobs for request in asked_on_the_way) is confidence


@pytest.mark.parametrize("tokens", [pytest.param(n, id=f"{n}-tokens") for n in (100, 257, 900)])
async def test_the_probes_of_shadows_are_within_the_budget(tokens: int):
    engine = FakeEngine(Thinker(LONG, lambda at: "y" * 99, last="\\boxed{17}" + "z" * 50))

    state, _ = await run(
        "cot",
        engine,
        policy="fixed",
        shadow=("cot-mild",),
        answer_tokens=20,
        budget=Budget(tokens=tokens),
    )

    assert (await engine.load()).generated <= tokens
    assert (state["answer"], state["stop_reason"]) == ("17", "tokens")


# Crashing --------------------------------------------------------------------------------------


async def test_after_a_crash_what_a_shadow_said_in_an_earlier_round_is_known():
    said = [*replies(["1", "1", "1", "1", "2", "1", "1"]), reply("1", tokens=400)]
    graph = find_algorithm("self_consistency").compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    how: Any = {"policy": "certaindex", "branches": 8, "shadow": ["beta", "esc:window=4"]}
    engine = FakeEngine(said)
    before: list[JSON] = []

    async def until_it_dies(name: str) -> None:
        context: Any = {"engine": name, **how}
        start: Any = {"question": "q"}
        async for event in graph.astream(start, config, context=context, stream_mode="custom"):
            before.append(event)
            if sum(one["event"] == "branch" for one in before) == 7:
                engine.kill()

    with registered(engine) as name, pytest.raises(EngineDied):
        await until_it_dies(name)
    with registered(FakeEngine(said)) as name:
        context: Any = {"engine": name, **how}
        parts: Any = graph.astream(None, config, context=context, stream_mode="custom")
        after = [event async for event in parts]

    assert {name: row["round"] for name, row in shadows(before).items()} == {
        "beta": 0,
        "esc:window=4": 0,
    }
    assert [event["event"] for event in after].count("branch") == 3
    assert shadows(after) == {}
    assert (await graph.aget_state(config)).values["shadowed"] == ["beta", "esc:window=4"]
