"""Fronts: what a replay came to, as a page: accuracy, tokens and latency of every policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynasor_graph.comparison import paired_bootstrap
from dynasor_graph.replay import Replayed, Study, StudyRow
from dynasor_graph.replay.reliability import Correlation, Reliability
from dynasor_graph.report import plots, reliability as reliabilities
from dynasor_graph.report.labels import FEW
from dynasor_graph.report.page import render
from dynasor_graph.report.svg import Look, inline, looks, style
from dynasor_graph.report.tables import percent, signed, whole

__all__ = ["cells", "write_fronts"]

_RESAMPLES = 2_000


def cells(row: StudyRow, *, chains: bool = False) -> dict[str, str]:
    """A line of a study as a person reads it; the policy is left out."""
    shown = {} if chains else {"k": str(row["window"])}
    if row["accuracy"] is not None:
        points = (row["difference"], row["difference_low"], row["difference_high"])
        mean, low, high = (signed(100 * (point or 0.0)) for point in points)
        shown["right"] = percent(row["accuracy"])
        shown["difference, 95 %"] = f"{mean} [{low}, {high}]"
    return shown | {
        "same": percent(row["agreement"]),
        "probes" if chains else "samples": f"{row['samples']:.1f}",
        "net": whole(row["tokens"]),
        "spent": percent(row["spent"]),
        "latency": f"{row['slowdown']:.2f}x",
    }


def write_fronts(
    path: Path,
    study: Study,
    *,
    title: str,
    about: Mapping[str, str],
    chains: bool = False,
    reliability: Reliability | None = None,
    correlations: Sequence[Correlation] = (),
) -> None:
    """Write one HTML page that needs no other file, no network and no script.

    Args:
        path: The file; an older one is replaced.
        study: What was replayed.
        title: What the page is called.
        about: What was replayed how: files, model, date, command.
        chains: Whether the programs are single chains with probes.
        reliability: How often the leading answer was good by Certaindex; None leaves the part out.
        correlations: Of Certaindex and its rivals with what programs needed; shown beside it.
    """
    rows = study.rows()
    look = looks(arm.policy for arm in study.arms)
    with style():
        fronts = [_front(study, window, look, chains) for window in _windows(study)]
        lines = _lines(rows) if len(fronts) > 1 else None
        drawn = lines and inline(
            plots.windows(lines, look), key="windows", label="Latency against tokens, by window"
        )
        reliable = reliability and reliabilities.view(reliability, correlations)
    shown = [{"policy": row["policy"], "cells": cells(row, chains=chains)} for row in rows]
    render(
        path,
        "replay.html.jinja",
        title=title,
        about=about,
        fronts=fronts,
        crowded=len(look) > FEW,
        windows=drawn,
        reliability=reliable,
        rows=shown,
        columns=list(shown[0]["cells"]),
        looks=look,
        chains=chains,
    )


def _windows(study: Study) -> list[int]:
    return list(dict.fromkeys(arm.window for arm in study.arms))


def _front(study: Study, window: int, look: Mapping[str, Look], chains: bool) -> dict[str, Any]:
    arms = [arm for arm in study.arms if arm.window == window]
    scored = not any(np.isnan(arm.right).all() for arm in arms)
    points = [_point(arm, scored) for arm in arms]
    measure = "accuracy (%)" if scored else "same answer as the full budget (%)"
    what = "chains" if chains else f"{window} in flight"
    return {
        "title": "Chains of thought" if chains else f"{window} in flight",
        "plot": inline(
            plots.tradeoff(points, look, measure=measure),
            key=f"front-{window}",
            label=f"{measure} against net tokens, {what}, a point for each policy",
        ),
    }


def _point(arm: Replayed, scored: bool) -> plots.Point:
    kept = arm.right[~np.isnan(arm.right)] if scored else arm.agrees
    return plots.Point(arm.policy, _interval(100 * kept), _interval(arm.tokens))


def _interval(values: Sequence[float] | Any) -> tuple[float, float, float]:
    return (float(np.mean(values)), *paired_bootstrap(values, resamples=_RESAMPLES))


def _lines(rows: Sequence[StudyRow]) -> dict[str, list[plots.Step]]:
    lines: dict[str, list[plots.Step]] = {}
    for row in rows:
        step = plots.Step(row["window"], 100 * row["spent"], row["slowdown"])
        lines.setdefault(row["policy"], []).append(step)
    return lines
