"""Rewards by name: what a text stands for, and what searches find under a name."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Self
from unittest.mock import patch

import pytest

from dynasor_graph.errors import ConfigError, EngineStartError, UnknownName
from dynasor_graph.reward import (
    DEFAULT_REWARD,
    FunctionReward,
    forget_reward,
    names,
    open_reward,
    register_reward,
    reward_named,
)
from dynasor_graph.reward.pooling import PoolingReward
from dynasor_graph.reward.remote import RemoteReward
from tests.conftest import require_vllm

pytestmark = pytest.mark.anyio

NAME = "a reward of this test"


class Slow(FunctionReward):
    """Takes a while to open, and counts how often it was."""

    opened = 0

    def __init__(self) -> None:
        super().__init__(lambda partial: 0.5)

    async def __aenter__(self) -> Self:
        for _ in range(5):
            await asyncio.sleep(0)
        type(self).opened += 1
        return self


class Broken(Slow):
    async def __aenter__(self) -> Self:
        raise EngineStartError("no memory")


@pytest.fixture(autouse=True)
def _names_are_taken_back() -> Iterator[None]:
    Slow.opened = 0
    with patch.dict(names._rewards._found, clear=True):
        yield


async def test_an_open_reward_is_found_as_it_is() -> None:
    reward = Slow()
    register_reward(NAME, reward)
    assert await reward_named(NAME) is reward
    assert Slow.opened == 0


@pytest.mark.parametrize("name", [NAME, DEFAULT_REWARD, "abacus-7m-reward"])
async def test_an_unknown_name_says_how_to_register_one(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"register_reward\('{name}', reward\).*open_reward"):
        await reward_named(name)


async def test_a_forgotten_name_is_unknown_again() -> None:
    register_reward(NAME, Slow())
    forget_reward(NAME)
    forget_reward(NAME)
    with pytest.raises(ConfigError, match="no reward is registered"):
        await reward_named(NAME)


async def test_a_factory_is_opened_once_however_many_ask() -> None:
    register_reward(NAME, Slow)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(reward_named(NAME)) for _ in range(20)]
    assert {id(task.result()) for task in tasks} == {id(await reward_named(NAME))}
    assert Slow.opened == 1


async def test_a_factory_that_fails_is_tried_again() -> None:
    register_reward(NAME, Broken)
    for _ in range(2):
        with pytest.raises(EngineStartError, match="no memory"):
            await reward_named(NAME)
    register_reward(NAME, Slow)
    assert isinstance(await reward_named(NAME), Slow)


# Specs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["http://localhost:8000", "https://example.com/v1"])
def test_a_url_stands_for_a_server(spec: str) -> None:
    assert isinstance(open_reward(spec), RemoteReward)


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("spec", "name"),
    [
        pytest.param({}, "abacus-7m-reward", id="default"),
        pytest.param({"spec": "someone/some-prm"}, "some-prm", id="hub"),
    ],
)
def test_else_it_stands_for_a_model(spec: dict[str, str], name: str) -> None:
    require_vllm()
    reward = open_reward(**spec)
    assert isinstance(reward, PoolingReward)
    assert reward.name == name


@pytest.mark.vllm
def test_a_model_that_is_not_there_names_those_that_are() -> None:
    require_vllm()
    with pytest.raises(UnknownName, match="abacus-7m-reward"):
        open_reward("abacus-8m-reward")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"nonsense": 1}, "nonsense", id="no-such-option"),
        pytest.param({"normalise": "tanh"}, "normalise must be one of .*got 'tanh'", id="normal"),
        pytest.param({"steps": "max"}, "steps must be one of", id="steps"),
        pytest.param({"reads": "ids"}, "reads must be one of", id="reads"),
        pytest.param({"step_tag": "<x>"}, "needs reads='text'", id="tag-of-tokens"),
        pytest.param({"step_ends": ""}, "step_ends must not be empty", id="no-step-end"),
    ],
)
def test_a_wrong_option_is_a_config_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_reward("http://localhost:8000", **options)


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, dynasor_graph.reward;"
        "print([x for x in ('vllm', 'torch', 'transformers', 'openai') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
