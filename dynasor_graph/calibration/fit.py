"""Fit: the model and the table of the value-of-computation policy, out of recorded samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import Decision, Fixed
from dynasor_graph.policies.value import SIGNALS, Goal, Value, leader_of, signals
from dynasor_graph.recordings import Recorded
from dynasor_graph.replay import Ballot, Decider, replay_votes
from dynasor_graph.replay.study import check_signals, checked_cap, orders
from dynasor_graph.replay.votes import Seen

__all__ = ["ages", "fit_value"]

Floats = NDArray[np.float64]

_COLUMNS: Final = 40
"""Probabilities that the table tells apart."""
_AHEAD: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""How many further branches are looked ahead."""
_DOUBT: Final = 0.1
"""Programs that have gained, in every cell beside those that were seen: none is hopeless for sure."""
_PRICES: Final = np.geomspace(1e-5, 10, 72)
"""Gains per 1,000 tokens that backward induction tells apart."""
_LATE: Final = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Lengths over the mean at which a branch may be ended."""
_ENOUGH: Final = 200
"""Fewest samples that are longer, to say anything of them."""
_SMOOTH: Final = 2.0
"""Programs' worth of the average that its cells start from."""


class _Paths(NamedTuple):
    """Recorded programs to their end: [programs, branches] each, signals with one axis more."""

    signals: Floats
    good: Floats
    tokens: Floats


def fit_value(
    recorded: Sequence[Recorded],
    kinds: Sequence[str],
    *,
    goal: Goal = "right",
    vote: Literal["majority", "best"] = "majority",
    cap: int | None = None,
    shuffles: int = 4,
    seed: int = 0,
    price: float = 0.01,
) -> Value:
    """Fit `Value` on questions with recorded samples.

    A logistic regression turns the signals into the probability that the leader is good. The table
    holds, for a number of branches and a probability, what going on gains per 1,000 tokens: the larger
    of two estimates, one by backward induction and one by what was gained on the same programs.

    Args:
        recorded: Questions, each with at least `cap` samples with tokens.
        kinds: Signals that the model may read, of `SIGNALS`.
        goal: Good is "right" (needs gold), or "same": the answer of the full budget.
        vote: How the answer is chosen.
        cap: Most branches; by default as many as every question has.
        shuffles: Random orders of each question's samples.
        seed: Of these orders.
        price: What the policy starts with.

    Raises:
        ConfigError: A kind of signals does not exist or comes twice, or the vote "best" is not among
            what the model reads.
        InputError: There are fewer than 20 questions, too few samples, or gold or a signal is missing.
    """
    _check_kinds(kinds, vote)
    if len(recorded) < 20:
        raise InputError(f"{len(recorded)} questions are too few to fit on: record at least 20")
    ballots = [Ballot.of(row) for row in recorded]
    cap = checked_cap(recorded, ballots, cap)
    check_signals(recorded, ballots, {"value": frozenset(kinds)}, vote)
    paths = _collect(recorded, kinds, goal, vote, cap, shuffles, seed)
    flat = paths.signals.reshape(-1, paths.signals.shape[-1])
    weights, bias = _logistic(flat, paths.good.reshape(-1))
    weights, bias = weights.round(6), round(bias, 6)  # as written, so that cells are the policy's
    probability = expit(paths.signals @ weights + bias)
    inner = np.quantile(probability, np.linspace(0, 1, _COLUMNS + 1)[1:-1])
    edges = np.unique(inner.round(6))
    edges = edges[edges < probability.max()]  # the surest column was seen
    cell = np.searchsorted(edges, probability)
    worth = np.maximum(_solved(cell, paths), _measured(cell, paths)).round(6)
    return Value(
        price=price,
        vote=vote,
        kinds=tuple(kinds),
        bias=bias,
        weights=tuple(weights.tolist()),
        edges=tuple(edges.tolist()),
        worth=tuple(map(tuple, worth.tolist())),
        ages=ages(ballots, goal),
        spends=tuple(_spends(worth, cell, paths.tokens)),
    )


