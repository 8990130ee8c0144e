"""Allocation: the paper's curves from Certaindex to a budget, fitted to recorded samples.

The paper's: Skyline gives a budget of branches for the Certaindex at a step (App. G.4), Pareto a
remaining budget of tokens (App. B.2); the calibration is labelled, and no program of it is to be harmed
(App. D.2.2). It gives neither the form of a curve nor how to fit one.

Our reading: an upper envelope. For each Certaindex the smallest budget such that no solvable program
needed more, where solvable means that the full budget's answer is right (without gold: that there is
one), and needed, that from there on the leading answer stays that of the full budget. Who is more
certain gets no more. With `quantile=1`, at the fitted orders and one branch at a time, no answer of a
solvable program changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from dynasor_graph.certaindex import EPSILON
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import Pareto, Rule, Skyline
from dynasor_graph.recordings import Recorded
from dynasor_graph.replay.arms import Floats
from dynasor_graph.replay.paths import all_paths

__all__ = ["CURVES", "Needed", "curves", "fit_pareto", "fit_skyline"]

Needed = Literal["next", "whole"]
"""What a program whose leader does not stay yet counts as needing: the way to the next measurement, or
the whole way. At `quantile=1` "whole" keeps no more answers and saves far less; below it is safer."""

Ints = NDArray[np.int64]

_BINS: Final = 32
"""Steps of a curve at most; fewer values than that have a step each."""
_DIGITS: Final = 6
"""Of the Certaindex of a step: values that are equal in these are one."""


def fit_skyline(
    recorded: Sequence[Recorded],
    *,
    at: int = 5,
    every: int = 0,
    cap: int | None = None,
    shuffles: int = 4,
    seed: int = 0,
    quantile: float = 1.0,
    needed: Needed = "next",
) -> Skyline:
    """Fit `Skyline`: Certaindex to the number of branches at which a program ends.

    Measured once (`every=0`), a program needs its branches until the leader stays. Measured again and
    again, `needed` says; the paper's figure has one measurement, and says nothing of this.

    Args:
        recorded: Questions, each with at least `cap` samples with tokens.
        at: First knob that is measured, 2 to `cap`.
        every: Branches between two measurements, as of the rule; 0 measures once.
        cap: Most branches; by default as many samples as every question has.
        shuffles: Random orders of each question's samples; 0 keeps the recorded order.
        seed: Of these orders.
        quantile: Share of the solvable programs of a step that must get what they need, in (0, 1]; 1
            is the paper's: none is harmed. The orders of a question are programs of their own.
        needed: What counts as needed where it is measured again and again.

    Raises:
        InputError: There is no question, none is solvable, or one has too few samples.
        ConfigError: `at`, `every`, the cap or the quantile is out of range.
    """
    if every < 0:
        raise ConfigError(f"every must be at least 0, got {every}")
    found = _collect(recorded, at, cap, shuffles, seed)
    knobs = np.arange(at, found.cap + 1)
    if not every:
        needs = np.maximum(at, found.settled)[:, None]
        points = _envelope(found.certaindex[:, :1], needs, found.solvable, quantile, least=at)
    else:
        measured = (knobs == at) | (knobs % every == 0)
        following = np.minimum(knobs + every - knobs % every, found.cap)
        enough = following if needed == "next" else found.settled[:, None]
        needs = np.where(knobs < found.settled[:, None], enough, at)[:, measured]
        values = found.certaindex[:, measured]
        points = _envelope(values, needs, found.solvable, quantile, least=at)
    return Skyline(points=points, at=at, every=every)


def fit_pareto(
    recorded: Sequence[Recorded],
    *,
    at: int = 5,
    cap: int | None = None,
    shuffles: int = 4,
    seed: int = 0,
    quantile: float = 1.0,
    needed: Needed = "next",
) -> Pareto:
    """Fit `Pareto`: Certaindex to the tokens that are still worth spending.

    It is asked at every branch, and stops where the budget is below a mean branch. So as long as the
    leader does not stay yet, a program needs its mean branch; "whole", also its tokens until the leader
    stays. Afterwards it needs 0. Tokens belong to a model and a set: fit on questions of one.

    Arguments and errors are those of `fit_skyline`.
    """
    found = _collect(recorded, at, cap, shuffles, seed)
    knobs = np.arange(at, found.cap + 1)
    mean = -(-found.tokens // knobs)  # rounded up: the budget is a whole number
    enough = mean if needed == "next" else np.maximum(mean, found.required[:, None] - found.tokens)
    needs = np.where(knobs < found.settled[:, None], enough, 0)
    return Pareto(
        points=_envelope(found.certaindex, needs, found.solvable, quantile, least=0), at=at
    )


CURVES: Final = ("skyline", "pareto")
"""The rules that are fitted curves."""
_QUANTILES: Final = (1.0, 0.999, 0.998, 0.995, 0.99, 0.98, 0.97, 0.95, 0.92, 0.9, 0.85, 0.8, 0.7)


def curves(
    recorded: Sequence[Recorded],
    spec: str,
    quantiles: Sequence[float] = (),
    *,
    cap: int | None = None,
    seed: int = 0,
) -> dict[str, tuple[float, Rule]]:
    """Fit a curve at each quantile, from careful to daring: name -> (quantile, policy).

    Args:
        recorded: Questions with samples.
        spec: "skyline" or "pareto", with what is to be set: "skyline:at=4,every=1". By itself `every`
            is 1: measured at every branch.
        quantiles: By default thirteen from 1 to 0.7.
        cap: Most branches.
        seed: Of the orders.

    Raises:
        ConfigError: It names no curve, or sets what is not `at`, `every` or `needed`.
        InputError: As `fit_skyline`.
    """
    name, _, told = (part.strip() for part in spec.partition(":"))
    set_to = dict(pair.partition("=")[::2] for pair in told.split(",") if pair)
    known = {"at", "needed"} | ({"every"} if name == "skyline" else set())
    if name not in CURVES or not set(set_to) <= known:
        raise ConfigError(f"a fitted curve is skyline:at=5,every=1 or pareto:at=5, got {spec!r}")
    how: dict[str, Any] = {"every": 1} if name == "skyline" else {}
    for key, text in set_to.items():
        if key != "needed" and not text.isdecimal():
            raise ConfigError(f"{name}: {key} must be a whole number, got {text!r}")
        how[key] = text if key == "needed" else int(text)
    if how.get("needed", "next") not in get_args(Needed):
        raise ConfigError(f"{name}: needed is next or whole, got {how['needed']!r}")
    fit = fit_skyline if name == "skyline" else fit_pareto
    return {
        f"{name}:quantile={q:g}": (q, fit(recorded, cap=cap, seed=seed, quantile=q, **how))
        for q in quantiles or _QUANTILES
    }


class _Programs(NamedTuple):
    """All programs, one a row; columns from the first knob that is measured.

    `required` are the tokens until the leader stays.
    """

    certaindex: Floats
    tokens: Ints
    settled: Ints
    required: Ints
    solvable: NDArray[np.bool_]
    cap: int


def _collect(
    recorded: Sequence[Recorded], at: int, cap: int | None, shuffles: int, seed: int
) -> _Programs:
    found = [p for *_, p in all_paths(recorded, cap=cap, shuffles=shuffles, seed=seed)]
    most = found[0].leaders.shape[1]
    if not 2 <= at <= most:
        raise ConfigError(f"Certaindex is measured at 2 to {most} branches (the cap), got {at}")
    solvable = np.concatenate([p.solvable for p in found])
    if not solvable.any():
        raise InputError("no question is solvable by its full budget: there is nothing to keep")
    return _Programs(
        certaindex=np.concatenate([p.certaindex[:, at - 1 :] for p in found]),
        tokens=np.concatenate([p.tokens[:, at - 1 :] for p in found]),
        settled=np.concatenate([p.settled for p in found]),
        required=np.concatenate([p.required for p in found]),
        solvable=solvable,
        cap=most,
    )


def _envelope(
    values: Floats, needs: Ints, solvable: NDArray[np.bool_], quantile: float, *, least: int
) -> tuple[tuple[float, int], ...]:
    """The curve: who is more certain gets no more, and each step enough for its programs.

    Args:
        values: Certaindex of the programs (rows) at their measurements (columns).
        needs: The budget that each needs there.
        solvable: Which programs count.
        quantile: Of a step's programs; a program's need is its largest there.
        least: The budget of a step where nothing is needed.
    """
    if not 0 < quantile <= 1:
        raise ConfigError(f"quantile must be in (0, 1], got {quantile}")
    # Cut as the rule compares, with its tolerance: a value falls into the step it is fitted in.
    cut = np.floor((values + EPSILON) * 10**_DIGITS).astype(np.int64)
    known = np.unique(cut)
    if len(known) > _BINS:
        # Equally many measurements to a step, as far as values can be told apart.
        known = np.unique(np.quantile(cut, np.arange(_BINS) / _BINS, method="lower"))
        known = np.union1d(known, [cut.max()])
    step = np.searchsorted(known, cut, side="right") - 1
    most = np.full((len(values), len(known)), -1, dtype=np.int64)  # -1: never there
    rows = np.broadcast_to(np.arange(len(values))[:, None], cut.shape)
    np.maximum.at(most, (rows, step), needs)
    budgets: list[int] = []
    for i in range(len(known)):
        there = most[solvable & (most[:, i] >= 0), i]
        enough = np.quantile(there, quantile, method="inverted_cdf") if len(there) else least
        budgets.append(int(enough))
    falling = np.maximum.accumulate(budgets[::-1])[::-1].tolist()
    points: list[tuple[float, int]] = []
    for value, budget in zip(known.tolist(), falling, strict=True):
        if not points or budget < points[-1][1]:
            points.append((math.floor(value) / 10**_DIGITS, budget))
    return tuple(points)
