"""Output: tables, JSON and progress on the terminal. Results go to standard output, the rest aside."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from dynasor_graph.budget import Usage
from dynasor_graph.errors import EngineDied
from dynasor_graph.results import Result
from dynasor_graph.types import JSON

if TYPE_CHECKING:
    from dynasor_graph.engine import Engine
    from dynasor_graph.reward import Reward

__all__ = [
    "RunProgress",
    "aside",
    "opened",
    "opening",
    "print_comparison",
    "print_json",
    "print_shadows",
    "print_table",
    "warn",
]

aside = Console(stderr=True)
"""Where everything goes that is no result."""

T = TypeVar("T")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def warn(text: str, style: str = "yellow") -> None:
    """One line aside, never wrapped: file names and line numbers stay whole."""
    aside.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_table(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    """A table on standard output; the keys of the first row are its columns."""
    table = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in rows[0] if rows else ():
        numeric = all(row[name][:1] in "-+0123456789" for row in rows if row[name])
        justify: Literal["right", "left"] = "right" if numeric else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=numeric)
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)


def print_comparison(rows: Sequence[Mapping[str, Any]]) -> None:
    """The tables of a comparison of policies, one an algorithm."""
    for algorithm in dict.fromkeys(row["algorithm"] for row in rows):
        mine = [row for row in rows if row["algorithm"] == algorithm]
        title = (
            f"{algorithm}, {mine[0]['questions']} questions (tokens net and gross, latency in s)"
        )
        print_table(title, [_cells(row, alone=len(mine) == 1) for row in mine])


def print_shadows(rows: Sequence[Mapping[str, Any]]) -> None:
    """What each shadow policy of a run would have done; nothing if there is none."""
    if not rows:
        return
    some_unknown = any(row["unknown"] for row in rows)
    title = f"shadows of {rows[0]['policy']}, {rows[0]['programs']} questions (tokens generated)"
    print_table(title, [_shadow_cells(row, some_unknown) for row in rows])


def _shadow_cells(row: Mapping[str, Any], some_unknown: bool) -> dict[str, str]:
    return {
        "shadow": row["shadow"],
        "stopped": f"{row['stopped']:,}",
        **({"not known": f"{row['unknown']:,}"} if some_unknown else {}),
        "right": _percent(row["accuracy"]),
        "same answer": _percent(row["agreement"]),
        "tokens": f"{row['tokens']:,}",
        "of gross": _percent(row["share"]),
    }


def _cells(row: Mapping[str, Any], *, alone: bool) -> dict[str, str]:
    compared = {"difference, 95 %": _interval(row), "saved": _percent(row["saved"])}
    return {
        "policy": row["policy"],
        "right": _percent(row["accuracy"]),
        **({} if alone else compared),
        "net": f"{row['net_tokens']:,}",
        "gross": f"{row['gross_tokens']:,}",
        "s": f"{row['latency_mean_s']:.2f}",
        "P90": f"{row['latency_p90_s']:.2f}",
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _interval(row: Mapping[str, Any]) -> str:
    if row["accuracy_difference"] is None:
        return ""
    points = (100 * row[k] for k in ("accuracy_difference", "difference_low", "difference_high"))
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*points)


async def opening(what: str, work: Callable[[], Awaitable[T]]) -> T:
    """Wait for something slow, with a spinner and the seconds."""
    started = time.monotonic()
    with aside.status(f"opening {what} ...") as status:
        waiting = asyncio.ensure_future(work())
        while not waiting.done():
            status.update(f"opening {what} ... {time.monotonic() - started:.0f} s")
            await asyncio.wait([waiting], timeout=0.5)
        result = await waiting
    aside.print(f"[dim]{what} is open after {time.monotonic() - started:.1f} s[/dim]")
    return result


@asynccontextmanager
async def opened(engine: Engine, reward: Reward | None) -> AsyncIterator[None]:
    """Open what a command needs, and close it at the end."""
    try:
        async with AsyncExitStack() as stack:
            await opening(engine.model or "the server", engine.__aenter__)
            stack.push_async_exit(engine)
            if reward is not None:
                await opening(reward.name, reward.__aenter__)
                stack.push_async_exit(reward)
            yield
    except EngineDied:
        await _unless_interrupted()
        raise


async def _unless_interrupted() -> None:
    """Ctrl-C ends the engine's process too, and its death may be seen first: it is no failure then.

    Raises:
        CancelledError: This program was interrupted, or is within half a second.
    """
    await asyncio.sleep(0.5)
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class RunProgress:
    """A live line for one run: done, running, tokens per second, saved, accuracy.

    Args:
        label: What runs.
        total: Programs of the run.
        done: Results that were there before.
    """

    def __init__(self, label: str, total: int, done: Sequence[Result] = ()) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", style="dim"),
            TimeElapsedColumn(),
            console=aside,
            refresh_per_second=4,
        )
        self._task: TaskID = self._progress.add_task(
            label, total=total, completed=len(done), facts=""
        )
        self._running: set[str] = set()
        self._tokens = self._saved = 0
        self._started = time.monotonic()
        self._scored = [r.correct for r in done if r.correct is not None]

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def event(self, event: JSON) -> None:
        """Take in a program's event."""
        match event["event"]:
            case "program":
                self._running.add(event["program"])
            case "result":
                self._running.discard(event["program"])
                usage = Usage.from_json(event["usage"])
                self._saved += usage.saved_by(event.get("decision"))
            case "branch" | "step":
                usage = event["usage"]
                self._tokens += sum(usage.get(k, 0) for k in ("main", "terminated", "probe"))
            case "answer":
                self._tokens += event["tokens"]
            case _:
                pass
        self._refresh()

    def result(self, result: Result) -> None:
        """Take in a result."""
        if result.correct is not None:
            self._scored.append(result.correct)
        self._progress.advance(self._task)
        self._refresh()

    def _refresh(self) -> None:
        speed = self._tokens / max(1e-3, time.monotonic() - self._started)
        facts = [f"{len(self._running)} running", f"{speed:,.0f} tokens/s"]
        if self._saved > 0:
            facts.append(f"{self._saved / (self._saved + self._tokens):.0%} below the cap")
        if self._scored:
            facts.append(f"{sum(map(bool, self._scored)) / len(self._scored):.1%} right")
        self._progress.update(self._task, facts=" · ".join(facts))
