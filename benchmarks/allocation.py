"""Allocation: the paper's Table 4, replayed: what curves of Certaindex save over one threshold.

Part of `benchmarks.replay`. The setting: at most 20 branches, Certaindex first at 5. Curves are fitted
on `abacus-calibration` for the bundled `abacus-test`, else on a random half of the questions of each set
and model, and replayed on the other half. `paper` is its SC/MATH, an unnamed model; `q` is a curve's
quantile, `whole` what it counts as needed. `length` stops as many programs as the static threshold.

Tokens are against the full budget with the same branches in flight, latency is a multiple of all 20 at
once. The paper asks for 5, then for what the policy says: 5 in flight is nearest to its batches.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.progress import track

from dynasor_graph.abacus import recording_path
from dynasor_graph.calibration import fit_pareto, fit_skyline
from dynasor_graph.policies import Certaindex, Even, EveryCertaindex, Fixed, Length, Rule
from dynasor_graph.recordings import Recorded, read_recording
from dynasor_graph.replay import StudyRow, study
from dynasor_graph.replay.paths import all_paths
from dynasor_graph.replay.study import group_of

__all__ = ["allocation"]

CAP, AT = 20, 5
PAPER = {
    "even": "0.0",
    "static threshold": "-11.0",
    "initial-step curve": "-11.9",
    "5-step threshold": "-12.7",
    "single-step threshold": "-12.7",
    "dynamic curve": "-14.4",
}
"""Table 4, SC/MATH: tokens against even, in percent; accuracy held."""
QUANTILES = (1.0, 0.99, 0.95)
WINDOWS = (1, 5, 20)


def policies_of(fitted: Sequence[Recorded], shuffles: int) -> dict[str, Rule]:
    """The policies of the table, their curves fitted on these questions."""
    found: dict[str, Rule] = {
        "even": Fixed(),
        "even at 16": Even(at=16),
        "static threshold": Certaindex(threshold=0.7, at=AT),
        "5-step threshold": EveryCertaindex(threshold=0.7, every=5, start=AT),
        "single-step threshold": EveryCertaindex(threshold=0.7, every=1, start=AT),
        "length": _length(fitted, shuffles),
    }
    how: dict[str, Any] = {"at": AT, "cap": CAP, "shuffles": shuffles}
    for quantile in QUANTILES:
        name = "" if quantile == 1 else f" q{quantile:g}"
        how["quantile"] = quantile
        found[f"initial-step curve{name}"] = fit_skyline(fitted, every=0, **how)
        found[f"dynamic curve{name}"] = fit_skyline(fitted, every=1, **how)
        found[f"Pareto{name}"] = fit_pareto(fitted, **how)
    found["dynamic curve q0.99, whole"] = fit_skyline(
        fitted, every=1, **{**how, "quantile": 0.99}, needed="whole"
    )
    found["Pareto q0.99, whole"] = fit_pareto(fitted, **{**how, "quantile": 0.99}, needed="whole")
    return found


def _length(fitted: Sequence[Recorded], shuffles: int) -> Length:
    """Stops as many programs as the static threshold does: those with the fewest tokens at 5."""
    paths = [p for *_, p in all_paths(fitted, cap=CAP, shuffles=shuffles, seed=0)]
    tokens = np.concatenate([p.tokens[:, AT - 1] for p in paths])
    stopped = np.concatenate([p.certaindex[:, AT - 1] > 0.7 for p in paths]).mean()
    return Length(most=int(np.quantile(tokens, stopped, method="lower")), at=AT)


def halves(recorded: Sequence[Recorded], seed: int = 0) -> tuple[list[Recorded], list[Recorded]]:
    """Two random halves: to fit and to replay."""
    order = np.random.default_rng(seed).permutation(len(recorded)).tolist()
    middle = len(order) // 2
    return [recorded[i] for i in order[:middle]], [recorded[i] for i in order[middle:]]


def allocation(
    recorded: Sequence[Recorded], shuffles: int, *, bundled: bool = False
) -> list[dict[str, Any]]:
    """A row for each policy: means over sets and models, each with curves of its own."""
    groups: dict[str, list[Recorded]] = {}
    for row in recorded:
        groups.setdefault(group_of(row), []).append(row)
    by_group: list[list[StudyRow]] = []
    for rows in track(groups.values(), description="replaying"):
        fitted, kept = halves(rows)
        if bundled:
            fitted, kept = read_recording(recording_path("abacus-calibration", "direct")), rows
        rules = policies_of(fitted, shuffles)
        found = study(kept, rules, windows=WINDOWS, cap=CAP, shuffles=shuffles, seed=1)
        by_group.append(found.rows())
    count = len(by_group[0]) // len(WINDOWS)
    return [
        _row([[rows[i + count * w] for rows in by_group] for w in range(3)]) for i in range(count)
    ]


def _row(by_window: Sequence[Sequence[StudyRow]]) -> dict[str, Any]:
    """One policy: of each window, its rows over the groups."""
    alone, five, wide = by_window

    def mean(rows: Sequence[StudyRow], key: str, factor: float = 1.0) -> float:
        return factor * statistics.mean(float(dict(row)[key] or 0.0) for row in rows)  # type: ignore[arg-type]

    name = alone[0]["policy"]
    return {
        "policy": name,
        "difference": f"{mean(alone, 'difference', 100):+.2f}",
        "worst": f"{min(100 * (row['difference'] or 0.0) for row in alone):+.1f}",
        "same, %": f"{mean(alone, 'agreement', 100):.1f}",
        "tokens, %": f"{mean(alone, 'spent', 100) - 100:+.1f}",
        "paper, %": PAPER.get(name, ""),
        "difference, 5": f"{mean(five, 'difference', 100):+.2f}",
        "tokens, 5": f"{mean(five, 'spent', 100) - 100:+.1f}",
        "latency, 5": f"{mean(five, 'slowdown'):.2f}x",
        "tokens, 20": f"{mean(wide, 'spent', 100) - 100:+.1f}",
        "latency, 20": f"{mean(wide, 'slowdown'):.2f}x",
    }
