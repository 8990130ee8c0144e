"""Page: attainment by rate, a plot for each workload, in one HTML file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.online.sweep import ATTAINED, Cell

__all__ = ["write_page"]


def write_page(path: Path, plots: Mapping[str, Mapping[str, Sequence[Cell]]]) -> None:
    """Write the page.

    Args:
        path: The file; an older one is replaced.
        plots: Workload -> system -> its runs, by rate.
    """
    parts = [f"<h2>{escape(name)}</h2>{_plot(runs)}" for name, runs in plots.items()]
    path.write_text(
        "<!doctype html><meta charset=utf-8><title>Online</title>"
        "<style>body{font:15px system-ui;max-width:60rem;margin:2rem auto}</style>"
        "<h1>Programs that end in time, by the rate at which they come</h1>" + "".join(parts),
        encoding="utf-8",
    )


def _plot(runs: Mapping[str, Sequence[Cell]]) -> str:
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, cells in runs.items():
        rates = [one.rate for one in cells]
        axes.plot(rates, [100 * one.attained for one in cells], marker="o", ms=3, label=name)
    axes.axhline(100 * ATTAINED, color="grey", lw=0.8, ls=":")
    axes.set(xlabel="programs a second", ylabel="in time (%)", xscale="log", ylim=(0, 102))
    axes.legend(frameon=False, fontsize=8)
    out = io.StringIO()
    figure.savefig(out, format="svg")
    return out.getvalue().partition("?>")[2].partition(">")[2]
