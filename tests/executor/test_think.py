"""One chain of thought: probes beside it, on its exact tokens, that never become part of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.algorithms.cot import PROBE
from dynasor_graph.budget import Budget, Usage
from dynasor_graph.engine import FakeEngine
from dynasor_graph.types import JSON, Delta, Request
from tests.executor.stage import (
    PROMPT,
    Thinker,
    is_last_word,
    is_probe,
    probes_of,
    registered,
    run,
    thought_in,
)

pytestmark = pytest.mark.anyio

NEVER: Any = {"policy": "probe-consistency:window=99"}  # probes, and never stops


def ats(state: JSON) -> list[int]:
    return [probe["at"] for probe in state["probes"]]


# Where probes are made -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "probes"),
    [
        pytest.param(63, 0, id="shorter-than-the-interval"),
        pytest.param(64, 0, id="ends-with-the-interval"),
        pytest.param(65, 1, id="one-token-longer"),
        pytest.param(128, 1, id="ends-with-the-second"),
        pytest.param(200, 3, id="three-full-intervals"),
    ],
)
async def test_the_first_probe_comes_after_a_full_interval_and_none_after_the_chain_has_ended(
    length: int, probes: int
):
    engine = FakeEngine(Thinker("x" * (length - 1)))  # and the end of text

    state, _ = await run("cot", engine, interval=64, **NEVER)

    assert len(probes_of(engine)) == probes
    assert (state["finish"], state["usage"]["main"]) == ("stop", length)


@pytest.mark.parametrize("block", [pytest.param(n, id=f"block-{n}") for n in (1, 7, 16, 48)])
@pytest.mark.parametrize("interval", [pytest.param(n, id=f"every-{n}") for n in (5, 32, 100)])
async def test_a_probe_is_the_prompt_the_exact_thought_up_to_a_whole_block_and_the_suffix(
    block: int, interval: int
):
    chain = "".join(chr(97 + i % 26) for i in range(700))
    engine = FakeEngine(Thinker(chain), block=block)

    state, _ = await run("cot", engine, interval=interval, **NEVER)

    assert probes_of(engine)
    for number, request in enumerate(probes_of(engine), start=1):
        thought = thought_in(request)
        assert thought
        assert chain.startswith(thought)
        assert request.tokens == tuple((PROMPT + thought + PROBE).encode())
        # The engine finds whole blocks again, and computes at least the last token.
        assert (len(PROMPT) + len(thought)) % block == 1 % block
        if interval >= block:
            assert number * interval - block < len(thought) <= number * interval
    answered = [len(thought_in(request)) for request in probes_of(engine)]
    assert ats(state) == answered[: len(state["probes"])]
    assert answered == sorted(set(answered))  # nothing is probed twice


async def test_a_probe_asks_with_its_own_sampling_and_before_the_streams():
    engine = FakeEngine(Thinker("x" * 200))

    await run("cot", engine, probe_tokens=9, probe_temperature=0.3, **NEVER)

    for request in probes_of(engine):
        assert (request.max_tokens, request.temperature, request.priority) == (9, 0.3, -1)


@pytest.mark.parametrize(
    ("warm_up", "first"),
    [
        pytest.param(0, 54, id="none"),
        pytest.param(100, 118, id="100"),
        pytest.param(119, 182, id="119"),
    ],
)
async def test_nothing_is_probed_during_the_warm_up(warm_up: int, first: int):
    engine = FakeEngine(Thinker("x" * 400))

    state, _ = await run("cot", engine, interval=64, warm_up=warm_up, **NEVER)

    assert ats(state)[0] == first >= warm_up


async def test_nothing_is_probed_once_the_thought_is_closed():
    engine = FakeEngine(Thinker("x" * 100 + "</think>" + "y" * 400 + "\\boxed{5}"))

    state, _ = await run("cot", engine, interval=64, **NEVER)

    assert ats(state) == [54]
    assert len(engine.requests) == 2


async def test_no_probe_is_made_that_does_not_fit_the_context():
    context = len(PROMPT) + len(PROBE) + 20 + 150
    engine = FakeEngine(Thinker("x" * 1000), context=context)

    state, _ = await run("cot", engine, interval=16, answer_tokens=1, **NEVER)

    assert all(len(request.tokens) + request.max_tokens <= context for request in engine.requests)
    assert len(state["thought"]) == 150
    assert len(probes_of(engine)) > 5


# What probes are not ---------------------------------------------------------------------------


async def test_probes_are_not_part_of_the_chain():
    chain = "".join(chr(97 + i % 26) for i in range(500))
    engine = FakeEngine(Thinker(chain, lambda at: "a loud response}"))

    state, events = await run("cot", engine, **NEVER)

    assert bytes(state["thought"]).decode() == chain
    assert state["text"] == chain
    assert state["usage"]["main"] == len(chain) + 1
    asked = [event for event in events if event["event"] == "probe"]
    assert len(asked) == len(state["probes"]) == 7
    assert state["usage"]["probe"] == sum(event["tokens"] for event in asked) == 7 * 17
    assert state["usage"]["probe_prefill"] == sum(event["prefill"] for event in asked)
    assert state["usage"]["probe_cached"] == sum(event["cached"] for event in asked)
    assert state["usage"]["gross"] == len(chain) + 1
    assert state["usage"]["net"] == len(chain) + 1 + 7 * 17 + state["usage"]["probe_prefill"]


class Slow(FakeEngine):
    """Holds the probe of one cut until `later` other probes have been answered."""

    def __init__(self, *args: Any, hold: int, later: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self.answered: list[int] = []
        self._hold, self._later = hold, later
        self._free = asyncio.Event()

    async def abort(self, request: Request) -> None:
        self._free.set()
        await super().abort(request)

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        at = len(thought_in(request))
        if is_probe(request) and at == self._hold:
            await self._free.wait()
        async with aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                yield delta
        if is_probe(request):
            self.answered.append(at)
            if len(self.answered) == self._later:
                self._free.set()


async def test_probes_are_observed_in_the_order_of_their_cuts_even_if_answered_out_of_order():
    engine = Slow(Thinker("x" * 1000, lambda at: f"{at}}}"), hold=54, later=3)

    state, events = await run("cot", engine, interval=64, **NEVER)

    assert engine.answered[:5] == [118, 182, 246, 54, 310]
    assert ats(state) == sorted(ats(state))
    assert ats(state)[:4] == [54, 118, 182, 246]
    assert [e["at"] for e in events if e["event"] == "probe"] == ats(state)
    assert [probe["answer"] for probe in state["probes"]] == [str(at) for at in ats(state)]


async def test_a_late_early_probe_cannot_be_passed_over_by_agreement_after_it():
    # Cuts 118, 182 and 246 agree, but the window of the newest three is not known before 54 is.
    engine = Slow(Thinker("x" * 1000), hold=54, later=3)

    state, _ = await run("cot", engine, interval=64, policy="probe-consistency:window=3")

    assert ats(state)[:3] == [54, 118, 182]
    assert (state["stop_reason"], state["decision"]["evidence"]) == ("certain", 1.0)


async def test_a_chain_that_was_cut_at_its_limit_is_not_probed_there():
    engine = FakeEngine(Thinker("x" * 1000))

    state, _ = await run("cot", engine, interval=64, sampling={"max_tokens": 128}, **NEVER)

    assert ats(state) == [54]
    assert len(probes_of(engine)) == 1


async def test_probes_that_were_not_observed_when_the_chain_ended_say_nothing():
    # The first is held until the chain has ended, and so the others wait to be observed.
    engine = Slow(Thinker("x" * 230 + "\\boxed{7}"), hold=54, later=99)

    state, _ = await run("cot", engine, interval=64, policy="probe-consistency:window=2")

    assert engine.answered[:2] == [118, 182]
    assert (state["probes"], state["answer"]) == ([], "7")
    assert (state["stop_reason"], state["finish"]) == ("finished", "stop")


async def test_probes_that_are_not_answered_when_the_chain_ends_are_aborted():
    engine = FakeEngine(Thinker("x" * 100, lambda at: "y" * 3000 + "}"))

    state, events = await run("cot", engine, interval=64, probe_tokens=4000, **NEVER)

    assert len(probes_of(engine)) == 1
    assert (state["probes"], state["finish"]) == ([], "stop")
    assert 0 < state["usage"]["probe"] < 200  # what it had cost until then is on the ledger
    assert all(event["event"] != "probe" for event in events)


async def test_after_the_end_of_the_chain_nothing_more_is_generated_or_probed():
    engine = FakeEngine(Thinker("x" * 150 + "\\boxed{7}"))

    state, _ = await run("cot", engine, interval=64, **NEVER)

    assert (state["stop_reason"], state["answer"], state["finish"]) == ("finished", "7", "stop")
    assert len(engine.requests) - len(probes_of(engine)) == 1
    assert state["usage"]["main"] == 150 + 9 + 1


async def test_a_certain_policy_stops_the_chain_and_all_probes_at_once():
    engine = FakeEngine(Thinker("x" * 4000))

    state, _ = await run("cot", engine, interval=64, policy="probe-consistency:window=2")

    assert (state["stop_reason"], state["finish"]) == ("certain", "terminated")
    assert ats(state) == [54, 118]
    assert len(state["thought"]) < 250
    # The chain was stopped, but the answer is made of it: none of it is waste.
    assert state["usage"]["terminated"] == 0
    assert state["branches"][0]["usage"]["main"] == len(state["thought"])


# Confidence ------------------------------------------------------------------------------------


class Unsure(FakeEngine):
    """Is sure of a probe's tokens to e^-0.1 each, like any fake, but of early cuts to e^-1."""

    def __init__(self, *args: Any, until: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self._until = until

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        early = is_probe(request) and len(thought_in(request)) < self._until
        async with aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                known = early and delta.logprob is not None
                yield replace(delta, logprob=10 * (delta.logprob or 0.0)) if known else delta


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        pytest.param("probe-confidence", True, id="reads-it"),
        pytest.param("deer", True, id="preset"),
        pytest.param("probe-consistency:window=99 | deer", True, id="a-part-reads-it"),
        pytest.param("probe-consistency:window=99", False, id="reads-answers-alone"),
    ],
)
async def test_the_confidence_of_probes_is_asked_for_where_the_policy_reads_it(
    policy: str, asked: bool
):
    engine = FakeEngine(Thinker("x" * 300))

    state, events = await run("cot", engine, interval=64, policy=policy)

    assert {request.logprobs for request in probes_of(engine)} == {asked}
    assert not any(request.logprobs for request in engine.requests if not is_probe(request))
    # "5}" and its end, each of probability e^-0.1; below the 0.95 that DEER wants.
    expected = round(math.exp(-0.1), 6) if asked else None
    assert [probe["confidence"] for probe in state["probes"]] == [expected] * 4
    told = [event["confidence"] for event in events if event["event"] == "probe"]
    assert told == [expected] * 4


