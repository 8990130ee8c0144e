"""Self-consistency: how branches vote, what they are asked with, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from dynasor_graph.algorithms import ALGORITHMS, find_algorithm
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError, PromptTooLong, UnknownName
from dynasor_graph.policies import read_policy
from dynasor_graph.runner import configure, solve
from dynasor_graph.types import Delta, Request
from tests.executor.stage import registered, replies, reply, run

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        pytest.param(["5", "4", "4"], "4", id="the-majority"),
        pytest.param(["5", "4", "4", "5"], "5", id="a-tie-goes-to-the-earlier-seen"),
        pytest.param(["6", "5", "4"], "6", id="all-differ"),
        pytest.param([None, None, "4", None], "4", id="empties-never-vote"),
        pytest.param([None, None], None, id="nobody-has-an-answer"),
        pytest.param(["7", "1/2", "0.5", "7", "50/100"], "1/2", id="equal-answers-add-up"),
    ],
)
async def test_the_answer_is_what_most_branches_said(said: list[str | None], answer: str | None):
    engine = FakeEngine(replies(said, tokens=30))

    state, _ = await run("self_consistency", engine, policy="fixed", branches=len(said))

    assert state["answer"] == answer
    assert state["text"] == reply(answer, tokens=30)


async def test_of_a_tie_the_earlier_seen_wins_even_if_it_was_started_later():
    engine = FakeEngine([reply("5", tokens=200), reply("4", tokens=20)])

    state, _ = await run("self_consistency", engine, policy="fixed", branches=2)

    assert state["answer"] == "4"


async def test_a_branch_that_was_cut_votes_only_if_it_said_its_answer_in_time():
    said = ["\\boxed{4}" + "." * 90, "so far we have 3 and " + "." * 90, "." * 90 + "\\boxed{5}"]
    engine = FakeEngine(said)

    state, _ = await run(
        "self_consistency", engine, policy="fixed", branches=3, sampling={"max_tokens": 60}
    )

    assert {branch["finish"] for branch in state["branches"]} == {"length"}
    assert [branch["answer"] for branch in state["branches"]] == ["4", None, None]
    assert state["answer"] == "4"


async def test_a_branch_that_ended_by_itself_may_say_a_bare_number():
    engine = FakeEngine(["3 and 4 make 7"])

    state, _ = await run("self_consistency", engine, policy="fixed", branches=1)

    assert state["answer"] == "7"


@pytest.mark.parametrize(
    ("extract", "answer"),
    [
        pytest.param("auto", "4", id="auto"),
        pytest.param("boxed", "4", id="boxed"),
        pytest.param("phrase", "5", id="phrase"),
        pytest.param("number", "6", id="number"),
    ],
)
async def test_where_answers_stand_is_a_setting(extract: str, answer: str):
    engine = FakeEngine(["\\boxed{4}. The answer is 5. Or 6"])

    state, _ = await run("self_consistency", engine, policy="fixed", branches=1, extract=extract)

    assert state["answer"] == answer


# Confidence ------------------------------------------------------------------------------------


class Confident(FakeEngine):
    """Says how likely each of its replies was: a mean log-probability per token, in turn."""

    def __init__(self, said: Sequence[str], logprobs: Sequence[float], **more: Any) -> None:
        super().__init__(said, **more)
        self._means = itertools.cycle(logprobs)

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        made, mean = 0, next(self._means)
        async with aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                made += delta.count
                if delta.logprob is not None:
                    delta = dataclasses.replace(delta, logprob=mean * made)
                yield delta


@pytest.mark.parametrize(
    ("vote", "answer"),
    [pytest.param("majority", "4", id="by-count"), pytest.param("confidence", "5", id="by-weight")],
)
async def test_one_sure_branch_outvotes_two_unsure_ones_if_confidence_counts(
    vote: str, answer: str
):
    # exp(-2) + exp(-2) < exp(-0.1), by the mean: the sums, -40 twice and -50, would say 4.
    said = [reply("4", tokens=20), reply("4", tokens=20), reply("5", tokens=500)]
    engine = Confident(said, [-2.0, -2.0, -0.1])

    state, _ = await run("self_consistency", engine, policy="fixed", branches=3, vote=vote)

    assert state["answer"] == answer


async def test_the_mean_log_probability_of_each_branch_is_recorded():
    engine = Confident(replies(["4", "5"], tokens=40), [-0.5, -0.25])

    state, events = await run(
        "self_consistency", engine, policy="fixed", branches=2, vote="confidence"
    )

    assert [branch["logprob"] for branch in state["branches"]] == pytest.approx([-0.5, -0.25])
    told = [event["logprob"] for event in events if event["event"] == "branch"]
    assert told == pytest.approx([-0.5, -0.25])


@pytest.mark.parametrize(
    ("vote", "asked"),
    [
        pytest.param("majority", False, id="by-count"),
        pytest.param("confidence", True, id="by-weight"),
    ],
)
async def test_log_probabilities_are_asked_for_only_if_they_count(vote: str, asked: bool):
    engine = FakeEngine(replies(["4"]))

    state, _ = await run("self_consistency", engine, policy="fixed", branches=3, vote=vote)

    assert {request.logprobs for request in engine.requests} == {asked}
    assert all((branch["logprob"] is not None) == asked for branch in state["branches"])


# Requests --------------------------------------------------------------------------------------


async def test_requests_carry_the_sampling_and_the_chat():
    engine = FakeEngine(replies(["4"]))

    await run(
        "self_consistency",
        engine,
        policy="fixed",
        branches=1,
        system="be brief",
        thinking=True,
        sampling={
            "temperature": 0.3,
            "top_p": 0.9,
            "top_k": 5,
            "max_tokens": 77,
            "stop": ["\n\n"],
        },
    )

    (request,) = engine.requests
    assert bytes(request.tokens) == b"system: be brief\nuser: q\nassistant: <think>\n"
    assert (request.temperature, request.top_p, request.top_k) == (0.3, 0.9, 5)
    assert (request.max_tokens, request.stop, request.seed) == (77, ("\n\n",), None)
    assert (request.chunk, request.priority) == (0, 0)  # nobody looks mid-way


async def seeds_of(question: str = "q", **settings: Any) -> list[int | None]:
    engine = FakeEngine(replies(["1", "2", "3"]))
    settings = {"policy": "certaindex", "branches": 9, **settings}
    await solve(question, engine=engine, **settings)
    return [request.seed for request in engine.requests]


async def test_the_same_seed_and_program_give_the_same_seeds_and_each_branch_its_own():
    first = await seeds_of(sampling={"seed": 7})

    assert first == await seeds_of(sampling={"seed": 7})
    assert len(set(first)) == len(first) == 9  # over both rounds
    assert all(seed is not None and 0 <= seed < 2**31 for seed in first)
    # What a branch draws hangs neither on how many run at a time nor on the policy's rounds.
    assert first == await seeds_of(sampling={"seed": 7}, budget={"concurrency": 1})
    assert first == await seeds_of(sampling={"seed": 7}, policy="fixed")


async def test_another_seed_gives_other_seeds_and_none_gives_none():
    first = await seeds_of(sampling={"seed": 7})

    assert not set(first) & set(await seeds_of(sampling={"seed": 8}))
    assert set(await seeds_of()) == {None}


async def test_two_programs_of_one_run_draw_different_seeds():
    graph = find_algorithm("self_consistency").compile()
    engine = FakeEngine(replies(["1"]))
    with registered(engine) as name:
        context: Any = {"engine": name, "policy": "fixed", "branches": 3, "sampling": {"seed": 7}}
        for program in ("a", "b", "a"):
            await graph.ainvoke({"question": "q", "program": program}, context=context)

    seeds = [request.seed for request in engine.requests]
    assert seeds[:3] == seeds[6:]
    assert not set(seeds[:3]) & set(seeds[3:6])
    assert [request.program for request in engine.requests] == ["a"] * 3 + ["b"] * 3 + ["a"] * 3


async def test_max_tokens_is_cut_to_what_the_context_leaves():
    engine = FakeEngine(replies(["4"]), context=100)

    await run("self_consistency", engine, policy="fixed", branches=1)

    (request,) = engine.requests
    assert len(request.tokens) + request.max_tokens == 100


async def test_a_question_that_fills_the_context_is_refused():
    engine = FakeEngine(replies(["4"]), context=30)

    with pytest.raises(PromptTooLong, match=r"the prompt has \d+ tokens.*holds 30"):
        await solve("a question of more than thirty tokens", engine=engine)
    assert engine.requests == []


# Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"policy": "probe-consistency"},
            "looks at probes.*gives .*votes",
            id="kind",
        ),
        pytest.param({"policy": "betta"}, "unknown policy 'betta': did you mean 'beta'", id="name"),
        pytest.param({"policy": "beta:confidence=2"}, "confidence: .*got 2", id="parameter"),
        pytest.param({"branches": 0}, "branches: .*greater than or equal to 1, got 0", id="range"),
        pytest.param({"vote": "loudest"}, "vote: .*'majority', 'confidence', .*got", id="choice"),
        pytest.param({"width": 5}, "width: Extra inputs.*got 5", id="no-such-setting"),
        pytest.param({"budget": {"tokens": 0}}, r"budget\.tokens: .*got 0", id="nested"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_value_and_cure(given: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=f"self_consistency: .*{message}"):
        configure("self_consistency", **given)


def test_an_unknown_algorithm_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match=r"'self_consistancy': did you mean 'self_consistency'"):
        find_algorithm("self_consistancy")


async def test_the_default_is_the_papers_setting():
    settings = configure("self_consistency")

    assert settings.rule == read_policy("sc-gsm8k")
    assert settings.model_dump()["branches"] == 20


def test_the_drawing_carries_the_verdicts():
    drawn = find_algorithm("self_consistency").compile().get_graph().draw_mermaid()

    assert "sample -. &nbsp;terminate&nbsp; .-> vote" in drawn
    assert "sample -. &nbsp;branch&nbsp; .-> sample" in drawn


def test_every_algorithm_is_listed_under_its_own_name_with_a_summary():
    for name, algorithm in ALGORITHMS.items():
        assert algorithm.name == name == algorithm.compile().name
        assert algorithm.summary.endswith(".")
        assert find_algorithm(algorithm) is algorithm
