"""Simulated: the same programs on the real engine and on the simulated one; are latencies alike?

    python -m benchmarks.simulated [--engine abacus-7m] [--repeat 2] [--json]

Measures the engine's speed, runs three workloads on it, measures again, and fits the speed to both
measurements. Then it replays the very same samples, probes and arrivals on the simulated engine (bar:
the mean latency of a program within 15 %). All in one process: on a shared machine the speed of an
hour ago is no speed of now.

short: few programs, all at once. queue: more requests than the batch has seats, arriving at random.
chains: long chains of thought with probes beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dynasor_graph as dg
from benchmarks.output import show
from benchmarks.speed import rows_of, speed_of
from dynasor_graph.demo import demo_questions
from dynasor_graph.engine import Engine
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.recordings import from_trace
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.simulation import Speed
from dynasor_graph.simulation.fit import Measured, fit_speed
from dynasor_graph.types import JSON

SEATS = 32


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
    Workload(name="queue", programs=40, gap=0.25, settings=branches(12, 8)),
    Workload(
        name="chains",
        programs=24,
        gap=0.4,
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


def again(workload: Workload, real: Ran, speed: Speed, folder: Path) -> Ran:
    """The same programs on the simulated engine."""
    path = folder / f"{workload.name}.trace.jsonl"
    with dg.TraceWriter(path) as trace:
        for event in real.events:
            trace.write(event)
    recorded = {name: row for name, row in from_trace(path)}
    engine = ReplayEngine(list(recorded.values()), machine=speed)
    return run_virtual(run(engine, workload, _questions(workload)))


def _questions(workload: Workload) -> list[dg.Question]:
    return demo_questions(workload.programs, seed=11)


def row_of(workload: Workload, real: Ran, simulated: Ran) -> dict[str, Any]:
    """Both, and the ratio of their mean latencies."""
    a, b = statistics.mean(real.latencies), statistics.mean(simulated.latencies)
    return {
        "workload": workload.name,
        "programs": len(real.latencies),
        "tokens": f"{real.generated:,}",
        "simulated": f"{simulated.generated:,}",
        "prompts computed": f"{real.computed:,}",
        "simulated ": f"{simulated.computed:,}",
        "mean, s": f"{a:.2f}",
        "simulated  ": f"{b:.2f}",
        "P90, s": f"{_p90(real.latencies):.2f}",
        "simulated   ": f"{_p90(simulated.latencies):.2f}",
        "ratio of means": f"{b / a:.3f}",
    }


def _p90(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=10, method="inclusive")[-1]


async def measured(options: argparse.Namespace) -> tuple[Speed, list[Measured], list[Ran]]:
    """The real engine: its speed before and after, and the workloads in between."""
    async with dg.open_engine(options.engine, max_num_seqs=SEATS) as engine:
        await run(engine, WORKLOADS[0], _questions(WORKLOADS[0]))  # warms up
        speed, before = await speed_of(engine, repeat=options.repeat)
        ran = [await run(engine, workload, _questions(workload)) for workload in WORKLOADS]
        _, after = await speed_of(engine, repeat=options.repeat)
    limits = speed.model_dump(include={"source", *_LIMITS})
    return fit_speed([*before, *after], **limits), [*before, *after], ran


_LIMITS = ("max_num_seqs", "max_num_batched_tokens", "chunked_prefill", "kv_tokens", "block")


def main() -> None:
    """Measure, run, replay, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="abacus-7m")
    parser.add_argument("--repeat", type=int, default=2, help="of the measurements of the speed")
    parser.add_argument("-o", "--output", type=Path, help="where to write the speed as JSON")
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    speed, batches, real = asyncio.run(measured(options))
    if options.output:
        speed.write(options.output)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row_of(workload, ran, again(workload, ran, speed, Path(folder)))
            for workload, ran in zip(WORKLOADS, real, strict=True)
        ]
    if not options.json_out:
        show("speed: batches", rows_of(speed, batches), json_out=False)
        print(speed.model_dump_json(indent=2))
    show("simulated: latency of a program", rows, json_out=options.json_out)


if __name__ == "__main__":
    main()
