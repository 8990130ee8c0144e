"""Rewards: what judges whole and partial solutions, and what stands behind it."""

from dynasor_graph.reward.base import Partial, Reward, Score, score
from dynasor_graph.reward.function import FunctionReward
from dynasor_graph.reward.names import (
    DEFAULT_REWARD,
    forget_reward,
    open_reward,
    register_reward,
    reward_named,
)

__all__ = [
    "DEFAULT_REWARD",
    "FunctionReward",
    "Partial",
    "Reward",
    "Score",
    "forget_reward",
    "open_reward",
    "register_reward",
    "reward_named",
    "score",
]
