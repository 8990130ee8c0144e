"""`dynasor-graph run`: a file of questions, many programs at once, resumable."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynasor_graph.cli import options as o
from dynasor_graph.errors import ConfigError

if TYPE_CHECKING:
    from dynasor_graph.engine import Engine
    from dynasor_graph.policies import Rule
    from dynasor_graph.questions import Question
    from dynasor_graph.results import ResultsFile
    from dynasor_graph.reward import Reward


def run(
    questions: Annotated[
        Path,
        typer.Argument(
            help='JSON lines: {"id", "question", "answer"}; id and answer may be left out. '
            "Or a bundled set: abacus-test, abacus-calibration.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Results, a JSON line each, as they come.")
    ] = Path("results.jsonl"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the output file: skip what it has.")
    ] = False,
    record: Annotated[
        bool, typer.Option(help="Write every branch, probe and decision beside the output.")
    ] = True,
    programs: o.PROGRAMS = None,
    scheduler: o.SCHEDULER = "sjf",
    total_tokens: Annotated[
        int | None, typer.Option(help="Most tokens that all programs together may generate.")
    ] = None,
    allocate: Annotated[
        bool,
        typer.Option(
            "--allocate",
            help="Spend --total-tokens where a token gains the most: needs a policy file that "
            "`dynasor-graph calibrate --policy value` wrote.",
        ),
    ] = False,
    algorithm: o.ALGORITHM = "self_consistency",
    policy: o.POLICY = None,
    shadow: o.SHADOW = None,
    model: o.MODEL = "abacus-7m",
    url: o.URL = None,
    engine: o.ENGINE = None,
    engine_arg: o.ENGINE_ARG = None,
    reward: o.REWARD = "abacus-7m-reward",
    tokens: o.TOKENS = None,
    seconds: o.SECONDS = None,
    window: o.WINDOW = None,
    branches: o.BRANCHES = None,
    temperature: o.TEMPERATURE = None,
    max_tokens: o.MAX_TOKENS = None,
    seed: o.SEED = None,
    system: o.SYSTEM = None,
    answers: o.ANSWERS = None,
    set_: o.SET = None,
    otel: o.OTEL = False,
    json_out: o.JSON_OUT = False,
) -> None:
    """Answer a file of questions; results and trace are written as they come.

    Stop it with Ctrl-C whenever you like, and go on later with --resume: what was answered is kept.
    """
    from dynasor_graph.cli.output import warn
    from dynasor_graph.results import ResultsFile
    from dynasor_graph.runner import configure
    from dynasor_graph.scheduler import order_named

    o.watch_if(otel)
    settings = o.settings_of(
        policy=policy,
        shadow=shadow,
        tokens=tokens,
        seconds=seconds,
        window=window,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        extra=set_,
        branches=branches,
        system=system,
        answers=answers,
    )
    asked, broken = o.questions_of(questions)
    for message in broken:
        warn(f"left out: {message}")
    context = configure(algorithm, **settings)
    o.warn_if_elsewhere(policy, algorithm, context, model)
    if context.shadow and not record:
        raise ConfigError("--shadow is read from the trace: leave out --no-record")
    judged = o.is_judged([algorithm])
    opened = o.engine_of(engine, model, url, engine_arg, judged=judged)
    judge = o.reward_of(reward, opened) if judged else None
    identity = {
        "algorithm": algorithm,
        "model": f"{engine or 'auto'}:{url or ''}:{model}",
        **context.model_dump(mode="json", exclude={"engine", "account", "shadow"}),
    }
    if context.shadow:  # without it, as in files that are older than shadows
        identity["shadow"] = list(context.shadow)
    if judge is not None:
        identity["reward"] = reward
    if allocate:
        identity["allocate"] = True
    file = ResultsFile(output, identity, resume=resume)
    done = {result.id for result in file.done}
    todo = [question for question in asked if question.id not in done]
    trace = output.with_suffix(".trace.jsonl") if record else None
    budget = _budget(context.rule, total_tokens, allocate, file, len(todo))
    order = None if scheduler == "none" else order_named(scheduler)
    run_settings = {"programs": programs, "scheduler": order, **budget, **settings}
    try:
        if todo:
            asyncio.run(_run(todo, file, opened, judge, algorithm, trace, run_settings))
    except KeyboardInterrupt:
        kept = len(ResultsFile(output, identity, resume=True).done)
        warn(f"stopped: {kept} of {len(asked)} are in {output}; go on with --resume")
        raise typer.Exit(130) from None
    file = ResultsFile(output, identity, resume=True)
    failed = _summary(file, algorithm, trace if context.shadow else None, json_out)
    if failed or broken:
        raise typer.Exit(1)


def _budget(
    rule: Rule, total: int | None, allocate: bool, file: ResultsFile, questions: int
) -> dict[str, Any]:
    """What is left of the run's tokens for so many questions, and how they are shared out."""
    from dynasor_graph.policies import Pacing

    if total is None:
        if allocate:
            raise ConfigError("--allocate needs the tokens to allocate: add --total-tokens")
        return {"total_tokens": None}
    left = max(1, total - sum(result.usage.generated for result in file.done))
    pacing = Pacing(rule, left, max(1, questions)) if allocate else None
    return {"total_tokens": left, "pacing": pacing}


async def _run(
    todo: list[Question],
    file: ResultsFile,
    engine: Engine,
    reward: Reward | None,
    algorithm: str,
    trace: Path | None,
    settings: dict[str, Any],
) -> None:
    from dynasor_graph.cli.output import RunProgress, opened
    from dynasor_graph.executor import open_account
    from dynasor_graph.runner import Runner
    from dynasor_graph.trace import TraceWriter

    async with opened(engine, reward):
        with ExitStack() as stack:
            total = settings.pop("total_tokens")
            if total is not None:
                stack.enter_context(open_account("run", total))
                settings["account"] = "run"
            if reward is not None:
                settings["reward"] = reward
            stack.enter_context(file)
            progress = stack.enter_context(
                RunProgress(algorithm, len(todo) + len(file.done), file.done)
            )
            record = stack.enter_context(TraceWriter(trace)).write if trace else None

            def on_event(event: dict[str, Any]) -> None:
                progress.event(event)
                if record is not None:
                    record(event)

            runner = Runner(algorithm, engine=engine, on_event=on_event, **settings)
            async with aclosing(runner.run(todo)) as results:
                async for result in results:
                    file.write(result)
                    progress.result(result)


def _summary(file: ResultsFile, algorithm: str, trace: Path | None, json_out: bool) -> int:
    """Print what the whole file came to, and its shadows if there are any; how many failed."""
    from dynasor_graph.cli.output import print_comparison, print_json, print_shadows, warn
    from dynasor_graph.comparison import Arm, compare, compare_shadows

    failed = [result for result in file.all() if result.error is not None]
    for result in failed:
        warn(f"failed: {result.id}: {result.error}", "red")
    policy = file.settings["policy"]
    arm = Arm(algorithm=algorithm, policy=str(policy), results=file.done, trace=trace)
    rows = compare([arm]) if file.done else []
    shadows = compare_shadows(arm)
    if json_out:
        shown = {"rows": rows, "output": str(file.path), "failed": len(failed)}
        print_json(shown if trace is None else {**shown, "shadows": shadows})
    else:
        print_comparison(rows)
        print_shadows(shadows)
        warn(f"results in {file.path}", "dim")
    return len(failed)
