"""Sandbox: short programs a second on the warm pool, and with one cold `python -I` for each.

    python -m benchmarks.sandbox --programs 200 --inputs 3

Both sides run the same programs on the same inputs, in turn, as many at once as there are processors.
The cold side is not guarded at all: it shows what a start of the interpreter costs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from benchmarks.output import show
from dynasor_graph.errors import SandboxError
from dynasor_graph.sandbox import Sandbox, Script

SOURCE = """
import sys
numbers = list(map(int, sys.stdin.read().split()))
seen = {{}}
for at, number in enumerate(numbers):
    seen.setdefault(number % {modulus}, []).append(at)
print(max(len(places) for places in seen.values()))
"""


def programs(count: int, inputs: int, seed: int = 0) -> list[Script]:
    """Small programs, each of them another, on lists of numbers."""
    draw = random.Random(seed)
    texts = [" ".join(str(draw.randrange(1000)) for _ in range(100)) for _ in range(inputs)]
    return [Script(SOURCE.format(modulus=2 + at), texts) for at in range(count)]


def cold(todo: list[Script], workers: int) -> tuple[float, list[tuple[str, ...]]]:
    """Seconds that it takes with an interpreter for each input, and what was printed."""

    def run(program: Script) -> tuple[str, ...]:
        return tuple(
            subprocess.run(
                [sys.executable, "-I", "-c", program.source],
                input=text,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for text in program.inputs
        )

    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as threads:
        found = list(threads.map(run, todo))
    return time.perf_counter() - began, found


async def warm(todo: list[Script], box: Sandbox) -> tuple[float, list[tuple[str | None, ...]]]:
    """Seconds that it takes on the pool, and what was printed."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(box.run(program)) for program in todo]
    return time.perf_counter() - began, [task.result().values for task in tasks]


def main() -> None:
    """Compare, and print programs a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--inputs", type=int, default=1, help="of each program")
    parser.add_argument("--rounds", type=int, default=3, help="in turn, cold and warm")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    todo = programs(options.programs, options.inputs)
    workers = len(os.sched_getaffinity(0))
    some = todo[: max(workers, len(todo) // 4)]
    rows = []
    ways: tuple[Literal["namespaces", "rlimits"], ...] = ("namespaces", "rlimits")
    for isolation in ways:
        with Sandbox(workers=workers, isolation=isolation) as box:
            try:
                _ = box.protection
            except SandboxError as error:
                print(f"{isolation}: {error}", file=sys.stderr)
                continue
            asyncio.run(warm(todo[:workers], box))  # all workers are there
            rates: dict[str, list[float]] = {"cold": [], "warm": []}
            for _ in range(options.rounds):
                seconds, wanted = cold(some, workers)
                rates["cold"].append(len(some) / seconds)
                seconds, found = asyncio.run(warm(todo, box))
                rates["warm"].append(len(todo) / seconds)
                assert found[: len(some)] == wanted
        middle = {side: statistics.median(rate) for side, rate in rates.items()}
        rows.append(
            {
                "isolation": isolation,
                "inputs": options.inputs,
                "cold programs/s": round(middle["cold"], 1),
                "warm programs/s": round(middle["warm"], 1),
                "ratio": round(middle["warm"] / middle["cold"], 2),
            }
        )
    if rows:
        show(f"{options.programs} programs on {workers} processors", rows, json_out=options.json)


if __name__ == "__main__":
    main()
