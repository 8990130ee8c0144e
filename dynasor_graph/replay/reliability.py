"""Reliability: how well Certaindex says, after a few branches, what the full budget would come to.

Two views. `reliability`: of the programs with a Certaindex, how many lead with a right answer.
`correlations`: whether it, or a rival, says how much a program still needs (paper, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from dynasor_graph.errors import ConfigError
from dynasor_graph.recordings import Recorded
from dynasor_graph.replay.arms import Floats
from dynasor_graph.replay.paths import all_paths
from dynasor_graph.replay.study import group_of
from dynasor_graph.replay.votes import Ballot

__all__ = ["Bin", "Correlation", "Reliability", "Signal", "correlations", "reliability", "wilson"]

Signal = Literal["certaindex", "log-probability", "length", "reward"]
"""What may be read off the first branches: Certaindex, or the mean over them of another value."""

_LEAST: Final = 10
"""Questions of a set and model below which nothing is correlated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Programs of a similar Certaindex.

    Attributes:
        certaindex: Their mean, in [0, 1].
        count: Programs: questions times orders.
        questions: Different questions among them.
        share: How many of them lead with a good answer, in [0, 1].
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    certaindex: float
    count: int
    questions: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How often the leading answer is good, by Certaindex.

    Attributes:
        at: Branches that had finished.
        cap: Branches of the full budget.
        measure: Good is "right"; without gold "same", the answer of the full budget.
        bins: Those with programs, from open to settled.
    """

    at: int
    cap: int
    measure: Literal["right", "same"]
    bins: Sequence[Bin]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """A signal after a few branches, against what solvable questions needed: over questions of a group.

    Needed is the oracle's: the fewest branches after which the leader is the full budget's answer and
    stays so, and their tokens. None where a side is constant. A signal of certainty is negative.

    Attributes:
        group: The set and the model.
        signal: What was read.
        questions: Solvable ones; each counts once, with the means over its orders.
        tokens: Pearson with the oracle's tokens.
        tokens_rank: Spearman with the same.
        branches: Pearson with the oracle's branches.
        branches_rank: Spearman with the same.
    """

    group: str
    signal: Signal
    questions: int
    tokens: float | None
    tokens_rank: float | None
    branches: float | None
    branches_rank: float | None


def wilson(share: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share, in [0, 1].

    Args:
        share: What was seen, in [0, 1].
        count: Of how many, > 0; not whole where observations depend on each other.
        confidence: Of the interval, in (0, 1).
    """
    z = float(ndtri(0.5 + confidence / 2))
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    # Rounding must not put the interval beside a share of 0 or 1.
    return min(share, max(0.0, (middle - half) / scale)), max(
        share, min(1.0, (middle + half) / scale)
    )


def reliability(
    recorded: Sequence[Recorded],
    *,
    at: int = 5,
    cap: int | None = None,
    shuffles: int = 10,
    seed: int = 0,
    bins: int = 10,
) -> Reliability:
    """Share of good leading answers after `at` branches, by Certaindex; majority votes.

    If any question has gold, those without are left out. The orders of a question are not
    independent: intervals are Wilson's with the count that remains if they all agreed
    (`(sum m)^2 / sum m^2` over the questions' programs m in the bin): rather too wide.

    Args:
        recorded: Questions, each with at least `cap` samples with tokens.
        at: Branches that have finished, 2 to `cap`.
        cap: Branches of the full budget; by default as many samples as every question has.
        shuffles: Random orders of each question's samples; 0 keeps the recorded order.
        seed: Of these orders.
        bins: Bins of equal width over [0, 1]; 1 itself belongs to the last.

    Raises:
        InputError: There is no question, or one has too few samples.
        ConfigError: `at` or the cap is out of range.
    """
    values: list[Floats] = []
    good: list[NDArray[np.bool_]] = []
    scored: list[bool] = []
    cap_found = 0
    for _, ballot, _, paths in all_paths(recorded, cap=cap, shuffles=shuffles, seed=seed):
        cap_found = _checked(at, paths.leaders.shape[1])
        leaders = paths.leaders[:, at - 1]
        values.append(paths.certaindex[:, at - 1])
        scored.append(ballot.right is not None)
        if ballot.right is None:
            good.append(leaders == paths.leaders[:, -1])
        else:
            right = np.array([*ballot.right, False])  # the last is no answer's, -1
            good.append(right[leaders])
    chosen = [i for i, known in enumerate(scored) if known or not any(scored)]
    value = np.concatenate([values[i] for i in chosen])
    fine = np.concatenate([good[i] for i in chosen])
    question = np.repeat(np.arange(len(chosen)), [len(values[i]) for i in chosen])
    place = np.minimum((value * bins + 1e-9).astype(np.int64), bins - 1)
    return Reliability(
        at=at,
        cap=cap_found,
        measure="right" if any(scored) else "same",
        bins=[_bin(value[m], fine[m], question[m]) for b in range(bins) if (m := place == b).any()],
    )


