"""SVG: the looks that all plots share, and how a figure becomes a part of a page.

Figures are drawn in the colours of the light page. On their way into the page each colour becomes a
CSS variable, so that the page's dark scheme changes the plots with it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

__all__ = ["COLOURS", "FAINT", "GREY", "INK", "PAPER", "Colour", "Look", "inline", "looks", "style"]


class Colour(NamedTuple):
    """One colour of the page: its CSS variable, and its value by light and by dark scheme."""

    name: str
    light: str
    dark: str


INK, GREY, FAINT, PAPER = "#1c1c22", "#666670", "#d4d4dc", "#fffffe"
"""Text and axes; the baseline; grid; the page's ground. All differ: each stands for a variable."""

_BASELINE = Colour("policy-0", GREY, "#b4b4be")
_POLICIES = (  # Okabe and Ito's colours, told apart by all kinds of eyes; yellow is too pale on white
    Colour("policy-1", "#0072b2", "#4aa8e6"),
    Colour("policy-2", "#d55e00", "#f0803c"),
    Colour("policy-3", "#009e73", "#2fc79b"),
    Colour("policy-4", "#cc79a7", "#dc93bd"),
    Colour("policy-5", "#e69f00", "#f0b429"),
    Colour("policy-6", "#56b4e9", "#8fd0f5"),
)
COLOURS = (
    Colour("ink", INK, "#e8e8ee"),
    Colour("faint", FAINT, "#3f3f4a"),
    Colour("paper", PAPER, "#1d1d23"),
    _BASELINE,
    *_POLICIES,
)
_MARKERS = {
    "o": "\N{BLACK CIRCLE}",
    "s": "\N{BLACK SQUARE}",
    "^": "\N{BLACK UP-POINTING TRIANGLE}",
    "D": "\N{BLACK DIAMOND}",
    "v": "\N{BLACK DOWN-POINTING TRIANGLE}",
}
_STYLE_BLOCK = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')


class Look(NamedTuple):
    """How one policy is drawn, in every plot: its variable, colour, marker, and marker as text."""

    variable: str
    colour: str
    marker: str
    sign: str


def looks(policies: Iterable[str]) -> dict[str, Look]:
    """A look for each policy, in this order; the first, the baseline, is grey.

    Colours come again after six, but then with other markers.
    """
    found: dict[str, Look] = {}
    for i, policy in enumerate(dict.fromkeys(policies)):
        colour = _POLICIES[(i - 1) % len(_POLICIES)] if i else _BASELINE
        marker = list(_MARKERS)[i % len(_MARKERS)]
        found[policy] = Look(colour.name, colour.light, marker, _MARKERS[marker])
    return found


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for all figures: equal on every machine, whatever its user set."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "dynasor_graph",  # equal input gives an equal page
                "svg.fonttype": "path",  # the reader's machine may not have the font
                "font.size": 9,
                "axes.titlesize": 9,
                "text.color": INK,
                "axes.labelcolor": INK,
                "axes.edgecolor": INK,
                "xtick.color": INK,
                "ytick.color": INK,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.linewidth": 0.7,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": FAINT,
                "grid.linewidth": 0.6,
                "hatch.linewidth": 0.7,
            }
        )
        yield


def inline(figure: Figure, *, key: str, label: str) -> Markup:
    """A figure as an `<svg>` element.

    Args:
        figure: Drawn inside `style()`, as this call has to be.
        key: Starts all its ids, which would else meet another figure's in the same page.
        label: What is read aloud in place of the picture.
    """
    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = _STYLE_BLOCK.sub("", text[text.index("<svg") :])  # its rule would hold for the page
    text = _REFERENCE.sub(rf"\g<1>{key}-", text)
    for colour in COLOURS:
        text = text.replace(colour.light, f"var(--{colour.name})")
    return Markup(text).replace(  # matplotlib's own output
        Markup("<svg "), Markup('<svg role="img" aria-label="{}" ').format(label), 1
    )
