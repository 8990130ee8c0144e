"""What every reward has to do: one suite for functions, vLLM in this process and vLLM's server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest

from dynasor_graph.errors import RewardError
from dynasor_graph.reward import FunctionReward, Partial, Reward, score
from dynasor_graph.reward.pooling import PoolingReward
from dynasor_graph.reward.remote import RemoteReward
from tests.reward.conftest import Solved, partial, solved

pytestmark = pytest.mark.anyio

CLOSE = 2e-3
"""Which others are in its batch changes a score by no more."""
VLLM = [pytest.param(name, marks=pytest.mark.vllm) for name in ("pooling", "remote")]
real_only = pytest.mark.parametrize("reward", VLLM, indirect=True)


def long_is_good(partial: Partial) -> float:
    return min(len(partial.tokens) / 500, 1)


@pytest.fixture(params=["function", *VLLM])
async def reward(request: pytest.FixtureRequest) -> AsyncIterator[Reward]:
    """Each reward in turn, open."""
    match request.param:
        case "function":
            async with FunctionReward(long_is_good) as function:
                yield function
        case "pooling":
            yield request.getfixturevalue("pooling_reward")
        case _:
            async with RemoteReward(request.getfixturevalue("reward_server")) as remote:
                yield remote


@pytest.fixture(scope="module")
def questions() -> list[Solved]:
    pytest.importorskip("transformers")
    return solved(8)


@pytest.fixture
def partials(questions: list[Solved]) -> list[Partial]:
    return [partial(one.question, lines) for one in questions for lines in (one.right, one.wrong)]


async def values(reward: Reward, partials: list[Partial]) -> list[float]:
    return [one.value for one in await score(reward, partials)]


async def test_each_solution_has_a_score_from_0_to_1(
    reward: Reward, partials: list[Partial]
) -> None:
    found = await values(reward, partials)
    assert len(found) == len(partials)
    assert all(0 <= value <= 1 for value in found)
    assert len(set(found)) > 1
    assert reward.name


async def test_a_batch_says_what_each_alone_does_in_order(
    reward: Reward, partials: list[Partial]
) -> None:
    batch = await values(reward, partials)
    alone = [(await values(reward, [one]))[0] for one in partials]
    assert batch == pytest.approx(alone, abs=CLOSE)
    assert await values(reward, partials[::-1]) == pytest.approx(alone[::-1], abs=CLOSE)


async def test_no_solutions_have_no_scores(reward: Reward) -> None:
    assert await reward.score([]) == []


async def test_batches_may_run_at_the_same_time(reward: Reward, partials: list[Partial]) -> None:
    expected = await values(reward, partials)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(values(reward, partials)) for _ in range(4)]
    for task in tasks:
        assert task.result() == pytest.approx(expected, abs=CLOSE)


async def test_two_other_event_loops_use_it_at_the_same_time(
    reward: Reward, partials: list[Partial]
) -> None:
    expected = await values(reward, partials)

    def ask(_: int) -> list[float]:
        return asyncio.run(values(reward, partials))

    def both() -> list[list[float]]:
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(ask, range(2)))

    for found in await asyncio.to_thread(both):
        assert found == pytest.approx(expected, abs=CLOSE)


@real_only
async def test_what_is_too_long_is_refused_and_the_next_is_judged(
    reward: Reward, partials: list[Partial]
) -> None:
    one = partials[0]
    long = Partial(question="", prompt=one.prompt, tokens=one.tokens * 100, text="", ended=False)
    with pytest.raises(RewardError, match=r"tokens with its question, and the context .* 1536"):
        await score(reward, [one, long])
    assert len(await values(reward, [one])) == 1


@real_only
async def test_a_step_more_computes_little_more(reward: Reward, questions: list[Solved]) -> None:
    """Each call finds what the last one left in the prefix cache."""
    (one,) = solved(1, steps=12, seed=99 if isinstance(reward, PoolingReward) else 98)
    found = [
        (len(part.prompt) + len(part.tokens), (await score(reward, [part]))[0].computed)
        for part in (partial(one.question, one.right[:end]) for end in range(6, 12))
    ]
    if isinstance(reward, PoolingReward):
        assert all(computed < tokens / 2 for tokens, computed in found[1:])
    else:  # the server does not say it of a request, only of all together
        assert all(computed == tokens for tokens, computed in found)


@pytest.mark.vllm
async def test_the_server_uses_its_prefix_cache(
    reward_server: str, partials: list[Partial]
) -> None:
    def hits() -> float:
        with urlopen(f"{reward_server}/metrics", timeout=20) as page:
            found = re.search(
                r"^vllm:prefix_cache_hits_total.* ([\d.e+]+)$", page.read().decode(), re.MULTILINE
            )
        assert found is not None
        return float(found[1])

    async with RemoteReward(reward_server) as reward:
        await score(reward, partials)
        before = hits()
        await score(reward, partials)
    assert hits() > before
