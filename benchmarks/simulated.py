"""Simulated: the same programs on the real engine and on the simulated one; are latencies alike?

    python -m benchmarks.simulated [--engine abacus-7m] [--rounds 6] [--json]

Measures the engine's speed and runs three workloads on it, in turn, several rounds. Then it replays
the very same samples, probes and arrivals on the simulated engine (bar: the mean latency of a
program within 15 %), at the speed that fits all measurements best; no workload has a part in them.

On a shared machine the speed of a minute ago is no speed of now. So "apart" is the ratio of each
round at the speed that was measured just before and just after its run: how far these lie from each
other is the noise of the machine.

short: few programs, all at once. queue: more requests than the batch has seats, arriving at random.
chains: long chains of thought with probes beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dynasor_graph as dg
from benchmarks.output import show
from benchmarks.speed import limits_of, measure, rows_of, source_of
from dynasor_graph.demo import demo_questions
from dynasor_graph.engine import Engine
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.recordings import from_trace
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.simulation import Speed
from dynasor_graph.simulation.fit import Measured, fit_speed
from dynasor_graph.types import JSON

SEATS = 32
LENGTHS = (32, 256)
"""Of the prompts that are measured: questions of the bundled model are as short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Programs of one kind.

    Attributes:
        name: What it shows.
        programs: How many.
        gap: Mean seconds between two arrivals, exponential; 0 for all at once.
        algorithm: Of the programs.
        settings: Of the algorithm.
    """

    name: str
    programs: int
    gap: float
    algorithm: str = "self_consistency"
    settings: JSON = field(default_factory=dict)

    def arrivals(self) -> list[float]:
        """When each program arrives, in seconds; always the same."""
        rng, now, found = random.Random(self.name), 0.0, []
        for _ in range(self.programs):
            found.append(now)
            now += rng.expovariate(1 / self.gap) if self.gap else 0.0
        return found


def branches(count: int, window: int) -> JSON:
    """Self-consistency at its full budget: every branch ends, and is recorded."""
    return {
        "policy": "fixed",
        "branches": count,
        "budget": {"concurrency": window},
        "sampling": {"temperature": 0.7, "max_tokens": 400},
    }


WORKLOADS = (
    Workload(name="short", programs=6, gap=0.0, settings=branches(4, 4)),
    Workload(name="queue", programs=24, gap=0.1, settings=branches(8, 8)),
    Workload(
        name="chains",
        programs=16,
        gap=0.3,
        algorithm="cot",
        settings={
            "policy": "probe-consistency",
            "interval": 64,
            "sampling": {"temperature": 0.7, "max_tokens": 1100},
        },
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A workload that was run.

    Attributes:
        latencies: Seconds of each program.
        generated: Tokens that the engine made.
        computed: Prompt tokens that it computed.
        events: What happened, for a trace.
    """

    latencies: Sequence[float]
    generated: int
    computed: int
    events: Sequence[JSON]


async def run(engine: Engine, workload: Workload, questions: Iterable[dg.Question]) -> Ran:
    """Run a workload; on a virtual clock that takes no time."""
    before = await engine.load()
    latencies: list[float] = []
    events: list[JSON] = []

    async def one(question: dg.Question, at: float) -> None:
        await asyncio.sleep(at)
        items = dg.stream(
            question, algorithm=workload.algorithm, engine=engine, **workload.settings
        )
        async with aclosing(items):
            async for item in items:
                if isinstance(item, dg.Result):
                    latencies.append(item.latency_s)
                else:
                    events.append(item)

    async with asyncio.TaskGroup() as group:
        for question, at in zip(questions, workload.arrivals(), strict=True):
            group.create_task(one(question, at))
    after = await engine.load()
    return Ran(
        latencies=latencies,
        generated=after.generated - before.generated,
        computed=after.prompt_computed - before.prompt_computed,
        events=events,
    )


