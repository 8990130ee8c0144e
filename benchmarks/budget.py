"""One budget for many questions: what an allocator keeps of the full budget's accuracy.

    python -m benchmarks.budget [--kind direct|think] [--shuffles 5] [--json]

A row is a way to spend a share of the full budget's tokens on all questions of `abacus-test`; a column
is such a share, a cell the points of accuracy lost against the full budget. `even` gives every question
as many branches, `beta` and `value` are taken at the threshold or price that spends just so much, chosen
afterwards (between two neighbours in proportion). `--allocate` is told the budget and the number of
questions and nothing else: it sets the price of each question as it begins, 16 in flight, in random
order. Below it stands what it spent. The policy value is fitted on `abacus-calibration`.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.output import show
from dynasor_graph.abacus import recording_path
from dynasor_graph.calibration import candidates_of, fit_value
from dynasor_graph.policies import Even, Pacing, Rule, Value, read_policy
from dynasor_graph.recordings import Recorded, read_recording
from dynasor_graph.replay import Ballot, Decider, replay_votes, study
from dynasor_graph.replay.study import orders

SHARES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
PRICES = np.geomspace(1e-4, 3.0, 28).round(6).tolist()
IN_FLIGHT = 16
KINDS = {"direct": ("votes", "logprobs"), "think": ("votes", "logprobs", "lengths")}


def rows(kind: str, shuffles: int) -> list[dict[str, Any]]:
    """A row for each way to spend the budget."""
    fit, test = (
        read_recording(recording_path(name, kind)) for name in ("abacus-calibration", "abacus-test")
    )
    cap = min(len(row.samples) for row in test)
    betas = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999]
    with Progress(transient=True) as progress:
        task = progress.add_task("replaying", total=5)
        found = [_swept("even", test, {str(k): Even(at=k) for k in range(1, cap)}, shuffles)]
        progress.advance(task)
        swept = candidates_of(read_policy("beta"), "confidence", betas)
        found.append(
            _swept("beta", test, {key: rule for key, (_, rule) in swept.items()}, shuffles)
        )
        progress.advance(task)
        value = fit_value(fit, KINDS[kind], shuffles=3)
        progress.advance(task)
        swept = candidates_of(value, "price", PRICES)
        found.append(
            _swept("value", test, {key: rule for key, (_, rule) in swept.items()}, shuffles)
        )
        progress.advance(task)
        found += _allocated(test, value, cap, shuffles)
    return found


def _swept(
    name: str, test: Sequence[Recorded], rules: dict[str, Rule], shuffles: int
) -> dict[str, Any]:
    arms = study(test, rules, shuffles=shuffles).rows()
    points = sorted((arm["spent"], 100 * (arm["difference"] or 0.0)) for arm in arms)
    spent, lost = zip(*points, strict=True)
    cells = {
        f"{share:.0%}": f"{np.interp(share, spent, lost):+.2f}" if share >= spent[0] else ""
        for share in SHARES
    }
    return {"": name, **cells}


def _allocated(
    test: Sequence[Recorded], value: Value, cap: int, shuffles: int
) -> list[dict[str, Any]]:
    ballots = [Ballot.of(row) for row in test]
    rng = np.random.default_rng(0)
    lost: dict[str, Any] = {"": "--allocate"}
    spent: dict[str, Any] = {"": "  spent"}
    full = Decider(read_policy("fixed"), cap)
    for share in SHARES:
        points, shares = [], []
        for _ in range(shuffles):
            draws = [orders(len(b.classes), cap, 1, rng)[0] for b in ballots]
            whole = [replay_votes(b, o, full) for b, o in zip(ballots, draws, strict=True)]
            budget = share * sum(outcome.tokens for outcome in whole)
            right, used = _stream(ballots, draws, value, int(budget), cap, rng)
            base = np.mean([_right(b, o.answer) for b, o in zip(ballots, whole, strict=True)])
            points.append(100 * (right - base))
            shares.append(used / sum(outcome.tokens for outcome in whole))
        lost[f"{share:.0%}"] = f"{np.mean(points):+.2f}"
        spent[f"{share:.0%}"] = f"{np.mean(shares):.1%}"
    return [lost, spent]


def _stream(
    ballots: Sequence[Ballot],
    draws: Sequence[Sequence[int]],
    value: Value,
    budget: int,
    cap: int,
    rng: np.random.Generator,
) -> tuple[float, int]:
    """The share that is right, and the tokens spent."""
    pacing = Pacing(value, budget, len(ballots))
    running: deque[tuple[str, int]] = deque()
    right = 0.0
    for at in rng.permutation(len(ballots)).tolist():
        if len(running) == IN_FLIGHT:
            pacing.end(*running.popleft())
        decider = Decider(pacing.begin(str(at)), cap)
        outcome = replay_votes(ballots[at], draws[at], decider)
        right += _right(ballots[at], outcome.answer)
        running.append((str(at), outcome.tokens))
    for ended in running:
        pacing.end(*ended)
    return right / len(ballots), pacing.spent


def _right(ballot: Ballot, answer: int) -> float:
    return float(answer >= 0 and (ballot.right or ())[answer])


def main() -> None:
    """Read the arguments, replay, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=list(KINDS))
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--json", action="store_true", dest="json_out")
    args = parser.parse_args()
    for kind in [args.kind] if args.kind else list(KINDS):
        title = f"{kind}: points lost, by the share of the full budget's tokens"
        show(title, rows(kind, args.shuffles), json_out=args.json_out)


if __name__ == "__main__":
    main()
