"""Rewards on real models, started once, and solutions to judge: right ones and wrong ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from dynasor_graph.abacus import chat, make, reward_path
from dynasor_graph.abacus.writing import boxed_answer, solve, solve_with_mistake
from dynasor_graph.reward import Partial
from dynasor_graph.reward.pooling import PoolingReward
from tests.conftest import DTYPE, SERVER_LOGS, SLOTS, require_vllm, server_command, serving


@pytest.fixture(scope="session")
def pooling_reward() -> Iterator[PoolingReward]:
    """The bundled reward model on vLLM in this process, open."""
    require_vllm()
    with start_blocking_portal() as portal:
        reward = PoolingReward(max_num_seqs=SLOTS, dtype=DTYPE)
        with portal.wrap_async_context_manager(reward):
            yield reward


@pytest.fixture(scope="session")
def reward_server(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """The URL of vLLM's own server with the bundled reward model."""
    require_vllm()
    log = tmp_path_factory.mktemp("reward") / "server.log"
    pytestconfig.stash.setdefault(SERVER_LOGS, []).append(log)
    with serving(server_command("abacus-7m-reward", "--runner", "pooling"), log) as url:
        yield url


@dataclass(frozen=True)
class Solved:
    """A question, the lines of a right solution, and those of a wrong one."""

    question: str
    right: list[str]
    wrong: list[str]


def solved(count: int, *, steps: int = 5, seed: int = 7) -> list[Solved]:
    """Questions on which the mistake makes a difference."""
    rng = random.Random(seed)
    found: list[Solved] = []
    while len(found) < count:
        problem = make(rng, steps)
        lines, value = solve(problem, rng)
        others, other = solve_with_mistake(problem, rng)
        if value == problem.answer != other:
            right, wrong = [*lines, boxed_answer(value)], [*others, boxed_answer(other)]
            found.append(Solved(problem.question, right, wrong))
    return found


@cache
def tokenizer() -> Any:
    """The one that both bundled models have."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(reward_path())


def partial(question: str, lines: list[str], *, ended: bool = False) -> Partial:
    """A solution as the bundled generator would have written it."""
    text = "\n".join(lines)

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer().encode(text, add_special_tokens=False))

    return Partial(
        question=question, prompt=ids(chat(question)), tokens=ids(text), text=text, ended=ended
    )
