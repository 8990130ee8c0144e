"""Reward: the one seam to what judges partial solutions: token ids in, a score in [0, 1] out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from dynasor_graph.errors import RewardError

__all__ = ["Partial", "Reward", "Score", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """A solution so far, whole or not.

    Attributes:
        question: What was asked, as text.
        prompt: Token ids before the solution, as the generator saw them.
        tokens: Token ids of the solution so far, exactly as they were generated.
        text: The same as text.
        ended: Whether the solution came to its end.
    """

    question: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Score:
    """What a reward says of one solution.

    Attributes:
        value: From 0 (hopeless) to 1 (certainly right).
        computed: Tokens that a reward model had to compute for it: those that were not found in its
            prefix cache; 0 for a function.
    """

    value: float
    computed: int = 0


@runtime_checkable
class Reward(Protocol):
    """What judges solutions.

    Open it with `async with`; it may then be used from any event loop and any number of tasks.
    `tests/reward/test_conformance.py` holds what every reward has to do.

    Attributes:
        name: For traces and messages.
    """

    name: str

    async def score(self, partials: Sequence[Partial]) -> list[Score]:
        """Judge solutions, in one batch: a score for each, in order.

        Raises:
            RewardError: One of them could not be judged.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


async def score(reward: Reward, partials: Sequence[Partial]) -> list[Score]:
    """Judge solutions, and check what the reward says.

    Raises:
        RewardError: It failed, or said something that is no score.
    """
    if not partials:
        return []
    try:
        scores = await reward.score(partials)
    except RewardError:
        raise
    except Exception as error:
        # A user's function may raise anything; the search wants to know whose fault it was.
        kind = type(error).__name__
        raise RewardError(f"reward {reward.name!r} raised {kind}: {error}") from error
    if len(scores) != len(partials):
        raise RewardError(
            f"reward {reward.name!r} gave {len(scores)} scores for {len(partials)} solutions"
        )
    for one in scores:
        if not 0 <= one.value <= 1:  # also catches NaN
            raise RewardError(
                f"reward {reward.name!r} gave {one.value}: a score must be in [0, 1]; normalise it, "
                "with a sigmoid for example"
            )
    return scores
