"""Page: puts the tables and plots of a comparison into one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dynasor_graph.comparison import Arm, Row, compare_shadows
from dynasor_graph.report import plots, tables
from dynasor_graph.report.curves import read_curves, select
from dynasor_graph.report.group import Group, groups_of
from dynasor_graph.report.svg import COLOURS, Look, inline, looks, style

__all__ = ["render", "write_report"]

_TUTORIAL_MODEL = "abacus-7m"


def write_report(
    path: Path,
    arms: Sequence[Arm],
    rows: Sequence[Row],
    *,
    title: str,
    about: Mapping[str, str],
) -> None:
    """Write one HTML page that needs no other file, no network and no script.

    Args:
        path: The file; an older one is replaced.
        arms: What was compared. Those with a trace also show how single answers settled.
        rows: What `compare(arms)` made of them.
        title: What the page is called.
        about: What ran where: model, engine, device, date, versions, command.

    Raises:
        InputError: There is no question to report, the rows are other arms', or a trace cannot be
            read.
    """
    groups = groups_of(arms, rows)
    look = looks(arm.policy for arm in arms)
    with style():
        views = [_view(group, look, f"g{i}") for i, group in enumerate(groups)]
    render(
        path,
        "report.html.jinja",
        title=title,
        about=about,
        groups=views,
        traced=any(arm.trace for arm in arms),
        shown=tables.SHOWN,
    )


def render(path: Path, template: str, *, about: Mapping[str, str], **values: Any) -> None:
    """Write a page from one of this package's templates.

    Args:
        path: The file; an older one is replaced.
        template: Its name.
        about: What ran where.
        values: What else the template shows.
    """
    environment = Environment(
        loader=PackageLoader("dynasor_graph", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(
        about=about,
        tutorial_model=PurePath(about.get("model", "")).name == _TUTORIAL_MODEL,
        colours=COLOURS,
        **values,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _view(group: Group, look: Mapping[str, Look], key: str) -> dict[str, Any]:
    """All that the template shows of one algorithm."""
    bars = group.bars()
    return {
        "algorithm": group.algorithm,
        "count": len(group.questions),
        "failed": sum(result.error is not None for arm in group.arms for result in arm.results),
        "alone": len(group.arms) == 1,
        "scored": group.scored,
        "looks": {arm.policy: look[arm.policy] for arm in group.arms},
        "headlines": tables.headlines(group),
        "comparison": tables.comparison(group, look),
        "shadows": tables.shadows(
            [row for arm in group.arms for row in compare_shadows(arm)], look
        ),
        "tradeoff": _tradeoff(group, look, f"{key}-tradeoff"),
        "settling": _settling(group, look, f"{key}-settling"),
        "spending": tables.spending(bars, look),
        "spending_plot": inline(
            plots.spending(bars, look),
            key=f"{key}-spending",
            label=f"{group.algorithm}: net tokens a question by kind, a bar for each policy",
        ),
        "difficulty": _difficulty(group, look, f"{key}-difficulty"),
        "questions": tables.questions(group),
    }


def _tradeoff(group: Group, look: Mapping[str, Look], key: str) -> str | None:
    if not group.scored:
        return None
    label = f"{group.algorithm}: accuracy against net tokens a question, a point for each policy"
    return inline(plots.tradeoff(group.points(), look), key=key, label=label)


def _settling(group: Group, look: Mapping[str, Look], key: str) -> dict[str, Any] | None:
    """The questions whose curves are shown; None if the traces hold none."""
    curves, unit = read_curves(group.arms)
    if not any(curves):
        return None
    policy, examples = select(group.arms, curves)
    drawn = [
        {
            arm.policy: known[example.id]
            for arm, known in zip(group.arms, curves, strict=True)
            if example.id in known
        }
        for example in examples
    ]
    most = max(curve.at[-1] for lines in drawn for curve in lines.values())
    panels = [
        {
            **tables.outcomes(group, example, look),
            "plot": inline(
                plots.settling(lines, look, unit=unit, most=most),
                key=f"{key}-{i}",
                label=f"{example.kind}: Certaindex of {example.id} over {unit}",
            ),
        }
        for i, (example, lines) in enumerate(zip(examples, drawn, strict=True))
    ]
    seen = {
        arm.policy: look[arm.policy] for arm, known in zip(group.arms, curves, strict=True) if known
    }
    return {"policy": policy, "unit": unit, "looks": seen, "panels": panels}


def _difficulty(group: Group, look: Mapping[str, Look], key: str) -> str | None:
    if (found := group.difficulty()) is None:
        return None
    classes, series = found
    what = "accuracy and net tokens" if group.scored else "net tokens"
    label = f"{group.algorithm}: {what} by steps, a line for each policy"
    return inline(plots.difficulty(classes, series, look), key=key, label=label)