def again(workload: Workload, real: Ran, speed: Speed, path: Path) -> Ran:
    """The same programs on the simulated engine; `path` is where their trace is written."""
    path.unlink(missing_ok=True)
    with dg.TraceWriter(path) as trace:
        for event in real.events:
            trace.write(event)
    engine = ReplayEngine([row for _, row in from_trace(path)], machine=speed)
    return run_virtual(run(engine, workload, _questions(workload)))


def _questions(workload: Workload) -> list[dg.Question]:
    return demo_questions(workload.programs, seed=11)


def row_of(name: str, pairs: Sequence[tuple[Ran, Ran, Ran]]) -> dict[str, Any]:
    """All rounds of a workload, real / simulated, and the ratio of the mean latencies."""
    real, simulated = ([pair[i] for pair in pairs] for i in (0, 1))
    a, b = ([x for ran in side for x in ran.latencies] for side in (real, simulated))
    each = (statistics.mean(y.latencies) / statistics.mean(x.latencies) for x, _, y in pairs)

    def both(of: Callable[[Ran], int]) -> str:
        return " / ".join(f"{sum(map(of, side)):,}" for side in (real, simulated))

    return {
        "workload": name,
        "programs": len(a),
        "tokens": both(lambda ran: ran.generated),
        "prompt tokens": both(lambda ran: ran.computed),
        "P90, s": f"{_p90(a):.2f} / {_p90(b):.2f}",
        "mean, s": f"{statistics.mean(a):.2f} / {statistics.mean(b):.2f}",
        "apart": " ".join(f"{ratio:.2f}" for ratio in each),
        "ratio": f"{statistics.mean(b) / statistics.mean(a):.3f}",
    }


def _p90(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=10, method="inclusive")[-1]


async def measured(
    spec: str, rounds: int
) -> tuple[Speed, list[Measured], list[tuple[Workload, Ran, Speed]]]:
    """The real engine: its speed, all that was measured, and each run with the speed beside it."""
    async with dg.open_engine(spec, max_num_seqs=SEATS) as engine:
        limits = limits_of(engine, {})
        batched = Speed(fixed=1.0, **limits).max_num_batched_tokens
        await run(engine, WORKLOADS[0], _questions(WORKLOADS[0]))  # warms up
        ran: list[Ran] = []
        batches: list[list[Measured]] = []

        async def measured_now() -> None:
            seed = len(batches)
            now = await measure(engine, most=SEATS, batched=batched, lengths=LENGTHS, seed=seed)
            batches.append(now)

        await measured_now()
        for number in range(rounds):
            for workload in WORKLOADS:
                ran.append(await run(engine, workload, _questions(workload)))
                await measured_now()
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        beside = [
            fit_speed([*before, *after], **limits) for before, after in itertools.pairwise(batches)
        ]
        flat = [one for some in batches for one in some]
        whole = fit_speed(flat, source=source_of(engine), **limits)
        return whole, flat, list(zip(itertools.cycle(WORKLOADS), ran, beside, strict=False))


def main() -> None:
    """Measure, run, replay, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="abacus-7m")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("-o", "--output", type=Path, help="where to write the speed as JSON")
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    speed, batches, real = asyncio.run(measured(options.engine, options.rounds))
    if options.output:
        speed.write(options.output)
    pairs: dict[str, list[tuple[Ran, Ran, Ran]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (workload, ran, beside) in enumerate(real):
            path = Path(folder) / f"{number}.trace.jsonl"
            at_all = again(workload, ran, speed, path)
            at_its_own = again(workload, ran, beside, path)
            pairs.setdefault(workload.name, []).append((ran, at_all, at_its_own))
    rows = [row_of(name, some) for name, some in pairs.items()]
    if not options.json_out:
        show("speed: batches", rows_of(speed, batches), json_out=False)
        print(speed.model_dump_json(indent=2))
    show("latency of a program, real / simulated", rows, json_out=options.json_out)


if __name__ == "__main__":
    main()
