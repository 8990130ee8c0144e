"""Labels: names beside the points of a plot, clear of each other where they can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from dynasor_graph.report.svg import PAPER, Look

__all__ = ["FEW", "Point", "label", "plain"]

FEW: Final = 8
"""Points that are all labelled, even where labels then run into something."""

_PLACES = ((9, 9), (-9, 9), (9, -9), (-9, -9), (9, 22), (-9, 22), (9, -22), (-9, -22), (0, 35))
"""Where a label may stand beside its point, the best place first; in points."""


class Point(NamedTuple):
    """One arm: accuracy in percent and net tokens a question, each with its interval."""

    policy: str
    accuracy: tuple[float, float, float]
    tokens: tuple[float, float, float]


def plain(text: str, most: int = 34) -> str:
    """Text that matplotlib takes as it is, cut where it is too long for a plot."""
    short = text if len(text) <= most else text[: most - 3] + "..."
    return short.replace("$", r"\$")


def label(figure: Figure, ax: Axes, points: Sequence[Point], look: Mapping[str, Look]) -> None:
    """Write each policy beside its point, clear of points, bars and other labels where it can.

    Of more than `FEW` points, those whose label would cover something stay without.
    """
    figure.draw_without_rendering()  # only now it is known where the axes are
    frame = ax.get_window_extent()
    taken = [box for point in points for box in _boxes(ax, point)]
    for point in points:
        text = ax.annotate(
            plain(point.policy),
            (point.tokens[0], point.accuracy[0]),
            xytext=_PLACES[0],
            textcoords="offset points",
            va="center",
            color=look[point.policy].colour,
            fontweight="bold",
            in_layout=False,
            path_effects=[withStroke(linewidth=3, foreground=PAPER)],
        )

        def clashes(place: tuple[int, int], text: Annotation = text) -> int:
            _put(text, place)
            box = text.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= figure.bbox.x1
            return box.count_overlaps(taken) + (0 if inside else 100)

        _put(text, min(_PLACES, key=clashes))
        if len(points) > FEW and clashes((int(text.xyann[0]), int(text.xyann[1]))):
            text.remove()
            continue
        taken.append(text.get_window_extent())


def _put(text: Annotation, place: tuple[int, int]) -> None:
    text.xyann = place
    text.set_horizontalalignment("left" if place[0] > 0 else "right" if place[0] < 0 else "center")


def _boxes(ax: Axes, point: Point) -> list[Bbox]:
    """Where a point and its error bars are, in pixels."""
    (x, x_low, x_high), (y, y_low, y_high) = point.tokens, point.accuracy
    ends = ax.transData.transform([(x, y), (x_low, y), (x_high, y), (x, y_low), (x, y_high)])
    (x, y), (left, _), (right, _), (_, low), (_, high) = ends.tolist()
    return [
        Bbox.from_extents(x - 8, y - 8, x + 8, y + 8),
        Bbox.from_extents(left, y - 1, right, y + 1),
        Bbox.from_extents(x - 1, low, x + 1, high),
    ]
