"""Naming: what is given as an object has a name for as long as it is used, and a scheduler if wanted."""

from __future__ import annotations

import pytest

from dynasor_graph.engine import FakeEngine, engine_named, forget, register
from dynasor_graph.errors import ConfigError
from dynasor_graph.naming import named, scheduled, with_reward
from dynasor_graph.reward import FunctionReward, reward_named
from dynasor_graph.scheduler import Scheduled, ShortestFirst

pytestmark = pytest.mark.anyio


async def test_an_engine_has_a_name_inside_and_none_outside() -> None:
    engine = FakeEngine()
    with named(engine) as name:
        assert await engine_named(name) is engine
    with pytest.raises(ConfigError, match="no engine is registered"):
        await engine_named(name)


async def test_two_of_one_model_have_two_names() -> None:
    with named(FakeEngine()) as one, named(FakeEngine()) as other:
        assert one != other


async def test_a_name_stays_what_it_is() -> None:
    engine = FakeEngine()
    register("mine", engine)
    try:
        with named("mine") as name:
            assert name == "mine"
        assert await engine_named("mine") is engine
    finally:
        forget("mine")


@pytest.mark.parametrize("order", ["gang", ShortestFirst(ageing=1)])
async def test_an_engine_gets_a_scheduler_in_front(order: str | ShortestFirst) -> None:
    engine = FakeEngine()
    async with scheduled(engine, order) as name:
        found = await engine_named(name)
        assert isinstance(found, Scheduled)
        assert found.engine is engine
        assert found.order == order or type(found.order).__name__ == "Gang"


async def test_without_an_order_it_stands_alone() -> None:
    engine = FakeEngine()
    async with scheduled(engine, None) as name:
        assert await engine_named(name) is engine


async def test_an_engine_that_is_scheduled_keeps_its_scheduler() -> None:
    engine = Scheduled(FakeEngine(), "fcfs")
    async with scheduled(engine, "sjf") as name:
        assert await engine_named(name) is engine


async def test_a_reward_has_a_name_inside() -> None:
    reward = FunctionReward(lambda partial: 1.0)
    with with_reward({"reward": reward, "width": 4}) as settings:
        assert settings["width"] == 4
        assert await reward_named(settings["reward"]) is reward
    with with_reward({"reward": "there"}) as settings:
        assert settings == {"reward": "there"}
    with with_reward({}) as settings:
        assert settings == {}
