"""All searches: what they find, what they spend, and what becomes of them when things go wrong."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import aclosing
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from dynasor_graph.algorithms import ALGORITHMS
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError, RewardError
from dynasor_graph.questions import Question
from dynasor_graph.reward import FunctionReward, Partial
from dynasor_graph.runner import Runner, configure, solve
from dynasor_graph.types import JSON, Request
from tests.algorithms.climbing import JUDGED, SEARCHES, SEED, climb, judged_by, letters, search
from tests.executor.stage import registered

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("algorithm", SEARCHES)
async def test_a_search_finds_the_best_path(algorithm: str):
    state, _ = await search(algorithm, vote="best")

    assert state["answer"] == "aaa"
    assert state["stop_reason"] == "finished"
    assert state["text"].endswith("\\boxed{aaa}")


@pytest.mark.parametrize("algorithm", JUDGED)
async def test_votes_and_rewards_are_those_of_whole_paths(algorithm: str):
    state, events = await search(algorithm)

    for branch in state["branches"]:
        spelled = "".join(branch["text"].split("\n")[:3])
        assert branch["answer"] == spelled
        assert branch["reward"] == pytest.approx((spelled.count("a") + 0.5) / 4)
    shown = [event for event in events if event["event"] == "branch"]
    assert Counter(b["answer"] for b in shown) == Counter(b["answer"] for b in state["branches"])


@pytest.mark.parametrize("algorithm", ["rebase", "beam", "dvts", "particle_filter"])
@pytest.mark.parametrize("width", [1, 2, 5, 16])
async def test_a_tree_has_as_many_paths_as_it_is_wide(algorithm: str, width: int):
    state, _ = await search(algorithm, width=width)

    assert len(state["branches"]) == width
    assert max(Counter(node["parent"] for node in state["nodes"]).values()) <= width
    assert sorted(node["id"] for node in state["nodes"]) == list(range(len(state["nodes"])))


@pytest.mark.parametrize("algorithm", SEARCHES)
async def test_the_state_is_plain_json_and_holds_no_token_twice(algorithm: str):
    state, _ = await search(algorithm)

    assert json.loads(json.dumps(state)) == state
    nodes = {node["id"]: node for node in state["nodes"]}
    for branch in state["branches"]:
        tokens: list[int] = []
        at = branch["index"]
        while at >= 0:
            tokens = nodes[at]["tokens"] + tokens
            at = nodes[at]["parent"]
        assert bytes(tokens).decode() == branch["text"]


@pytest.mark.parametrize("algorithm", JUDGED)
@pytest.mark.parametrize("tokens", [1, 7, 40, 100, 300])
async def test_a_budget_is_never_passed_and_what_there_is_is_answered(algorithm: str, tokens: int):
    state, _ = await search(algorithm, budget={"tokens": tokens})

    usage = state["usage"]
    assert usage["main"] + usage["terminated"] <= tokens
    if tokens >= 300:
        assert state["answer"] is not None


@pytest.mark.parametrize("algorithm", JUDGED)
async def test_a_deadline_ends_a_search(algorithm: str):
    engine = FakeEngine(climb)
    engine.gate.clear()

    state, _ = await search(algorithm, engine, budget={"seconds": 0.05})

    assert state["stop_reason"] == "deadline"
    assert state["answer"] is None


@pytest.mark.parametrize(
    ("algorithm", "knob"),
    [
        pytest.param("rebase", {"width": 16}, id="rebase"),
        pytest.param("beam", {"width": 16}, id="beam"),
        pytest.param("dvts", {"width": 16}, id="dvts"),
        pytest.param("particle_filter", {"width": 16}, id="particle_filter"),
        pytest.param("mcts", {"iterations": 16}, id="mcts"),
        pytest.param("best_of_n", {"branches": 16}, id="best_of_n"),
    ],
)
async def test_certain_by_votes_and_rewards_ends_at_the_detection_knob(algorithm: str, knob: JSON):
    def only_a(prompt: str, request: Request) -> str:
        said = prompt.partition("assistant: ")[2].count("\n")
        return "a\n" * (3 - said) + "so \\boxed{aaa}"

    policy = "certaindex:threshold=0.9,at=4,reward_threshold=0.8,reward=max"
    state, events = await search(algorithm, FakeEngine(only_a), policy=policy, **knob)
    unsure, _ = await search(
        algorithm, FakeEngine(only_a), policy=policy.replace("0.8", "0.95"), **knob
    )

    assert (state["stop_reason"], state["answer"]) == ("certain", "aaa")
    # Both indicators have to pass. (Where all steps are alike, the tree of MCTS is soon complete.)
    assert len(unsure["branches"]) >= len(state["branches"]) + (algorithm != "mcts")
    assert unsure["stop_reason"] == "finished"
    verdicts = [event["verdict"] for event in events if event["event"] == "decision"]
    assert verdicts[-1] == "terminate"


async def test_where_a_first_tree_does_not_settle_it_a_second_has_the_rest_of_the_width():
    state, _ = await search(
        "rebase",
        width=12,
        policy="certaindex:threshold=null,at=4,reward_threshold=0.95,reward=max",
    )

    roots = Counter(node["parent"] for node in state["nodes"] if node["parent"] < 0)
    assert roots == {-1: 4, -2: 8}
    assert len(state["branches"]) == 12


@pytest.mark.parametrize("algorithm", SEARCHES)
async def test_steps_that_never_end_are_cut(algorithm: str):
    engine = FakeEngine(lambda prompt, request: "." * 1000)

    state, _ = await search(
        algorithm, engine, step_tokens=10, depth=4, sampling={"max_tokens": 100, "seed": 1}
    )

    assert state["stop_reason"] == "finished"
    assert state["answer"] is None
    assert all(len(branch["text"]) <= 100 for branch in state["branches"])


async def test_a_step_may_end_with_a_token_id():
    by_text, _ = await search("rebase", width=4)
    by_token, _ = await search("rebase", width=4, step_ends=(), step_end_ids=(ord("\n"),))

    assert by_token["nodes"] == by_text["nodes"]


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_the_drawing_shows_the_verdicts(algorithm: str):
    drawn = ALGORITHMS[algorithm].compile().get_graph().draw_mermaid()

    node = "simulate" if algorithm == "mcts" else "expand"
    assert f"{node} -. &nbsp;terminate&nbsp; .-> answer" in drawn
    assert f"{node} -. &nbsp;branch&nbsp; .-> {node}" in drawn


# Resuming ----------------------------------------------------------------------------------------


class Crash(Exception):
    pass


@pytest.mark.parametrize("algorithm", SEARCHES)
@pytest.mark.parametrize("after", [1, 6, 11])
async def test_a_search_that_crashed_in_mid_tree_comes_to_the_same_tree(algorithm: str, after: int):
    judged = 0

    def fails(partial: Partial) -> float:
        nonlocal judged
        judged += 1
        if judged == after:
            raise Crash
        return letters(partial)

    settings: JSON = {"policy": "fixed", **SEED, "budget": {"concurrency": 1}}
    found: Any = ALGORITHMS[algorithm]
    uncut = FakeEngine(climb)
    whole, _ = await search(algorithm, uncut, **settings)
    graph = found.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    first, second = FakeEngine(climb), FakeEngine(climb)
    with judged_by(fails) as reward, registered(first) as name:
        context = found.settings(engine=name, reward=reward, **settings)
        with pytest.raises(RewardError, match="Crash"):
            await graph.ainvoke({"question": "q"}, config, context=context)
        with registered(second) as other:
            context = found.settings(engine=other, reward=reward, **settings)
            state = await graph.ainvoke(None, config, context=context)

    assert state["nodes"] == whole["nodes"]
    assert state["answer"] == whole["answer"]
    asked_again = len(first.requests) + len(second.requests)
    once = len(uncut.requests)
    each = 5 if algorithm == "mcts" else 1  # an iteration is one task
    assert once <= asked_again <= once + each, "what was done is not done again"


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        pytest.param(lambda p: float("nan"), "gave nan: a score must be in", id="nan"),
        pytest.param(lambda p: 1.5, "gave 1.5: a score must be in", id="above-one"),
        pytest.param(lambda p: -0.1, "gave -0.1: a score must be in", id="below-zero"),
        pytest.param(lambda p: 1 / 0, "raised ZeroDivisionError: division by zero", id="raises"),
        pytest.param(lambda p: "good", "raised ValueError: could not convert", id="a-text"),
    ],
)
@pytest.mark.parametrize("algorithm", JUDGED)
async def test_a_reward_that_fails_fails_its_question_alone(
    algorithm: str, judge: Any, message: str
):
    def sometimes(partial: Partial) -> float:
        return judge(partial) if partial.question == "bad" else letters(partial)

    asked = [Question(id="1", text="bad"), Question(id="2", text="good")]
    async with FakeEngine(climb) as engine:
        reward = FunctionReward(sometimes, name="mine")
        runner = Runner(algorithm, engine=engine, reward=reward, policy="fixed", **SEED)
        async with aclosing(runner.run(asked)) as results:
            found = {result.id: result async for result in results}

    assert "reward 'mine' " + message in (found["1"].error or "")
    assert found["2"].error is None
    assert found["2"].answer is not None
    assert (await engine.load()).running == 0


@pytest.mark.parametrize(
    ("algorithm", "settings", "message"),
    [
        pytest.param("rebase", {"width": 0}, "width: .* greater than or equal to 1", id="width"),
        pytest.param("beam", {"children": 0}, "children: .* greater than", id="children"),
        pytest.param("mcts", {"iterations": 0}, "iterations: .* greater", id="iterations"),
        pytest.param("mcts", {"exploration": -1}, "exploration: .* greater", id="exploration"),
        pytest.param("rebase", {"softmax_temperature": 0}, "softmax_temperature", id="softmax"),
        pytest.param("rebase", {"vote": "loudest"}, "vote: .*'weighted'", id="vote"),
        pytest.param("rebase", {"policy": "probe-consistency"}, "looks at probes", id="policy"),
    ],
)
def test_wrong_settings_are_named(algorithm: str, settings: JSON, message: str):
    with pytest.raises(ConfigError, match=message):
        configure(algorithm, **settings)


async def test_a_reward_that_nobody_registered_is_named():
    async with FakeEngine(climb) as engine:
        with pytest.raises(ConfigError, match="no reward is registered as 'nobody'"):
            await solve("q", algorithm="rebase", engine=engine, reward="nobody")
