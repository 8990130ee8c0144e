"""Paths: a question's branches one by one, in many orders at once: leaders, Certaindex and tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from dynasor_graph.recordings import Recorded
from dynasor_graph.replay.arms import Floats
from dynasor_graph.replay.study import checked_cap, orders
from dynasor_graph.replay.votes import Ballot

__all__ = ["Paths", "all_paths", "paths_of"]


class Paths(NamedTuple):
    """One question; a row for each order, a column for each number of finished branches from 1.

    Attributes:
        leaders: Class of the leading answer, of equals the first seen; -1 before the first answer.
        certaindex: `entropy_certaindex` of these branches.
        tokens: Of these branches together.
        settled: For each order the fewest branches after which the leader is the full budget's
            answer and stays so: the paper's oracle.
        required: Tokens of these branches.
        solvable: Whether the full budget's answer is right; without gold, whether there is one.
    """

    leaders: NDArray[np.int64]
    certaindex: Floats
    tokens: NDArray[np.int64]
    settled: NDArray[np.int64]
    required: NDArray[np.int64]
    solvable: NDArray[np.bool_]


def paths_of(ballot: Ballot, draws: Sequence[Sequence[int]]) -> Paths:
    """The paths of one question, branches one at a time; equal to `replay_votes` at every knob.

    Args:
        ballot: The question's samples.
        draws: Orders, all equally long: which sample each branch is.
    """
    drawn = np.asarray(draws, dtype=np.int64)
    classes = np.asarray(ballot.classes, dtype=np.int64)[drawn]
    knobs = np.arange(1, classes.shape[1] + 1)
    votes = classes[:, :, None] == np.arange(max(1, max(ballot.classes, default=-1) + 1))
    counts = votes.cumsum(axis=1)
    first = np.where(votes.any(axis=1), votes.argmax(axis=1), len(knobs))
    # Of equal counts the class that was seen first; a count outweighs any place.
    rank = counts * (len(knobs) + 1) - first[:, None, :]
    leaders = np.where(counts.any(axis=2), rank.argmax(axis=2), -1)
    # 1 - H / log n with H = log n - sum(c log c) / n; a branch without an answer adds 1 log 1 = 0.
    largest = xlogy(knobs, knobs)
    agreed = xlogy(counts, counts).sum(axis=2) / np.where(knobs > 1, largest, 1.0)
    differs = leaders != leaders[:, -1:]
    last = np.where(differs.any(axis=1), len(knobs) - differs[:, ::-1].argmax(axis=1), 0)
    final = leaders[:, -1]
    tokens = np.asarray(ballot.tokens, dtype=np.int64)[drawn].cumsum(axis=1)
    right = np.ones(votes.shape[2], dtype=bool)
    if ballot.right is not None:
        right[: len(ballot.right)] = ballot.right
    return Paths(
        leaders=leaders,
        certaindex=np.clip(agreed, 0.0, 1.0),
        tokens=tokens,
        settled=last + 1,
        required=tokens[np.arange(len(tokens)), last],
        solvable=(final >= 0) & right[final],
    )


def all_paths(
    recorded: Sequence[Recorded], *, cap: int | None, shuffles: int, seed: int
) -> Iterator[tuple[Recorded, Ballot, list[list[int]], Paths]]:
    """Every question with its samples, its orders (those of `study` with this seed) and its paths.

    Raises:
        InputError: There is no question, or one has too few samples or samples without tokens.
        ConfigError: The cap is below 1.
    """
    ballots = [Ballot.of(row) for row in recorded]
    cap = checked_cap(recorded, ballots, cap)
    rng = np.random.default_rng(seed)
    for row, ballot in zip(recorded, ballots, strict=True):
        draws = orders(len(ballot.classes), cap, shuffles, rng)
        yield row, ballot, draws, paths_of(ballot, draws)