def _check_kinds(kinds: Sequence[str], vote: Literal["majority", "best"]) -> None:
    known = ", ".join(SIGNALS)
    if not kinds:
        raise ConfigError(f"kinds: name some of {known}")
    for kind in kinds:
        if kind not in SIGNALS:
            raise ConfigError(f"kinds: {kind!r} is none of {known}")
    if len(set(kinds)) < len(kinds):
        raise ConfigError(f"kinds: one comes twice: {', '.join(kinds)}")
    if vote == "best" and "rewards" not in kinds:
        raise ConfigError("vote 'best' needs 'rewards' among the kinds")


class _Watch(Decider):
    """Never stops, and notes the signals at every branch that ends."""

    def __init__(self, cap: int, kinds: Sequence[str], vote: Literal["majority", "best"]) -> None:
        super().__init__(Fixed(), cap)
        self._kinds, self._vote = kinds, vote
        self.noted: list[tuple[list[float], int | None, int]] = []

    def decide(self, seen: Seen) -> Decision:
        """Goes on."""
        progress = self.progress(seen)
        if progress.knob:
            leader = leader_of(progress, self._vote)
            found = signals(progress, leader, self._kinds)
            self.noted.append((found, leader.answer, progress.tokens))
        return self.policy.decide(progress)


def _collect(
    recorded: Sequence[Recorded],
    kinds: Sequence[str],
    goal: Goal,
    vote: Literal["majority", "best"],
    cap: int,
    shuffles: int,
    seed: int,
) -> _Paths:
    rng = np.random.default_rng(seed)
    found, good, tokens = [], [], []
    for row in recorded:
        ballot = Ballot.of(row)
        if goal == "right" and ballot.right is None:
            raise InputError(
                f"{row.id} has no gold: fit for the full budget's answer (goal 'same')"
            )
        for order in orders(len(ballot.classes), cap, shuffles, rng):
            watch = _Watch(cap, kinds, vote)
            replay_votes(ballot, order, watch)
            last = watch.noted[-1][1]
            found.append([values for values, _, _ in watch.noted])
            tokens.append([spent for _, _, spent in watch.noted])
            if goal == "same":
                good.append([answer == last for _, answer, _ in watch.noted])
            else:
                right = ballot.right or ()
                good.append([a is not None and right[a] for _, a, _ in watch.noted])
    return _Paths(np.array(found), np.array(good, dtype=float), np.array(tokens, dtype=float))