@pytest.mark.parametrize("round_tokens", [pytest.param(n, id=f"rounds-of-{n}") for n in (64, 2048)])
async def test_a_confident_probe_stops_the_chain_in_any_round(round_tokens: int):
    engine = Unsure(Thinker("x" * 2000), until=200)

    state, events = await run(
        "cot",
        engine,
        interval=64,
        round_tokens=round_tokens,
        policy="probe-confidence:confidence=0.9",
    )

    assert (state["stop_reason"], ats(state)) == ("certain", [54, 118, 182, 246])
    assert [p["confidence"] for p in state["probes"]] == [0.367879] * 3 + [0.904837]
    decisions = [event for event in events if event["event"] == "decision"]
    assert [(e["evidence"], e["threshold"]) for e in decisions] == [
        *[(0.367879, 0.9)] * 3,
        (0.904837, 0.9),
    ]


async def test_two_confident_probes_may_be_of_two_rounds():
    engine = Unsure(Thinker("x" * 2000), until=100)

    state, _ = await run(
        "cot",
        engine,
        interval=64,
        round_tokens=64,
        policy="probe-confidence:confidence=0.9,window=2",
    )

    assert (state["stop_reason"], ats(state), state["rounds"]) == ("certain", [54, 118, 182], 3)


async def test_probes_of_an_earlier_version_have_no_confidence_and_the_chain_goes_on():
    rows = [{"at": 54, "answer": "5", "text": "5}"}]
    engine = FakeEngine(Thinker("x" * 2000))
    graph = find_algorithm("cot").compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "old"}}
    with registered(engine) as name:
        context: Any = {
            "engine": name,
            "interval": 64,
            "round_tokens": 64,
            "policy": "probe-confidence:confidence=0.9,window=2",
        }
        await graph.ainvoke({"question": "q"}, config, context=context, interrupt_after=["think"])
        await graph.aupdate_state(config, {"probes": rows}, as_node="think")
        state = await graph.ainvoke(None, config, context=context)

    assert state["probes"][0] == rows[0]
    assert [probe.get("confidence") for probe in state["probes"]] == [None, 0.904837, 0.904837]
    assert (state["stop_reason"], ats(state)) == ("certain", [54, 118, 182])


