"""Certaindex: how settled a program's answer is, from 0 (open) to 1 (settled).

Three measures, one for each kind of evidence an algorithm has (paper, sections 2.1 and 3.1):

* many branches: normalised entropy of their answers, `entropy_certaindex`;
* a reward model: the mean or the maximum of terminal rewards, `reward_certaindex`;
* one chain of thought: agreement of its last probed answers, `probe_certaindex`.

A program that measures several counts as certain only if all of them are: `is_certain`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

__all__ = ["entropy", "entropy_certaindex", "is_certain", "probe_certaindex", "reward_certaindex"]

EPSILON = 1e-9


def entropy(votes: Sequence[int], empty: int = 0) -> float:
    """Entropy of the answers, in nats.

    Args:
        votes: How many branches gave each distinct answer, each >= 1.
        empty: Branches without an answer; each is a class of its own.
    """
    n = sum(votes) + empty
    if n == 0:
        return 0.0
    h = -sum(v / n * math.log(v / n) for v in votes)
    return h + empty / n * math.log(n)


def entropy_certaindex(votes: Sequence[int], empty: int = 0) -> float:
    """How settled many branches are (Eq. 1): `(log n - H) / log n`, in [0, 1].

    The normaliser is the entropy of n branches that all disagree. So the value depends on n: a
    10-10 tie among 20 scores 0.77, and unanimity is 1 at any n. A threshold is only good at the n
    it was chosen for. One branch proves nothing: n < 2 gives 0.

    Args:
        votes: How many branches gave each distinct answer, each >= 1.
        empty: Branches without an answer; each is a class of its own.
    """
    n = sum(votes) + empty
    if n < 2:
        return 0.0
    return min(1.0, max(0.0, 1.0 - entropy(votes, empty) / math.log(n)))


def probe_certaindex(answers: Sequence[str | int | None], window: int) -> float:
    """How settled one chain of thought is (section 2.1): `C_k`, in [0, 1].

    The share of the last `window` probed answers that equal the newest one. Fewer probes than the
    window, or a newest probe without an answer, give 0.

    Args:
        answers: Probed answers (or the class of each), oldest first; None where a probe gave none.
        window: How many of the newest probes count, >= 1.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    if len(answers) < window or answers[-1] is None:
        return 0.0
    return sum(a == answers[-1] for a in answers[-window:]) / window


def reward_certaindex(rewards: Sequence[float], aggregate: Literal["mean", "max"]) -> float:
    """How good the finished paths look to the reward model (section 3.1), in [0, 1].

    MCTS takes the mean of the terminal rewards, Rebase the maximum. No path yet gives 0.

    Raises:
        ValueError: A reward is outside [0, 1] or not a number.
    """
    for reward in rewards:
        if not 0 <= reward <= 1:  # also catches NaN
            raise ValueError(f"a reward must be in [0, 1], got {reward}: normalise it first")
    if not rewards:
        return 0.0
    return max(rewards) if aggregate == "max" else math.fsum(rewards) / len(rewards)


def is_certain(measured: Mapping[str, float], thresholds: Mapping[str, float]) -> bool:
    """Whether every indicator exceeds its own threshold (App. B.1).

    A value of 1 always passes, so that a threshold of 1 means "unanimous".

    Raises:
        KeyError: A threshold names an indicator that was not measured.
    """
    return all(
        measured[name] > limit + EPSILON or measured[name] >= 1 - EPSILON
        for name, limit in thresholds.items()
    )
