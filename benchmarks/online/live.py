"""Live: the systems on a real engine, its model answering; at given rates, one after the other."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

from benchmarks.online.arrivals import arrivals
from benchmarks.online.serve import serve
from benchmarks.online.sweep import Cell, summed_up
from benchmarks.online.systems import SYSTEMS
from benchmarks.online.workload import Workload
from dynasor_graph.engine import Engine

__all__ = ["live"]

_ALONE = 20
"""Programs that are served one at a time, for the base deadline."""


async def live(
    engine: Engine,
    workload: Workload,
    systems: Sequence[str],
    rates: Sequence[float],
    *,
    seconds: float,
    slack: float,
    kind: str = "poisson",
    longest: int = 512,
    seed: int = 0,
) -> tuple[float, dict[str, list[Cell]]]:
    """The base deadline, and each system at each rate.

    Args:
        engine: An open engine.
        workload: Questions with gold; their recorded samples say how difficult they are.
        systems: Names of `SYSTEMS`.
        rates: Programs a second.
        seconds: For so long programs come.
        slack: The base deadline is so many times the mean latency of one program alone.
        kind: Of arrivals.
        longest: Most tokens of a branch.
        seed: Of programs and arrivals.
    """
    thinks = ".think" in workload.name
    warm = workload.draw(_ALONE, seed + 1, live=True)
    alone = []
    for program in warm:
        alone += await serve(
            engine, SYSTEMS["even + vLLM"], [program], [0.0], longest, thinking=thinks
        )
    base = slack * statistics.mean(one.seconds for one in alone)
    found: dict[str, list[Cell]] = {name: [] for name in systems}
    for rate in rates:
        count = max(1, round(rate * seconds))
        programs, times = (
            workload.draw(count, seed, live=True),
            arrivals(kind, rate, count, seed),
        )
        for name in systems:
            served = await serve(
                engine, SYSTEMS[name], programs, times, longest, base=base, thinking=thinks
            )
            found[name].append(summed_up(rate, base, served))
            sys.stderr.write(f"{name} at {rate:g}: {found[name][-1]}\n")
    return base, found
