"""Sample: a branch that loses its confidence is ended by itself; the others go on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from dynasor_graph.confidence import Confidence
from dynasor_graph.engine import FakeEngine
from dynasor_graph.types import Request
from tests.executor.stage import run

pytestmark = pytest.mark.anyio

SURE = {"4": 10.0, "5": 5.0, "6": 1.0}
"""Confidence of every token of a branch that comes to this answer."""


def engine_of(*answers: str, tokens: int = 200) -> FakeEngine:
    said = iter(answers)

    def reply(prompt: str, request: Request) -> str:
        end = f"\\boxed{{{next(said)}}}"
        return "." * (tokens - len(end) - 1) + end

    return FakeEngine(reply, confidence=lambda text: SURE[text.removesuffix("}")[-1]], speed=16)


def deepconf(**more: Any) -> dict[str, Any]:
    policy = {"rule": "deepconf", "warm_up": 2, "keep": 0.5, "consensus": None}
    return {
        "policy": {**policy, **more},
        "group_window": 32,
        "budget": {"concurrency": 1},
    }


async def test_a_branch_below_the_bar_is_cut_and_never_votes() -> None:
    engine = engine_of("4", "5", "6", "5", "4", "6")
    state, _ = await run("self_consistency", engine, branches=6, **deepconf())
    # The bar is 7.5, the middle of 10 and 5: 5 and 6 are cut after the first two.
    cut = [branch["index"] for branch in state["branches"] if branch["finish"] == "terminated"]
    assert cut == [2, 3, 5]
    assert state["answer"] == "4"
    for branch in state["branches"]:
        if branch["index"] in cut:
            assert 32 <= branch["tokens"] < 100
            assert branch["usage"]["terminated"] == branch["tokens"]
    assert state["stop_reason"] == "finished"


async def test_warm_up_branches_below_the_bar_do_not_vote_either() -> None:
    engine = engine_of("5", "5", "4", "6")
    state, _ = await run("self_consistency", engine, branches=4, **deepconf(warm_up=3, keep=0.2))
    assert state["answer"] == "4"


async def test_the_bar_counts_only_full_groups() -> None:
    engine = engine_of("4", "4", "6")
    settings = deepconf() | {"group_window": 512}
    state, _ = await run("self_consistency", engine, branches=3, **settings)
    assert [branch["finish"] for branch in state["branches"]] == ["stop"] * 3


async def test_consensus_ends_the_program() -> None:
    engine = engine_of("4", "4", "4", "4")
    state, _ = await run("self_consistency", engine, branches=4, **deepconf(consensus=0.95))
    assert state["stop_reason"] == "certain"
    assert len(state["branches"]) == 2


@pytest.mark.parametrize(
    ("vote", "answer"),
    [
        pytest.param("majority", "5", id="majority"),
        pytest.param("group-least", "4", id="weighted by the least group"),
        pytest.param("group-mean", "4", id="by the mean"),
        pytest.param("top-tail", "4", id="the surest tenth"),
    ],
)
async def test_votes_by_confidence(vote: str, answer: str) -> None:
    engine = engine_of("5", "5", "5", "4", "4")
    state, _ = await run(
        "self_consistency", engine, branches=5, policy="fixed", vote=vote, group_window=32
    )
    assert state["answer"] == answer
    asked = {request.top_logprobs for request in engine.requests}
    assert asked == ({0} if vote == "majority" else {20})


async def test_the_trace_has_the_whole_confidence_and_the_state_what_votes_need() -> None:
    engine = engine_of("4")
    state, events = await run(
        "self_consistency", engine, branches=1, policy="fixed", confidences=True, group_window=32
    )
    (event,) = (event for event in events if event["event"] == "branch")
    expected = Confidence(10.0, 10.0, 10.0, 10.0, ((32, 10.0),))
    assert Confidence.from_json(event["confidence"]) == expected
    assert state["branches"][0]["confidence"] == expected.to_json(falls=False)


async def test_the_bar_does_not_stop_what_a_shadow_alone_would_cut() -> None:
    engine = engine_of("4", "5", "6", "6")
    shadow = deepconf()["policy"]
    state, _ = await run(
        "self_consistency",
        engine,
        branches=4,
        policy="fixed",
        shadow=[shadow],
        group_window=32,
    )
    assert [branch["finish"] for branch in state["branches"]] == ["stop"] * 4
    assert list(itertools.chain(state["shadowed"])) == []