def _logistic(x: Floats, y: Floats, penalty: float = 1e-3) -> tuple[Floats, float]:
    """Weights and bias of a logistic regression; the penalty is on standardised signals."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = np.column_stack([np.ones(len(x)), (x - mean) / scale])

    def loss(w: Floats) -> tuple[float, Floats]:
        odds = z @ w
        slope = z.T @ (expit(odds) - y) / len(y) + 2 * penalty * np.r_[0.0, w[1:]]
        return float(np.mean(np.logaddexp(0, odds) - y * odds) + penalty * w[1:] @ w[1:]), slope

    w = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    weights = w[1:] / scale
    return weights, float(w[0] - weights @ mean)


def _solved(cell: NDArray[np.int64], paths: _Paths) -> Floats:
    """The highest price at which going on is still better than to stop: backward induction.

    Knows that a program may stop as soon as it is settled; but small gains drown in its noise, as
    each cell's chances are averages of their own.
    """
    branches, columns = cell.shape[1], int(cell.max()) + 1
    stop, cost = np.zeros((branches, columns)), np.zeros((branches, columns))
    move = np.zeros((branches, columns, columns))
    overall = np.array(
        [paths.good[cell == k].mean() if (cell == k).any() else 0.0 for k in range(columns)]
    )
    for n in range(branches):
        here = [cell[:, n] == k for k in range(columns)]
        more = paths.tokens[:, n + 1] - paths.tokens[:, n] if n + 1 < branches else None
        for k, chosen in enumerate(here):
            count = chosen.sum()
            stop[n, k] = (paths.good[chosen, n].sum() + _SMOOTH * overall[k]) / (count + _SMOOTH)
            if more is None:
                continue
            cost[n, k] = (more[chosen].sum() + _SMOOTH * more.mean()) / (count + _SMOOTH)
            move[n, k] = np.bincount(cell[chosen, n + 1], minlength=columns)
            move[n, k, k] += _SMOOTH
            move[n, k] /= count + _SMOOTH
    worth = np.zeros((branches, columns))
    for price in _PRICES:
        value = stop[-1]
        for n in range(branches - 2, -1, -1):
            going_on = move[n] @ value - price * cost[n] / 1000
            worth[n] = np.where(going_on > stop[n], price, worth[n])
            value = np.maximum(going_on, stop[n])
    return worth


def ages(ballots: Sequence[Ballot], goal: Goal = "right") -> tuple[tuple[float, float], ...]:
    """How a branch's worth changes as it gets long: lengths over its question's mean, and factors.

    A factor is the chance of a branch that has come so far to be good for each further token, over that
    of a new branch. Lengths that few samples reach are left out; so are all, if none makes it worse.
    """
    tokens = [np.array(ballot.tokens, dtype=float) for ballot in ballots]
    age = np.concatenate([one / max(1.0, one.mean()) for one in tokens])
    good = np.array([fine for ballot in ballots for fine in _good(ballot, goal)], dtype=float)
    found: list[tuple[float, float]] = []
    for at in _LATE:
        late = age > at
        if late.sum() < _ENOUGH or not good.any():
            break
        factor = good[late].mean() / good.mean() / (age[late] - at).mean()
        found.append((at, round(float(factor), 4)))
    return tuple(found) if any(factor < 1 for _, factor in found) else ()


def _good(ballot: Ballot, goal: Goal) -> list[bool]:
    """Which samples are right, or say what most of them say."""
    if goal == "right":
        return [number >= 0 and (ballot.right or ())[number] for number in ballot.classes]
    counts = Counter(number for number in ballot.classes if number >= 0)
    leader = max(counts, key=counts.__getitem__, default=-1)
    return [number >= 0 and number == leader for number in ballot.classes]


def _spends(
    worth: Floats, cell: NDArray[np.int64], tokens: Floats
) -> Iterator[tuple[float, float]]:
    """Prices, and the mean tokens of a program at each; those that change nothing are left out."""
    here = worth[np.arange(cell.shape[1]), cell]
    last = np.inf
    for price in _PRICES:
        stops = here <= price
        stops[:, -1] = True
        mean = round(float(tokens[np.arange(len(tokens)), stops.argmax(axis=1)].mean()), 2)
        if mean < last:
            last = mean
            yield float(f"{price:.4g}"), mean


def _measured(cell: NDArray[np.int64], paths: _Paths) -> Floats:
    """What going on gained per 1,000 tokens, over as many branches as it paid best.

    Gains are differences on the same programs, most of them 0, so small ones show; but every program
    is charged the whole way, though a policy would stop some on it.
    """
    branches = cell.shape[1]
    columns = int(cell.max()) + 1
    worth = np.zeros((branches, columns))
    for n in range(branches - 1):
        # Neighbours in the number of branches are counted together: a fifth to either side.
        near = np.arange(max(0, n - n // 5), min(branches - 1, n + n // 5 + 1))
        here = cell[:, near]
        count = np.bincount(here.ravel(), minlength=columns)
        for ahead in _AHEAD:
            later = np.minimum(near + ahead, branches - 1)
            gained = paths.good[:, later] - paths.good[:, near]
            cost = paths.tokens[:, later] - paths.tokens[:, near]
            gain = np.bincount(here.ravel(), weights=gained.ravel(), minlength=columns)
            spent = np.bincount(here.ravel(), weights=cost.ravel(), minlength=columns)
            worth[n] = np.maximum(worth[n], (gain + _DOUBT) / np.maximum(1.0, spent) * 1000)
        worth[n, count == 0] = _DOUBT
    return worth
