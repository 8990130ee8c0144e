"""The seam: what a reward says is checked, and whose fault it was is said."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from dynasor_graph.errors import RewardError
from dynasor_graph.reward import FunctionReward, Partial, Reward, Score, score

pytestmark = pytest.mark.anyio

PARTIAL = Partial(question="1 + 1?", prompt=(5,), tokens=(6, 7), text="2", ended=True)


def constant(value: float) -> FunctionReward:
    return FunctionReward(lambda partial: value, name="mine")


class Miscounts(FunctionReward):
    async def score(self, partials: Sequence[Partial]) -> list[Score]:
        return (await super().score(partials))[1:]


def fails(partial: Partial) -> float:
    raise KeyError("answer")


def refuses(partial: Partial) -> float:
    raise RewardError("no such unit test")


@pytest.mark.parametrize("value", [0, 0.0, 0.25, 1, 1.0])
async def test_a_number_from_0_to_1_is_passed_on(value: float) -> None:
    assert await score(constant(value), [PARTIAL]) == [Score(value)]


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        pytest.param(constant(math.nan), "'mine' gave nan: .* in", id="nan"),
        pytest.param(constant(1.5), r"'mine' gave 1.5: a score must be in \[0, 1\]", id="above-1"),
        pytest.param(constant(-0.1), "'mine' gave -0.1", id="below-0"),
        pytest.param(constant(math.inf), "'mine' gave inf", id="infinite"),
        pytest.param(Miscounts(lambda p: 1, name="m"), "'m' gave 1 scores for 2", id="count"),
        pytest.param(FunctionReward(fails), "'fails' raised KeyError: 'answer'", id="raises"),
        pytest.param(FunctionReward(refuses), "^no such unit test$", id="its-own-error"),
    ],
)
async def test_what_is_no_score_is_refused(reward: Reward, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        await score(reward, [PARTIAL, PARTIAL])


async def test_no_solutions_are_not_asked_about() -> None:
    assert await score(FunctionReward(fails), []) == []


async def test_a_function_may_be_async() -> None:
    async def judge(partial: Partial) -> float:
        await asyncio.sleep(0)
        return len(partial.tokens) / 4

    assert await score(FunctionReward(judge), [PARTIAL]) == [Score(0.5)]


def test_a_function_gives_its_name() -> None:
    assert FunctionReward(fails).name == "fails"
    assert isinstance(FunctionReward(fails), Reward)
