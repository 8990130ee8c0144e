"""`dynasor-graph solve`: one question, and how its answer settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynasor_graph.cli import options as o

if TYPE_CHECKING:
    from dynasor_graph.engine import Engine
    from dynasor_graph.results import Result
    from dynasor_graph.reward import Reward


def solve(
    question: Annotated[str, typer.Argument(help="What is asked.", show_default=False)],
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
    """Answer one question, and show how the answer settled.

    For example: `dynasor-graph solve "Ada has 7 coins. Ben has 12 more coins than Ada. How many
    coins does Ben have?" --policy beta`
    """
    from dynasor_graph.cli.output import print_json
    from dynasor_graph.questions import Question
    from dynasor_graph.runner import configure

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
    asked = Question(id="question", text=question)  # mistakes show before the model loads
    context = configure(algorithm, **settings)
    o.warn_if_elsewhere(policy, algorithm, context, model)
    judged = o.is_judged([algorithm])
    opened = o.engine_of(engine, model, url, engine_arg, judged=judged)
    judge = o.reward_of(reward, opened) if judged else None
    result = asyncio.run(_solve(asked, algorithm, opened, judge, settings, quiet=json_out))
    if json_out:
        row = {"algorithm": algorithm, **result.to_json()}
        print_json({**row, "rows": [row]})
    else:
        _show(result)


async def _solve(
    question: Any,
    algorithm: str,
    engine: Engine,
    reward: Reward | None,
    settings: dict[str, Any],
    *,
    quiet: bool,
) -> Result:
    from contextlib import aclosing

    from dynasor_graph.cli.output import aside, opened
    from dynasor_graph.results import Result
    from dynasor_graph.runner import stream

    judged = {"reward": reward} if reward is not None else {}
    async with opened(engine, reward):
        items = stream(question, algorithm=algorithm, engine=engine, **settings, **judged)
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Result):
                    return item
                if not quiet and (line := _line(item)):
                    aside.print(line, highlight=False, markup=False, style="dim")
    raise AssertionError("a program ends with a result")


def _line(event: dict[str, Any]) -> str:
    """An event as a person reads it; "" if it is not worth a line."""
    sure = f"certaindex {event.get('certaindex', 0):.2f}"
    match event["event"]:
        case "branch" if event["finish"] == "terminated" and event.get("votes") is not None:
            return f"  branch {event['index'] + 1:>3}  stopped after {event['tokens']} tokens"
        case "branch" if event.get("votes") is not None:
            answer = event["answer"] if event["answer"] is not None else "no answer"
            return f"  branch {event['index'] + 1:>3}  {answer:<12} {event['tokens']:>4} tokens  {sure}"
        case "probe":
            answer = event["answer"] if event["answer"] is not None else "no answer"
            return f"  probe at {event['at']:>5} tokens  {answer:<12} {sure}"
        case "step" if event["nodes"]:
            sizes = sum(event["sizes"])
            best = max(node["reward"] for node in event["nodes"])
            return (
                f"  step   {event['nodes'][0]['id'] + 1:>3}  reward {best:.2f}  {sizes:>4} tokens"
            )
        case "shadow":
            answer = event["answer"] if event["answer"] is not None else "no answer"
            return f"  {_named(event['policy'])} would stop at {event['knob']}: {answer}"
        case "fragile":
            close, compared = event["close"], event["compared"]
            return f"  fragile: {close} of {compared} comparisons of answers were close calls"
        case "decision" if event["verdict"] != "continue":
            evidence, threshold = event.get("evidence"), event.get("threshold")
            return f"  {event['rule']}: {evidence:.3f} against {threshold}: {event['verdict']}"
        case _:
            return ""


def _named(policy: str | dict[str, Any]) -> str:
    return policy if isinstance(policy, str) else str(policy["rule"])


def _show(result: Result) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    saved = max(0, result.tokens_saved)
    usage = ", ".join(f"{kind} {count:,}" for kind, count in result.usage.lines().items())
    facts = [
        f"certaindex   {result.certaindex:.2f}",
        f"stopped      {result.stop_reason}",
        f"net tokens   {result.usage.net:,}"
        + (f"  (about {saved:,} below the cap)" if saved else ""),
        f"ledger       {usage}",
        f"branches     {result.branches}",
        f"latency      {result.latency_s:.2f} s",
    ]
    answer = "no answer" if result.answer is None else result.answer
    Console().print(
        Panel(Text("\n".join(facts)), title=Text(answer), title_align="left", expand=False)
    )
