"""Live: the systems at given rates, one after the other, on whatever answers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from benchmarks.online.arrivals import arrivals
from benchmarks.online.serve import serve
from benchmarks.online.sweep import Cell, summed_up
from benchmarks.online.systems import SYSTEMS, System
from benchmarks.online.workload import Program, Workload
from benchmarks.steps import Record
from dynasor_graph.engine import Engine
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.simulation import Speed
from dynasor_graph.simulation.fit import MIXED, TERMS

__all__ = ["Listener", "Load", "Make", "Watched", "live", "simulated", "slowed"]

Make = Callable[[Sequence[Program]], Engine]
"""What answers these programs: an engine, open; the same for all runs, or a new one for each."""


class Listener(Protocol):
    """Who is told while it goes on."""

    def based(self, base: float) -> None:
        """The base deadline is known, in seconds."""

    def ended(self, system: str, cell: Cell) -> None:
        """A run has ended."""


class Watched(NamedTuple):
    """An engine whose steps are recorded, and the speed that was measured before."""

    record: Record
    speed: Speed


class Load(NamedTuple):
    """What comes, and by when it is to be answered.

    Attributes:
        rates: Programs a second, for each system by name.
        seconds: For so long programs come.
        slack: The base deadline is so many times the mean latency of one program alone.
        alone: Programs that are served one at a time to find that out; none if `base` is known.
        base: The base deadline, in seconds, if it is known.
        kind: Of arrivals.
        longest: Most tokens of a branch.
        asks: Whether the model answers the questions itself; else recorded samples answer them.
        seed: Of programs and arrivals.
    """

    rates: Mapping[str, Sequence[float]]
    seconds: float = 20.0
    slack: float = 4.0
    alone: int = 20
    base: float | None = None
    kind: str = "poisson"
    longest: int = 512
    asks: bool = True
    seed: int = 0


async def live(
    make: Make,
    workload: Workload,
    systems: Mapping[str, System],
    load: Load,
    watched: Watched | None = None,
    listener: Listener | None = None,
) -> tuple[float, dict[str, list[Cell]]]:
    """The base deadline, and each system at each rate.

    Args:
        make: What answers.
        workload: Questions with gold; their recorded samples say how difficult they are.
        systems: By name.
        load: What comes.
        watched: What the engine's steps are compared with.
        listener: Whom to tell meanwhile.
    """
    thinks = load.asks and ".think" in workload.name
    base = load.base or await _alone(make, workload, load, thinks)
    if listener is not None:
        listener.based(base)
    found: dict[str, list[Cell]] = {name: [] for name in systems}
    for name, system in systems.items():
        for rate in load.rates[name]:
            count = max(1, round(rate * load.seconds))
            programs = workload.draw(count, load.seed, live=load.asks)
            times = arrivals(load.kind, rate, count, load.seed)
            if watched is not None:
                watched.record.start()
            served = await serve(
                make(programs), system, programs, times, load.longest, base=base, thinking=thinks
            )
            one = summed_up(rate, base, served)
            if watched is not None:
                one = one._replace(slower=watched.record.slower(watched.speed))
            found[name].append(one)
            if listener is not None:
                listener.ended(name, one)
    return base, found


def simulated(speed: Speed) -> Make:
    """Recorded samples, answered by the simulated engine."""
    return lambda programs: ReplayEngine([one.row for one in programs], machine=speed)


def slowed(speed: Speed, slower: float) -> Speed:
    """That speed on a host whose steps take so many times as long."""
    terms = {name: slower * getattr(speed, name) for name in (*TERMS, *MIXED)}
    return speed.model_copy(update=terms)


async def _alone(make: Make, workload: Workload, load: Load, thinks: bool) -> float:
    """The base deadline: a multiple of what a program takes that has the engine for itself."""
    system = SYSTEMS["even + vLLM"]
    alone = []
    for program in workload.draw(load.alone, load.seed + 1, live=load.asks):
        alone += await serve(
            make([program]), system, [program], [0.0], load.longest, thinking=thinks
        )
    return load.slack * statistics.mean(one.seconds for one in alone)
