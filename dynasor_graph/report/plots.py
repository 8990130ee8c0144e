"""Plots: what a comparison looks like, one figure at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dynasor_graph.report.curves import Curve
from dynasor_graph.report.labels import Point, label, plain
from dynasor_graph.report.svg import GREY, PAPER, Look

__all__ = [
    "SPENT",
    "Bar",
    "Point",
    "Series",
    "Step",
    "difficulty",
    "settling",
    "spending",
    "tradeoff",
    "windows",
]

SPENT = ("main", "terminated", "probe", "probe_prefill", "reward")
"""The lines of a ledger that make up its net tokens."""

_FILL = {  # kind of token -> strength of the policy's colour, and hatching
    "main": (1.0, ""),
    "terminated": (0.55, ""),
    "probe": (0.5, "//////"),
    "probe_prefill": (0.2, "\\\\\\\\\\\\"),
    "reward": (0.2, "xxxx"),
}


class Step(NamedTuple):
    """One policy in one window: net tokens in percent of the full budget, latency as a multiple."""

    window: int
    spent: float
    slowdown: float


class Bar(NamedTuple):
    """One arm: tokens a question, by the lines of the ledger."""

    policy: str
    usage: Mapping[str, float]


class Series(NamedTuple):
    """One arm over classes of difficulty: accuracy in percent (or None), net tokens a question."""

    policy: str
    accuracy: Sequence[float] | None
    tokens: Sequence[float]


def tradeoff(
    points: Sequence[Point], look: Mapping[str, Look], *, measure: str = "accuracy (%)"
) -> Figure:
    """Accuracy (or another `measure`) against net tokens, one point an arm, labelled where it stands.

    Of many points, those whose label has no room stay without.
    """
    figure, ax = _axes(4.6, 3.2)
    for point in points:
        (x, x_low, x_high), (y, y_low, y_high) = point.tokens, point.accuracy
        ax.errorbar(
            x,
            y,
            xerr=[[max(0.0, x - x_low)], [max(0.0, x_high - x)]],
            yerr=[[max(0.0, y - y_low)], [max(0.0, y_high - y)]],
            fmt=look[point.policy].marker,
            color=look[point.policy].colour,
            markeredgecolor=PAPER,
            markersize=9,
            elinewidth=1.2,
        )
    ax.set_xlim(0, 1.06 * max(point.tokens[2] for point in points))
    low = min(point.accuracy[1] for point in points)
    high = max(point.accuracy[2] for point in points)
    ax.set_ylim(max(-2.0, low - 4), min(102.0, high + 4))
    ax.set_xlabel("net tokens a question")
    ax.set_ylabel(measure)
    _thousands(ax)
    label(figure, ax, points, look)
    return figure


def settling(
    curves: Mapping[str, Curve], look: Mapping[str, Look], *, unit: str, most: int
) -> Figure:
    """Certaindex of one question over its rounds, a line for each policy, its stop marked.

    Args:
        curves: Policy -> curve, the baseline first.
        look: Of each policy.
        unit: What the knob counts.
        most: Where the knob's axis ends, equal for all panels of a row.
    """
    figure, ax = _axes(3.3, 2.0)
    for i, (policy, curve) in enumerate(curves.items()):
        # Policies see the same first samples: of lines that run together the later is the thinner.
        width = max(1.2, 4.2 - 1.4 * i) if len(curves) > 1 else 1.6
        colour = look[policy].colour
        ax.plot(
            curve.at,
            curve.certaindex,
            color=colour,
            linewidth=width,
            marker=".",  # a curve may have a single point
            markersize=width + 2,
            zorder=2 + 0.01 * i,
        )
        if curve.stop is not None:
            ax.plot(
                curve.at[curve.stop],
                curve.certaindex[curve.stop],
                marker=look[policy].marker,
                color=colour,
                markersize=9,
                markeredgecolor=PAPER,
                zorder=3 + 0.01 * i,
                clip_on=False,
            )
    ax.set_xlim(0, most * 1.03)
    ax.set_ylim(-0.05, 1.05)
    ax.set_yticks([0, 0.5, 1])
    ax.set_xlabel(unit)
    ax.set_ylabel("Certaindex")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _thousands(ax)
    return figure


def windows(lines: Mapping[str, Sequence[Step]], look: Mapping[str, Look]) -> Figure:
    """Latency against tokens, a line for each policy over its windows, the windows written beside."""
    figure, ax = _axes(4.6, 3.2)
    for policy, steps in lines.items():
        ax.plot(
            [step.spent for step in steps],
            [step.slowdown for step in steps],
            color=look[policy].colour,
            marker=look[policy].marker,
            markeredgecolor=PAPER,
            linewidth=1.4,
        )
        for step in steps:
            ax.annotate(
                str(step.window),
                (step.spent, step.slowdown),
                xytext=(5, 4),
                textcoords="offset points",
                color=look[policy].colour,
                fontsize=7,
            )
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlim(left=0)
    ax.set_xlabel("net tokens, % of the full budget")
    ax.set_ylabel("latency, times")
    return figure


def spending(bars: Sequence[Bar], look: Mapping[str, Look]) -> Figure:
    """Where the net tokens went: a bar an arm, a piece a kind."""
    figure, ax = _axes(8.6, 0.95 + 0.36 * len(bars))
    kinds = [kind for kind in SPENT if any(bar.usage.get(kind) for bar in bars)]
    for y, bar in enumerate(bars):
        left = 0.0
        for kind in kinds:
            tokens = bar.usage.get(kind, 0.0)
            strength, hatch = _FILL[kind]
            colour = look[bar.policy].colour
            ax.barh(y, tokens, left=left, height=0.62, color=colour, alpha=strength, linewidth=0)
            ax.barh(
                y,
                tokens,
                left=left,
                height=0.62,
                fill=False,
                hatch=hatch,
                edgecolor=colour,
                linewidth=0.6,
            )
            left += tokens
        ax.annotate(
            f"{left:,.0f}",
            (left, y),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    ax.set_yticks(range(len(bars)), [plain(bar.policy) for bar in bars])
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    longest = max(sum(bar.usage.get(kind, 0.0) for kind in kinds) for bar in bars)
    ax.set_xlim(0, 1.12 * max(1.0, longest))
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("net tokens a question")
    _thousands(ax)
    if len(kinds) > 1:
        # Tuples are documented as handles, but matplotlib's types do not know them.
        figure.legend(  # type: ignore[call-overload]
            [_key(kind) for kind in kinds],
            [kind.replace("_", " ") for kind in kinds],
            loc="outside upper left",
            ncols=len(kinds),
            frameon=False,
            handlelength=2.6,
            handleheight=1.2,
        )
    return figure


def difficulty(
    classes: Sequence[str], series: Sequence[Series], look: Mapping[str, Look]
) -> Figure:
    """Accuracy and net tokens by steps, a line for each policy."""
    scored = all(line.accuracy is not None for line in series)
    figure = Figure(figsize=(4.6, 4.2 if scored else 2.3), layout="constrained")
    rows = 2 if scored else 1
    axes: list[Axes] = list(figure.subplots(rows, sharex=True, squeeze=False)[:, 0])
    for i, line in enumerate(series):
        shape: dict[str, Any] = {
            "color": look[line.policy].colour,
            "marker": look[line.policy].marker,
            "markeredgecolor": PAPER,
            "markersize": 6,
            "linewidth": max(1.2, 3.4 - 1.1 * i) if len(series) > 1 else 1.6,
        }
        if line.accuracy is not None and scored:
            axes[0].plot(classes, line.accuracy, **shape)
        axes[-1].plot(classes, line.tokens, **shape)
    if scored:
        axes[0].set_ylim(-4, 104)
        axes[0].set_ylabel("accuracy (%)")
    axes[-1].set_ylim(bottom=0)
    axes[-1].set_ylabel("net tokens a question")
    axes[-1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes[-1].set_xlabel("steps that a solution needs")
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _thousands(ax: Axes) -> None:
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _key(kind: str) -> tuple[Patch, Patch]:
    """A legend's sample, in two layers as the bars are: a strength would make hatching pale."""
    strength, hatch = _FILL[kind]
    fill = Patch(facecolor=GREY, alpha=strength, linewidth=0)
    return fill, Patch(fill=False, hatch=hatch, edgecolor=GREY, linewidth=0.6)
