"""Sweep: the rate that a system sustains, and the tightest deadlines that it keeps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from benchmarks.online.arrivals import arrivals
from benchmarks.online.serve import Served, serve
from benchmarks.online.systems import SYSTEMS, System
from benchmarks.online.workload import Workload
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.simulation import Speed

__all__ = [
    "ATTAINED",
    "Cell",
    "Setting",
    "base_deadline",
    "cell",
    "search",
    "summed_up",
    "sustained",
]

ATTAINED = 0.9
"""Share of programs that must end in time (the paper's P90)."""
_ALONE, _FEWEST, _MOST = 60, 150, 4000
"""Programs that are served alone, for the base deadline; and of a run."""
_PRECISION = 1.05
"""Ratio of the rates between which the sustained one is told."""


class Setting(NamedTuple):
    """What all systems have in common.

    Attributes:
        speed: Of the engine.
        kind: Of arrivals.
        slack: The base deadline is so many times the mean latency of one program alone, even budget.
        horizon: Programs come for so many base deadlines: with few, no rate would be too high.
        seed: Of programs and arrivals: the same for all systems.
    """

    speed: Speed
    kind: str = "poisson"
    slack: float = 4.0
    horizon: float = 6.0
    seed: int = 0


class Cell(NamedTuple):
    """One system at one rate.

    Attributes:
        rate: Programs a second.
        attained: Share that ended in time, at an SLO scale of 1.
        scale: The SLO scale at which 90 % would have.
        mean: Seconds.
        p99: Seconds.
        phi: 99th percentile of the seconds for each output token.
        tokens: Net, mean of a program.
        accuracy: Share that is right.
        good: Share that is right, and in time.
        slower: How many times as long as measured before the engine's steps took; 0 if it is not known.
    """

    rate: float
    attained: float
    scale: float
    mean: float
    p99: float
    phi: float
    tokens: float
    accuracy: float
    good: float
    slower: float = 0.0


def run(
    workload: Workload,
    system: System,
    setting: Setting,
    rate: float,
    count: int,
    base: float = math.inf,
) -> list[Served]:
    """Serve so many programs at a rate, on the simulated engine; `base` is the base deadline."""
    programs = workload.draw(count, setting.seed)
    times = arrivals(setting.kind, rate, count, setting.seed)

    async def main() -> list[Served]:
        engine = ReplayEngine([program.row for program in programs], machine=setting.speed)
        return await serve(engine, system, programs, times, engine.longest, base=base)

    return run_virtual(main())


def base_deadline(workload: Workload, setting: Setting) -> float:
    """Seconds to the deadline of an easy program, at an SLO scale of 1."""
    return setting.slack * statistics.mean(one.seconds for one in _calm(workload, setting, _ALONE))


def cell(workload: Workload, system: System, setting: Setting, rate: float) -> Cell:
    """One run, summed up."""
    base = base_deadline(workload, setting)
    count = _count(workload, setting, rate)
    return summed_up(rate, base, run(workload, system, setting, rate, count, base))


def search(workload: Workload, system: System, setting: Setting) -> tuple[float, list[Cell]]:
    """The sustained rate of one system, and all that was tried; begins at about what the engine can do.

    Who cuts programs at their deadlines is always in time, so of what the full budget gets right of the
    same programs without load, as large a share must be right.
    """

    def kept(one: Cell) -> bool:
        if not system.cuts:
            return True
        calm = _calm(workload, setting, _count(workload, setting, one.rate))
        return one.good >= ATTAINED * statistics.mean(other.right for other in calm)

    guess = 4 * setting.slack / base_deadline(workload, setting)
    return sustained(lambda rate: cell(workload, system, setting, rate), guess, kept)


def _count(workload: Workload, setting: Setting, rate: float) -> int:
    """Programs of a run."""
    fitting = round(rate * setting.horizon * base_deadline(workload, setting))
    return min(_MOST, max(_FEWEST, fitting))


@cache
def _calm(workload: Workload, setting: Setting, count: int) -> list[Served]:
    """The full budget, of programs that have the engine for themselves."""
    alone = setting._replace(kind="poisson")
    return run(workload, SYSTEMS["even + vLLM"], alone, rate=1e-4, count=count)


def summed_up(rate: float, base: float, served: Sequence[Served]) -> Cell:
    """A run with that base deadline, in seconds."""
    seconds = np.array([one.seconds for one in served])
    scales = np.array([one.seconds / (one.difficulty * base) for one in served])
    return Cell(
        rate=rate,
        attained=float((scales <= 1).mean()),
        scale=float(np.quantile(scales, ATTAINED)),
        mean=float(seconds.mean()),
        p99=float(np.quantile(seconds, 0.99)),
        phi=float(np.quantile([one.phi for one in served], 0.99)),
        tokens=statistics.mean(one.tokens for one in served),
        accuracy=statistics.mean(one.right for one in served),
        good=statistics.mean(
            one.right and bool(in_time) for one, in_time in zip(served, scales <= 1, strict=True)
        ),
    )


def sustained(
    at: Callable[[float], Cell], guess: float, kept: Callable[[Cell], bool]
) -> tuple[float, list[Cell]]:
    """The highest rate at which the programs end in time, and all that was tried.

    Args:
        at: Runs a rate.
        guess: Where to begin, > 0.
        kept: What must hold beside that.
    """
    tried: list[Cell] = []

    def fine(rate: float) -> bool:
        tried.append(at(rate))
        return tried[-1].attained >= ATTAINED and kept(tried[-1])

    low = high = guess
    if fine(guess):
        while fine(high := high * 1.6):
            low = high
    else:
        while not fine(low := low / 1.6):
            high = low
    while high / low > _PRECISION:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if fine(middle) else (low, middle)
    return low, sorted(tried, key=lambda one: one.rate)