async def test_an_engine_that_reports_no_probabilities_leaves_the_chain_alone():
    class Silent(FakeEngine):
        async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
            async with aclosing(super().stream(request)) as deltas:
                async for delta in deltas:
                    yield replace(delta, logprob=None)

    state, events = await run(
        "cot", Silent(Thinker("x" * 300)), interval=64, policy="probe-confidence:confidence=0.01"
    )

    assert (state["stop_reason"], state["finish"]) == ("finished", "stop")
    assert [probe["confidence"] for probe in state["probes"]] == [None] * 4
    assert all("evidence" not in event for event in events if event["event"] == "decision")


# Limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [pytest.param(n, id=f"every-{n}") for n in (7, 32, 64, 1000)])
@pytest.mark.parametrize("round_tokens", [pytest.param(n, id=f"rounds-of-{n}") for n in (50, 2048)])
async def test_max_tokens_is_never_overshot(interval: int, round_tokens: int):
    engine = FakeEngine(Thinker("x" * 1000), speed=5)

    state, _ = await run(
        "cot",
        engine,
        interval=interval,
        round_tokens=round_tokens,
        sampling={"max_tokens": 333},
        **NEVER,
    )

    assert (len(state["thought"]), state["finish"]) == (333, "length")
    assert state["stop_reason"] == "finished"
    assert sum(branch["tokens"] for branch in state["branches"]) == 333


