"""Searches on the real engine, judged by the real reward model: the books balance there too."""

from __future__ import annotations

import pytest

from dynasor_graph.abacus import questions
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.questions import Question
from dynasor_graph.reward.pooling import PoolingReward
from dynasor_graph.runner import solve
from dynasor_graph.types import JSON

pytestmark = [pytest.mark.anyio, pytest.mark.vllm]


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        pytest.param("best_of_n", {"branches": 6}, id="best_of_n"),
        pytest.param("rebase", {"width": 6}, id="rebase"),
        pytest.param("beam", {"width": 6, "children": 3}, id="beam"),
        pytest.param("dvts", {"width": 6, "children": 3}, id="dvts"),
        pytest.param("particle_filter", {"width": 6}, id="particle_filter"),
        pytest.param("mcts", {"iterations": 4}, id="mcts"),
    ],
)
async def test_a_search_solves_an_easy_question(
    vllm_engine: VllmEngine, pooling_reward: PoolingReward, algorithm: str, settings: JSON
):
    drawn = questions(1, seed=3, steps=(3, 3))[0]
    before = (await vllm_engine.load()).generated

    result = await solve(
        Question(id="q", text=drawn.question, gold=drawn.answer),
        algorithm=algorithm,
        engine=vllm_engine,
        reward=pooling_reward,
        policy="fixed",
        sampling={"temperature": 0.7, "max_tokens": 200, "seed": 5},
        **settings,
    )

    assert result.correct
    assert result.usage.generated == (await vllm_engine.load()).generated - before
    assert 0 < result.usage.reward < 20_000
    assert result.text.count("\n") == 3, "a line a step, and the answer"
