"""Scale: how long it takes to simulate 1,000 programs of 20 branches of about 500 tokens.

    python -m benchmarks.scale [--programs 1000] [--speed h200-7b] [--json]

machine: batching alone. chunks: the same, each reader told every 64 tokens. engine: `ReplayEngine` and
its streams on a virtual clock. graphs: live programs under LangGraph and the executor on that engine.
All requests are there at the beginning.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import dynasor_graph as dg
from benchmarks.output import show
from dynasor_graph.engine import complete
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.recordings import Recorded, synthetic
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.simulation import Job, Machine, Speed, read_speed

BRANCHES = 20


def on_machine(recorded: Sequence[Recorded], speed: Speed, chunk: int) -> float:
    """Simulated seconds of all samples as jobs."""
    machine = Machine(speed)
    for number, row in enumerate(recorded):
        prompt = tuple(range(1000 * number, 1000 * number + 100))
        for sample in row.samples:
            most = sample.tokens or 1
            machine.submit(Job(prompt=prompt, most=most, chunk=chunk, program=row.id), 0.0)
    while (event := machine.next_event) is not None:
        machine.advance(event)
    return machine.now


async def on_engine(recorded: Sequence[Recorded], speed: Speed) -> float:
    """The same through streams."""
    engine = ReplayEngine(recorded, machine=speed)
    async with asyncio.TaskGroup() as group:
        for row in recorded:
            tokens = tuple(await engine.render([{"role": "user", "content": row.question or ""}]))
            for _ in row.samples:
                request = dg.Request(tokens=tokens, max_tokens=engine.longest, program=row.id)
                group.create_task(complete(engine, request))
    return asyncio.get_running_loop().time()


async def on_graphs(recorded: Sequence[Recorded], speed: Speed) -> float:
    """The same as live programs."""
    engine = ReplayEngine(recorded, machine=speed)
    runner = dg.Runner(
        engine=engine,
        programs=len(recorded),
        policy="fixed",
        branches=BRANCHES,
        budget={"concurrency": BRANCHES},
        sampling={"max_tokens": engine.longest},
    )
    questions = [dg.Question(id=row.id, text=row.question or "") for row in recorded]
    async with aclosing(runner.run(questions)) as results:
        async for result in results:
            assert result.error is None, result.error
    return asyncio.get_running_loop().time()


def main() -> None:
    """Simulate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--speed", default="h200-7b", help="a preset or a JSON file")
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    speed = read_speed(options.speed)
    recorded = synthetic(options.programs, samples=BRANCHES, tokens=500)
    tokens = sum(sample.tokens or 0 for row in recorded for sample in row.samples)
    rows: list[dict[str, Any]] = []
    for name in ("machine", "chunks", "engine", "graphs"):
        started, cpu = time.perf_counter(), time.process_time()
        if name in {"machine", "chunks"}:
            simulated = on_machine(recorded, speed, 64 if name == "chunks" else 0)
        else:
            work = on_engine if name == "engine" else on_graphs
            simulated = run_virtual(work(recorded, speed))
        rows.append(
            {
                "through": name,
                "tokens": f"{tokens:,}",
                "simulated, s": f"{simulated:.0f}",
                "real, s": f"{time.perf_counter() - started:.1f}",
                "CPU, s": f"{time.process_time() - cpu:.1f}",
            }
        )
    show(f"scale: {len(recorded):,} programs of {BRANCHES}", rows, json_out=options.json_out)


if __name__ == "__main__":
    main()
