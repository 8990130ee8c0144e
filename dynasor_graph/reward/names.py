"""Rewards by name: opening one from a short text, and the registry that graphs look in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynasor_graph.engine.names import is_url
from dynasor_graph.engine.registry import Registry
from dynasor_graph.errors import ConfigError
from dynasor_graph.reward.base import Reward

__all__ = ["DEFAULT_REWARD", "forget_reward", "open_reward", "register_reward", "reward_named"]

DEFAULT_REWARD = "default"
"""The name that a search asks for if its context names none."""

_rewards: Registry[Reward] = Registry(
    "reward",
    "dynasor_graph.reward.register_reward",
    "; with the function open_reward in its place, the bundled abacus-7m-reward opens at first use",
)


def open_reward(spec: str = "abacus-7m-reward", **options: Any) -> Reward:
    """The reward model that `spec` stands for, not yet open: use it with `async with`.

    Args:
        spec: `http://...` for a server (`vllm serve MODEL --runner pooling`), else a model for vLLM
            in this process: a bundled name, a folder or a hub name.
        options: Passed to `RemoteReward` or `PoolingReward`.

    Raises:
        ConfigError: An option does not exist or is out of range.
    """
    try:
        if is_url(spec):
            from dynasor_graph.reward.remote import RemoteReward

            return RemoteReward(spec, **options)
        from dynasor_graph.reward.pooling import PoolingReward

        return PoolingReward(spec, **options)
    except TypeError as error:
        raise ConfigError(f"reward {spec!r}: {error}") from None


def register_reward(name: str, reward: Reward | Callable[[], Reward]) -> None:
    """Give a reward a name that searches can ask for.

    Args:
        name: Any; "default" is what searches ask for if their context names none.
        reward: An open reward, or a function that makes one, such as `open_reward`: it is opened at
            the first use, and stays open until the process ends.
    """
    _rewards.register(name, reward)


def forget_reward(name: str) -> None:
    """Take a name back. Does not close the reward."""
    _rewards.forget(name)


async def reward_named(name: str) -> Reward:
    """The reward registered under `name`, opened if need be.

    Raises:
        ConfigError: There is none.
    """
    return await _rewards.named(name)
