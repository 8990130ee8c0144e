"""Demo: arms that have nothing of each other."""

from __future__ import annotations

import pytest

from dynasor_graph.demo import demo_questions, plans_for, run_arm
from dynasor_graph.engine import FakeEngine
from dynasor_graph.reward import FunctionReward

pytestmark = pytest.mark.anyio


class Forgetful(FakeEngine):
    """Counts how often it was told to forget."""

    forgot = 0

    async def forget_prefixes(self) -> None:
        self.forgot += 1


async def test_each_arm_begins_with_empty_prefix_caches() -> None:
    reward = FunctionReward(lambda partial: 0.5)  # has none
    async with Forgetful(["So it is \\boxed{3}."]) as engine:
        for number, plan in enumerate(plans_for(["best_of_n"]), 1):
            arm = await run_arm(plan, demo_questions(2, seed=1), engine=engine, reward=reward)
            assert len(arm.results) == 2
            assert engine.forgot == number
