"""Confidence: how sure a branch was of its tokens, a sliding group of them at a time (DeepConf).

Fu et al., "Deep think with confidence", 2025. A token's confidence is minus the mean log-probability of
the k likeliest candidates, in nats: high where one candidate has all the probability. A group's is
the mean over `window` tokens in a row; of fewer tokens than that there is one group, all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np

__all__ = [
    "GROUP_VOTES",
    "Confidence",
    "GroupVote",
    "Groups",
    "cut_at",
    "group_weights",
    "token_confidence",
]

GroupVote = Literal[
    "group-mean", "group-tail", "group-bottom", "group-least", "top-tail", "top-bottom"
]
GROUP_VOTES: Final = get_args(GroupVote)
"""Votes weighted by the confidence of branches; the last two count the surest tenth alone."""

_STEP: Final = 0.01
"""Falls of the least confidence that are smaller are not noted, in nats."""
_SHARE: Final = 0.1
"""Groups that count as the bottom, and branches that count as the top (DeepConf's defaults)."""


class Confidence(NamedTuple):
    """What is kept of one branch, in nats.

    Attributes:
        mean: Of all tokens.
        tail: Of the last group.
        bottom: Mean of the lowest tenth of the groups.
        least: Of the lowest group: DeepConf's score of a trace.
        falls: How far the branch had come, in tokens, when a full group was lower than all before,
            and how low it was.
    """

    mean: float
    tail: float
    bottom: float
    least: float
    falls: tuple[tuple[int, float], ...] = ()

    def to_json(self, *, falls: bool = True) -> dict[str, Any]:
        """Plain JSON, rounded to four places."""
        row: dict[str, Any] = {
            name: round(getattr(self, name), 4) for name in ("mean", "tail", "bottom", "least")
        }
        if falls:
            row["falls"] = [[at, round(value, 4)] for at, value in self.falls]
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Confidence:
        """Read what `to_json` wrote.

        Raises:
            KeyError: A number is missing.
            ValueError: One is no number.
        """
        falls = tuple((int(at), float(value)) for at, value in row.get("falls", ()))
        mean, tail, bottom, least = (float(row[name]) for name in cls._fields[:4])
        return cls(mean, tail, bottom, least, falls)


def token_confidence(logprobs: Iterable[float], k: int) -> float:
    """Confidence of a token: minus the mean of the k largest log-probabilities of its candidates.

    Candidates with a probability of 0 are passed over.
    """
    found = sorted((value for value in logprobs if value > -math.inf), reverse=True)[:k]
    return -math.fsum(found) / len(found) if found else 0.0


class Groups:
    """The groups of one branch that is running; a step costs the same however long it is.

    Args:
        window: Tokens of a group, >= 1 (DeepConf: 2048).

    Attributes:
        lowest: The lowest full group so far, in nats; infinite before the first.
    """

    def __init__(self, window: int) -> None:
        self.lowest = math.inf
        self._window = window
        self._sums = [0.0]  # of the first n tokens
        self._falls: list[tuple[int, float]] = []

    def add(self, confidences: Iterable[float]) -> None:
        """Take in the next tokens."""
        sums, window = self._sums, self._window
        for value in confidences:
            sums.append(sums[-1] + value)
            at = len(sums) - 1
            if at < window:
                continue
            mean = (sums[at] - sums[at - window]) / window
            if mean < self.lowest:
                self.lowest = mean
                if not self._falls or mean <= self._falls[-1][1] - _STEP:
                    self._falls.append((at, mean))

    def confidence(self) -> Confidence | None:
        """What is kept of the branch; None before its first token."""
        sums = np.asarray(self._sums)
        count = len(sums) - 1
        if not count:
            return None
        window = min(self._window, count)
        means = (sums[window:] - sums[:-window]) / window
        lowest = np.sort(means)[: max(1, int(len(means) * _SHARE))]
        return Confidence(
            mean=float(sums[-1] / count),
            tail=float(means[-1]),
            bottom=float(lowest.mean()),
            least=float(means.min()),
            falls=tuple(self._falls),
        )


def cut_at(falls: Sequence[tuple[int, float]], bar: float | None) -> int | None:
    """After how many tokens a branch falls below the bar; None if it does not."""
    if bar is None:
        return None
    return next((at for at, value in falls if value < bar), None)


def group_weights(vote: str, scores: Sequence[Confidence | None]) -> list[float]:
    """How much each branch's vote counts, by one of `GROUP_VOTES`; a branch without confidence counts 0.

    "top-..." keeps the surest tenth, at least one, weighted by the same number.
    """
    kind, _, number = vote.partition("-")
    weights = [0.0 if one is None else max(0.0, float(getattr(one, number))) for one in scores]
    if kind == "top":
        keep = max(1, int(len(weights) * _SHARE))
        first = set(sorted(range(len(weights)), key=lambda i: -weights[i])[:keep])
        return [weight if i in first else 0.0 for i, weight in enumerate(weights)]
    return weights