async def test_a_probe_the_budget_cannot_pay_is_left_out_and_the_chain_goes_on():
    engine = FakeEngine(Thinker("x" * 1000, lambda at: "y" * 30))

    state, _ = await run(
        "cot",
        engine,
        interval=64,
        probe_tokens=20,
        answer_tokens=10,
        budget=Budget(tokens=200),
        **NEVER,
    )

    usage = state["usage"]
    assert usage["main"] + usage["probe"] <= 200
    assert usage["probe"] == 20 * len(probes_of(engine))
    assert state["stop_reason"] == "tokens"
    assert is_last_word(engine.requests[-1])


# Rounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "round_tokens", [pytest.param(n, id=f"rounds-of-{n}") for n in (64, 128, 320, 448, 5000)]
)
async def test_rounds_do_not_change_what_is_probed(round_tokens: int):
    engine = FakeEngine(Thinker("x" * 500, lambda at: f"{at}}}"))

    state, events = await run("cot", engine, interval=64, round_tokens=round_tokens, **NEVER)

    assert ats(state) == [54, 118, 182, 246, 310, 374, 438]
    assert [event["at"] for event in events if event["event"] == "probe"] == ats(state)
    assert bytes(state["thought"]).decode() == "x" * 500
    assert state["rounds"] == -(-501 // round_tokens)


@pytest.mark.parametrize(
    "round_tokens", [pytest.param(n, id=f"rounds-of-{n}") for n in (5, 16, 48, 100, 130)]
)
async def test_rounds_of_any_length_probe_once_an_interval_and_no_cut_twice(round_tokens: int):
    engine = FakeEngine(Thinker("x" * 500))

    state, _ = await run("cot", engine, interval=64, round_tokens=round_tokens, **NEVER)

    cuts = ats(state)
    assert cuts == sorted(set(cuts))
    assert all(b - a <= 64 + min(64, round_tokens) for a, b in zip([0, *cuts], cuts, strict=False))
    assert len(cuts) >= 4
    assert bytes(state["thought"]).decode() == "x" * 500


async def test_agreement_is_counted_across_rounds():
    engine = FakeEngine(Thinker("x" * 2000, lambda at: "6}" if at < 100 else "5}"))

    state, _ = await run(
        "cot", engine, interval=64, round_tokens=64, policy="probe-consistency:window=3"
    )

    assert [probe["answer"] for probe in state["probes"]] == ["6", "5", "5", "5"]
    assert (state["stop_reason"], state["rounds"]) == ("certain", 4)
    assert len(state["thought"]) == 4 * 64  # the round waited for its probe, and no other began


@pytest.mark.parametrize(
    "round_tokens", [pytest.param(n, id=f"rounds-of-{n}") for n in (64, 192, 5000)]
)
async def test_the_policy_is_told_each_token_once(round_tokens: int):
    engine = FakeEngine(Thinker("x" * 500))

    _, events = await run("cot", engine, interval=64, round_tokens=round_tokens, **NEVER)

    told = [event["tokens"] - event["knob"] for event in events if event["event"] == "decision"]
    assert told == [3 * number for number in range(1, 8)]  # thought, and "5}" and its end


async def test_equal_answers_are_equal_in_any_spelling_and_in_any_round():
    spelled = {54: "0.5}", 118: "1/2}", 182: "\\frac{1}{2}}"}
    engine = FakeEngine(Thinker("x" * 2000, lambda at: spelled.get(at, "9}")))

    state, _ = await run(
        "cot", engine, interval=64, round_tokens=128, policy="probe-consistency:window=3"
    )

    assert (state["stop_reason"], ats(state)) == ("certain", [54, 118, 182])


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(1, 700),
    closes=st.one_of(st.none(), st.integers(0, 600)),
    answers=st.lists(
        st.sampled_from(["5}", "6}", "}", "wait, 5}", "y" * 40, ""]), min_size=1, max_size=4
    ),
    last=st.sampled_from(["\\boxed{5}", "", "z" * 90, "The answer is 6."]),
    interval=st.integers(1, 120),
    warm_up=st.sampled_from([0, 0, 90]),
    probe_tokens=st.integers(1, 30),
    answer_tokens=st.integers(1, 40),
    round_tokens=st.integers(1, 300),
    max_tokens=st.integers(1, 500),
    tokens=st.one_of(st.none(), st.integers(1, 600)),
    rounds=st.one_of(st.none(), st.integers(1, 3)),
    policy=st.sampled_from(
        [
            "fixed",
            "probe-consistency",
            "cot-high",
            "probe-consistency:window=2,hesitation=fail",
            "probe-confidence:confidence=0.9,window=2",
        ]
    ),
    slots=st.integers(1, 3),
    speed=st.sampled_from([1, 16]),
    block=st.sampled_from([1, 16]),
)
def test_no_limit_is_ever_passed_and_no_token_is_ever_lost(
    length: int,
    closes: int | None,
    answers: list[str],
    last: str,
    interval: int,
    warm_up: int,
    probe_tokens: int,
    answer_tokens: int,
    round_tokens: int,
    max_tokens: int,
    tokens: int | None,
    rounds: int | None,
    policy: str,
    slots: int,
    speed: int,
    block: int,
):
    chain = "x" * length
    if closes is not None:
        chain = chain[:closes] + "</think>" + chain[closes:]
    script = Thinker(chain, lambda at: answers[at % len(answers)], last)
    engine = FakeEngine(script, slots=slots, speed=speed, block=block)

    state, _ = asyncio.run(
        run(
            "cot",
            engine,
            policy=policy,
            interval=interval,
            warm_up=warm_up,
            probe_tokens=probe_tokens,
            answer_tokens=answer_tokens,
            round_tokens=max(round_tokens, max_tokens // 20),
            sampling={"max_tokens": max_tokens},
            budget=Budget(tokens=tokens, rounds=rounds),
        )
    )  # checks that the ledger equals the engine's count, and (Thinker) that prompts are exact

    generated = Usage.from_json(state["usage"]).generated
    assert tokens is None or generated <= tokens
    assert len(state["thought"]) <= max_tokens
    assert chain.startswith(bytes(state["thought"]).decode())
    assert state["text"].startswith(bytes(state["thought"]).decode())
    assert rounds is None or state["rounds"] <= rounds
    assert ats(state) == sorted(set(ats(state)))
    assert all(at >= warm_up for at in ats(state))
    assert policy != "fixed" or not probes_of(engine)
    # What the answer needs was kept back: it is cut only by its own limit.
    said = [request.max_tokens for request in engine.requests if is_last_word(request)]
    assert tokens is None or tokens < answer_tokens or set(said) <= {answer_tokens}
