"""Scheduler: what waiting in order costs a request, with thousands waiting.

    python -m benchmarks.scheduler [--waiting 10000 100000] [--order sjf] [--json]

through: requests of programs of 20 through an engine that answers at once, all made together; CPU time
of one straight, behind an engine that only waits a turn of the event loop and passes on, and behind the
scheduler; all in this process, in turn, the least of several runs. What the scheduler's own decisions
cost is the last less the second (bar: 20 microseconds at 10,000 waiting).
steady: the queue kept at that length: a request comes, one ends, one is let in, and its program is
told of, over and over; CPU time of one such turn, without an event loop; without deadlines, and with
some, of which a half lapse meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from benchmarks.output import show
from dynasor_graph.engine import Engine, FakeEngine, complete
from dynasor_graph.scheduler import Scheduled, order_named
from dynasor_graph.scheduler.prefixes import Prefixes
from dynasor_graph.scheduler.shares import Shares
from dynasor_graph.scheduler.turns import Turns
from dynasor_graph.types import Delta, Request

BRANCHES = 20
PROMPT = tuple(range(128))


class Instant(FakeEngine):
    """Answers at once, so that what is measured is not the engine."""

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """One token, when the event loop has come around."""
        await asyncio.sleep(0)
        yield Delta(token_ids=(1,), count=1, finish_reason="stop")


class Passing(Instant):
    """What any engine in front of an engine costs: a future and a second generator."""

    def __init__(self) -> None:
        super().__init__()
        self._inner = Instant()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """What the inner engine says, a turn of the event loop later."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn
        async with aclosing(self._inner.stream(request)) as deltas:
            async for delta in deltas:
                yield delta


def requests(count: int, *, first: int = 0) -> list[Request]:
    """So many, of programs of 20."""
    return [
        Request(tokens=PROMPT, max_tokens=512, program=f"p{i // BRANCHES}")
        for i in range(first, first + count)
    ]


async def through(engine: Engine, asked: list[Request]) -> float:
    """CPU seconds of all."""
    gc.collect()
    started = time.process_time()
    async with asyncio.TaskGroup() as group:
        for request in asked:
            group.create_task(complete(engine, request))
    return time.process_time() - started


def through_rows(count: int, order: str, repeat: int) -> list[dict[str, Any]]:
    """All sides in turn, and what the scheduler's decisions add."""
    sides: dict[str, Callable[[], Engine]] = {
        "engine alone": Instant,
        "passed on": Passing,
        f"scheduled, {order}": lambda: Scheduled(
            Instant(), order, limit=256, bound=max(count, 100_000)
        ),
    }
    cpu: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repeat):
        for side, make in sides.items():
            cpu[side].append(1e6 * asyncio.run(through(make(), requests(count))) / count)
    alone, passed, scheduled = (min(times) for times in cpu.values())
    return [
        _row("through", "engine alone", count, alone, 1.0),
        _row("through", "passed on", count, passed, passed / alone),
        _row("through", f"scheduled, {order}", count, scheduled, scheduled / alone),
        _row("through", "the scheduler's decisions", count, scheduled - passed),
    ]


def steady_row(count: int, order: str, turns: int, *, deadlines: bool) -> dict[str, Any]:
    """One turn with a queue of that length."""
    programs = count // BRANCHES
    last = 2 * turns / 1000  # deadline of the last program, twice as late as the last turn
    desk = Turns(
        order_named(order), Shares(), limit=256, bound=2 * count, prefixes=Prefixes(block=16)
    )
    for number in range(programs):
        due = last * number / programs if deadlines else None
        remaining = 1 + number % BRANCHES
        desk.programs.tell(f"p{number}", number / 100, remaining=remaining, deadline=due)
    for request in requests(count + desk.limit):
        desk.enter(request, 0.0)
    inside = list(desk.admit(0.0))
    asked = requests(turns, first=count + desk.limit)
    gc.collect()
    started = time.process_time()
    for number, request in enumerate(asked):
        now = number / 1000
        desk.enter(request, now)
        turn = inside[number % len(inside)]
        desk.leave(turn, 100, now, cached=112, ended=True)
        desk.move(desk.programs.tell(turn.program.name, now, remaining=number % BRANCHES))
        (inside[number % len(inside)],) = desk.admit(now)
    cpu = 1e6 * (time.process_time() - started) / turns
    return _row("steady", f"one turn, {order}" + ", deadlines" * deadlines, count, cpu)


def _row(
    part: str, side: str, count: int, cpu: float, ratio: float | None = None
) -> dict[str, Any]:
    shown = "" if ratio is None else round(ratio, 2)
    return {"part": part, "side": side, "waiting": count, "cpu_us": round(cpu, 1), "ratio": shown}


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waiting", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--order", default="sjf")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", dest="json_out")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for count in args.waiting:
        rows += through_rows(count, args.order, args.repeat)
        for deadlines in (False, True):
            runs = [
                steady_row(count, args.order, args.turns, deadlines=deadlines)
                for _ in range(args.repeat)
            ]
            rows.append(min(runs, key=lambda row: float(row["cpu_us"])))
    show("scheduler: CPU microseconds of one request", rows, json_out=args.json_out)


if __name__ == "__main__":
    main()
