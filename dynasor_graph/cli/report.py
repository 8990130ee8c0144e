"""`dynasor-graph report`: runs that were made, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynasor_graph.cli import options as o


def report(
    traces: Annotated[
        list[Path],
        typer.Argument(
            help="Traces of `dynasor-graph run` over the same questions (*.trace.jsonl), one for each "
            "policy; of each algorithm the first is what the others are compared with.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="What the page is called.")] = "Runs side by side",
    json_out: o.JSON_OUT = False,
) -> None:
    """Compare runs: accuracy, net tokens and latency, with paired intervals, as a table and a page.

    The page shows where tokens went, how single answers settled, and what shadows would have done.
    """
    from dynasor_graph.cli.output import print_comparison, print_json, print_shadows, warn
    from dynasor_graph.comparison import arm_of, compare, compare_shadows
    from dynasor_graph.report import write_report

    arms = [arm_of(path) for path in traces]
    rows = compare(arms)
    models = dict.fromkeys(_model(path) for path in traces)
    about = {"model": ", ".join(models), "traces": ", ".join(map(str, traces))}
    write_report(output, arms, rows, title=title, about=about)
    shadows = [row for arm in arms for row in compare_shadows(arm)]
    if json_out:
        print_json({"rows": rows, "shadows": shadows, "report": str(output)})
        return
    print_comparison(rows)
    if shadows:
        print_shadows(shadows)
    warn(f"report: {output}", "bold")


def _model(path: Path) -> str:
    from dynasor_graph.trace import read_trace

    first = next(iter(read_trace(path).values()))
    return str(first.start.get("model", ""))