def _checked(at: int, cap: int) -> int:
    if not 2 <= at <= cap:
        raise ConfigError(f"Certaindex is measured at 2 to {cap} branches (the cap), got {at}")
    return cap


def _bin(value: Floats, fine: NDArray[np.bool_], question: NDArray[np.int64]) -> Bin:
    _, each = np.unique(question, return_counts=True)
    share = float(fine.mean())
    low, high = wilson(share, float(each.sum() ** 2 / (each**2).sum()))
    return Bin(
        certaindex=float(value.mean()),
        count=len(value),
        questions=len(each),
        share=share,
        low=low,
        high=high,
    )


class _Needs(NamedTuple):
    """One solvable question: means over its solvable orders."""

    signals: Mapping[Signal, float]
    tokens: float
    branches: float


def correlations(
    recorded: Sequence[Recorded],
    *,
    at: int = 5,
    cap: int | None = None,
    shuffles: int = 10,
    seed: int = 0,
) -> list[Correlation]:
    """How signals after `at` branches go with what solvable questions needed, by set and model.

    The first `at` branches are part of what was needed, in the same order: some of a correlation is of
    this making, above all that of length with tokens, which hold the same lengths.

    The paper gives 0.17 to 0.75 (mean 0.52) for Certaindex, without the sign, over its workloads; its
    "solvable" is with near-infinite compute, ours by the full budget. Groups of fewer than 10 solvable
    questions are left out, and signals that were not recorded throughout a group.

    Args:
        recorded: Questions, each with at least `cap` samples with tokens.
        at: Branches that have finished, 2 to `cap`.
        cap: Branches of the full budget; by default as many samples as every question has.
        shuffles: Random orders of each question's samples; 0 keeps the recorded order.
        seed: Of these orders.

    Raises:
        InputError: There is no question, or one has too few samples.
        ConfigError: `at` or the cap is out of range.
    """
    groups: dict[str, list[_Needs]] = {}
    for row, ballot, draws, paths in all_paths(recorded, cap=cap, shuffles=shuffles, seed=seed):
        _checked(at, paths.leaders.shape[1])
        if not (chosen := paths.solvable).any():
            continue
        needs = _Needs(
            signals={
                "certaindex": float(paths.certaindex[chosen, at - 1].mean()),
                **_rivals(ballot, np.asarray(draws)[chosen, :at]),
            },
            tokens=float(paths.required[chosen].mean()),
            branches=float(paths.settled[chosen].mean()),
        )
        groups.setdefault(group_of(row), []).append(needs)
    return [
        one
        for group, needs in groups.items()
        if len(needs) >= _LEAST
        for one in _correlated(group, needs)
    ]


def _rivals(ballot: Ballot, first: NDArray[np.int64]) -> dict[Signal, float]:
    found: dict[Signal, float] = {}
    known = [value for value in ballot.logprobs if value is not None]
    if known and len(known) == len(ballot.classes):
        found["log-probability"] = float(np.array(known)[first].mean())
    found["length"] = float(np.asarray(ballot.tokens)[first].mean())
    if ballot.rewards:
        found["reward"] = float(np.asarray(ballot.rewards)[first].mean())
    return found


def _correlated(group: str, needs: Sequence[_Needs]) -> Iterator[Correlation]:
    tokens = np.array([one.tokens for one in needs])
    branches = np.array([one.branches for one in needs])
    for signal in needs[0].signals:
        if not all(signal in one.signals for one in needs):
            continue
        values = np.array([one.signals[signal] for one in needs])
        by_tokens, by_branches = _coefficients(values, tokens), _coefficients(values, branches)
        yield Correlation(
            group=group,
            signal=signal,
            questions=len(needs),
            tokens=by_tokens[0],
            tokens_rank=by_tokens[1],
            branches=by_branches[0],
            branches_rank=by_branches[1],
        )


def _coefficients(values: Floats, needed: Floats) -> tuple[float, float] | tuple[None, None]:
    """Pearson's and Spearman's."""
    from scipy.stats import pearsonr, spearmanr  # noqa: PLC0415 - takes half a second to import

    # Nearly constant counts as constant: what is left is rounding.
    if np.ptp(values) < 1e-9 or np.ptp(needed) < 1e-9:
        return None, None
    return float(pearsonr(values, needed).statistic), float(spearmanr(values, needed).statistic)
