"""Reliability on a page: how often the leading answer is good by Certaindex, and what else tells."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from dynasor_graph.replay.reliability import Correlation, Reliability
from dynasor_graph.report.svg import PAPER, inline, looks

__all__ = ["correlation_rows", "plot", "view"]

_NEEDED = {
    "tokens": "tokens, Pearson",
    "tokens_rank": "tokens, Spearman",
    "branches": "branches, Pearson",
    "branches_rank": "branches, Spearman",
}


def plot(found: Reliability) -> Figure:
    """Share of good leading answers by Certaindex, with intervals; the programs are written beside."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    ax = figure.subplots()
    colour = looks(["", "certaindex"])["certaindex"].colour
    most = max(one.count for one in found.bins)
    for one in found.bins:
        share, low, high = 100 * one.share, 100 * one.low, 100 * one.high
        ax.errorbar(
            one.certaindex,
            share,
            yerr=[[share - low], [high - share]],
            fmt="o",
            color=colour,
            markeredgecolor=PAPER,
            markersize=4 + 8 * (one.count / most) ** 0.5,  # its area is the count
            elinewidth=1.2,
        )
        ax.annotate(
            f"{one.count:,}",
            (one.certaindex, low),
            xytext=(0, -4),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
            annotation_clip=False,
        )
    ax.set_xlim(-0.06, 1.06)
    ax.set_ylim(-8, 104)  # room for a count below a point at 0
    ax.set_yticks(range(0, 101, 20))
    ax.set_xlabel(f"Certaindex after {found.at} branches")
    good = "is right" if found.measure == "right" else "is the full budget's"
    ax.set_ylabel(f"leading answer {good} (%)")
    return figure


def correlation_rows(correlations: Sequence[Correlation]) -> list[dict[str, Any]]:
    """A row for each signal: means over the groups, with the range where there are several."""
    return [
        {
            "signal": signal,
            "groups": len(ones),
            "questions": f"{sum(one.questions for one in ones):,}",
            "cells": {
                shown: _over_groups([getattr(one, name) for one in ones])
                for name, shown in _NEEDED.items()
            },
        }
        for signal in dict.fromkeys(one.signal for one in correlations)
        if (ones := [one for one in correlations if one.signal == signal])
    ]


def _over_groups(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean, least, largest = (
        f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
        for value in (statistics.mean(known), min(known), max(known))
    )
    return mean if len(known) == 1 else f"{mean} [{least}, {largest}]"


def view(found: Reliability, correlations: Sequence[Correlation]) -> dict[str, Any]:
    """What the template shows; to be called inside `style()`."""
    good = "right" if found.measure == "right" else "the full budget's"
    rows = correlation_rows(correlations)
    return {
        "plot": inline(
            plot(found),
            key="reliability",
            label=f"Share of leading answers that are {good}, by Certaindex after {found.at} branches",
        ),
        "at": found.at,
        "cap": found.cap,
        "right": found.measure == "right",
        "rows": rows,
        "columns": list(_NEEDED.values()),
        "groups": max((row["groups"] for row in rows), default=0),
    }
