"""Opening what a command needs: what is closed, and whose end counts as an interruption."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from dynasor_graph.cli.options import engine_of, reward_of
from dynasor_graph.cli.output import opened
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import EngineDied, RewardError
from dynasor_graph.reward import FunctionReward

pytestmark = pytest.mark.anyio


class Door(FunctionReward):
    """A reward that knows whether it is open."""

    is_open = False

    def __init__(self, *, stuck: bool = False) -> None:
        super().__init__(lambda partial: 0.5, name="door")
        self.stuck = stuck

    async def __aenter__(self) -> Self:
        if self.stuck:
            raise RewardError("stuck")
        self.is_open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.is_open = False


class Shop(FakeEngine):
    """An engine that knows whether it is open."""

    is_open = False

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.is_open = False


async def test_both_are_open_inside_and_closed_after():
    shop, door = Shop(), Door()
    async with opened(shop, door):
        assert (shop.is_open, door.is_open) == (True, True)
    assert (shop.is_open, door.is_open) == (False, False)


async def test_an_engine_is_closed_if_its_reward_cannot_be_opened():
    shop = Shop()
    with pytest.raises(RewardError, match="stuck"):
        async with opened(shop, Door(stuck=True)):
            pass
    assert not shop.is_open


async def test_an_engine_that_dies_of_ctrl_c_is_an_interruption():
    shop, inside = Shop(), asyncio.Event()

    async def command() -> None:
        async with opened(shop, None):
            inside.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise EngineDied("its process got the signal too") from None

    task = asyncio.create_task(command())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not shop.is_open


async def test_an_engine_that_dies_by_itself_is_a_failure():
    with pytest.raises(EngineDied, match="out of memory"):
        async with opened(Shop(), None):
            raise EngineDied("out of memory")


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("arguments", "thread"), [([], False), (["thread=true"], True)], ids=["by default", "told"]
)
def test_vllm_lives_on_the_loop_of_the_command_unless_told(
    arguments: list[str], thread: bool
) -> None:
    engine: Any = engine_of(None, "abacus-7m", None, arguments)
    assert engine._thread is thread


@pytest.mark.vllm
def test_a_reward_model_lives_there_too_and_a_server_is_not_told() -> None:
    engine = FakeEngine(model="some")
    reward: Any = reward_of("abacus-7m-reward", engine)
    assert reward._pooler._thread is False
    reward_of("http://127.0.0.1:1", engine)  # has no threads to be told of
