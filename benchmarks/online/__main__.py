"""Programs that arrive over time: the rate that each system sustains, and how tight deadlines may be.

    python -m benchmarks.online [abacus-test.think FILE:MODEL ...] [--speed h200-7b] [--arrivals poisson]
                                [--systems ...] [--horizon 6] [-o online.html] [--json]

Each program is a live self-consistency graph, at most 20 branches, answered out of recorded samples on
the simulated engine. Its deadline is 1, 2 or 3 times the base by its difficulty (all samples right,
some, none); the base is `--slack` times the mean latency of one program alone with the even budget.
"rate" is the highest at which 90 % end in time (and for systems that cut programs at their deadlines,
as many are right as 90 % of those that the full budget gets right without load); "scale" is by how
much deadlines could be tightened (< 1) or would have to be loosened (> 1) for that, at the rate that
plain vLLM sustains. Ratios are against plain vLLM.

With `--rates` the systems are run at these rates, and no highest one is looked for; a system may have
rates of its own: `--systems "even + vLLM@4/5,beta + sjf@11"`. With `--engine MODEL` the model itself
answers, on vLLM in this process; with `--recorded` too, it computes as many tokens as were recorded,
and the samples answer: a folder of `benchmarks.shape` will do. `--measured FILE` measures its
steps before: the same command without `--engine` and with `--speed FILE --base SECONDS` then simulates
the same runs. Machines have slow minutes: "slower" is how many times as long as measured before the
steps of a run took, and `--slower` simulates it. `python -m benchmarks.online.against FILE` does all
that for the runs of `--kept FILE`, and says how near the simulation came.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.online.kept import KeptFile, Telling, Terms
from benchmarks.online.live import Load, Make, Watched, live, simulated, slowed
from benchmarks.online.sweep import Cell, Setting, base_deadline, cell, search
from benchmarks.online.systems import SYSTEMS, System, fitted
from benchmarks.online.workload import Program, Workload, read_workload
from benchmarks.output import show
from benchmarks.shape import ENGINE_ARGS
from benchmarks.speed import measured_speed
from benchmarks.steps import Record
from dynasor_graph.engine import Engine
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.simulation import read_speed

BASELINE = "even + vLLM"


def rows(
    workload: Workload,
    systems: Mapping[str, System],
    setting: Setting,
    pool: ProcessPoolExecutor,
) -> tuple[list[dict[str, Any]], dict[str, list[Cell]]]:
    """A row for each system, and all runs of each."""
    searches = {
        name: pool.submit(search, workload, system, setting) for name, system in systems.items()
    }
    found = {name: search.result() for name, search in searches.items()}
    base = found[BASELINE][0]
    same = {
        name: pool.submit(cell, workload, system, setting, base) for name, system in systems.items()
    }
    cells = {name: job.result() for name, job in same.items()}
    table = []
    for name in systems:
        rate, one = found[name][0], cells[name]
        table.append(
            {
                "system": name,
                "rate": f"{rate:.3g}",
                "x": f"{rate / base:.2f}",
                "tighter": f"{cells[BASELINE].scale / one.scale:.2f}",
                **{key: cell for key, cell in _cells(one).items() if key != "rate"},
            }
        )
    return table, {name: runs for name, (_, runs) in found.items()}


def _workload(text: str, most: int | None, *, live: bool = False) -> Workload:
    name, _, model = text.partition(":")
    return read_workload(name, model or None, most, live=live)


async def _on_engine(
    args: argparse.Namespace, systems: Mapping[str, System]
) -> list[dict[str, Any]]:
    """A row for each system and rate, on a real engine."""
    options: dict[str, Any] = {"fast_start": args.fast_start or None}
    make_engine: Callable[..., VllmEngine] = VllmEngine
    if args.sleeping:
        from benchmarks.sleeping import SleepingEngine

        make_engine, options = SleepingEngine, {"hurry": args.sleeping}
    elif args.recorded:
        options |= ENGINE_ARGS
    async with make_engine(args.engine, max_num_seqs=args.seats, thread=False, **options) as engine:

        def make(programs: Sequence[Program]) -> Engine:
            if not args.recorded:
                return engine
            return ReplayEngine([program.row for program in programs], machine=engine)

        watched = None
        if args.measured:
            speed, _ = await measured_speed(engine, {}, most=args.seats)
            speed.write(args.measured)
            watched = Watched(Record(engine), speed)
        return await _at_rates(args, systems, make, asks=not args.recorded, watched=watched)


async def _simulated(
    args: argparse.Namespace, systems: Mapping[str, System]
) -> list[dict[str, Any]]:
    """A row for each system and rate, on the simulated engine."""
    make = simulated(slowed(read_speed(args.speed), args.slower))
    return await _at_rates(args, systems, make, asks=False)


async def _at_rates(
    args: argparse.Namespace,
    systems: Mapping[str, System],
    make: Make,
    *,
    asks: bool,
    watched: Watched | None = None,
) -> list[dict[str, Any]]:
    table = []
    kept = KeptFile(args.kept) if args.kept else None
    speed = read_speed(args.speed) if watched is None else watched.speed
    for text in args.workloads:
        workload = _workload(text, args.most, live=asks)
        load = Load(
            rates=args.at,
            seconds=args.seconds,
            slack=args.slack,
            alone=args.alone,
            base=args.base,
            kind=args.arrivals,
            longest=args.longest if asks else workload.longest,
            asks=asks,
            seed=args.seed,
        )
        terms = Terms(
            workload=text,
            most=args.most,
            arrivals=args.arrivals,
            seed=args.seed,
            policy=args.policy and str(args.policy),
            seconds=args.seconds,
            base=args.base or 0.0,
            speed=speed,
        )
        base, found = await live(make, workload, systems, load, watched, Telling(terms, kept))
        table += [
            {"workload": workload.name, "base s": f"{base:.2f}", "system": name, **_cells(one)}
            for name, cells in found.items()
            for one in cells
        ]
    return table


def _rates(systems: str, rates: str | None) -> dict[str, list[float]]:
    """The rates of each system by name, its own or those of all; none if there are neither."""
    found: dict[str, list[float]] = {}
    for part in systems.split(","):
        name, _, own = part.strip().partition("@")
        told = own.split("/") if own else rates.split(",") if rates else []
        found.setdefault(name.strip(), []).extend(float(rate) for rate in told)
    return found


def _cells(one: Cell) -> dict[str, str]:
    return {
        "rate": f"{one.rate:.3g}",
        "in time, %": f"{100 * one.attained:.1f}",
        "scale": f"{one.scale:.3f}",
        "mean s": f"{one.mean:.2f}",
        "P99 s": f"{one.p99:.2f}",
        "P99 phi, ms": f"{1000 * one.phi:.2f}",
        "tokens": f"{one.tokens:,.0f}",
        "right, %": f"{100 * one.accuracy:.1f}",
        "in time and right, %": f"{100 * one.good:.1f}",
        **({"slower": f"{one.slower:.2f}"} if one.slower else {}),
    }


def main() -> None:
    """Read the arguments, sweep, print, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", default=["abacus-test.think"])
    parser.add_argument(
        "--speed", default="h200-7b", help="a preset, or a file of benchmarks.speed"
    )
    parser.add_argument("--slower", type=float, default=1.0, help="its steps take so much longer")
    parser.add_argument(
        "--arrivals", default="poisson", help="poisson, bursty, or a file of seconds"
    )
    parser.add_argument("--systems", help="some of: " + ", ".join(SYSTEMS))
    parser.add_argument(
        "--policy", type=Path, help="a file of `dynasor-graph calibrate`: systems that stop by it"
    )
    parser.add_argument(
        "--horizon", type=float, default=6.0, help="length of a run, in base deadlines"
    )
    parser.add_argument("--slack", type=float, default=4.0)
    parser.add_argument(
        "--most", type=int, help="leave out questions with longer samples, in tokens"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=Path("online.html"))
    parser.add_argument("--json", action="store_true", dest="json_out")
    parser.add_argument("--rates", help="programs a second, with commas: no search")
    parser.add_argument("--seconds", type=float, default=20.0, help="of arrivals, at given rates")
    parser.add_argument("--alone", type=int, default=20, help="programs for the base deadline")
    parser.add_argument("--base", type=float, help="the base deadline in seconds, if it is known")
    parser.add_argument("--engine", help="a model for vLLM, at --rates, instead of simulated")
    parser.add_argument("--recorded", action="store_true", help="it computes, the samples answer")
    parser.add_argument(
        "--sleeping",
        type=float,
        metavar="HURRY",
        help="with --recorded: steps compute nothing (benchmarks.sleeping), so many times as fast",
    )
    parser.add_argument("--seats", type=int, default=256, help="max_num_seqs, for --engine")
    parser.add_argument(
        "--measured",
        type=Path,
        metavar="FILE",
        help="measure the engine's speed before: --speed FILE then simulates the same runs",
    )
    parser.add_argument(
        "--kept",
        type=Path,
        metavar="FILE",
        help="with --recorded --measured: each run as it ends, for benchmarks.online.against",
    )
    parser.add_argument("--longest", type=int, default=512, help="most tokens, for --engine")
    parser.add_argument("--fast-start", action="store_true", help="of the CPU build")
    args = parser.parse_args()
    known = SYSTEMS | (fitted(args.policy) if args.policy else {})
    try:
        args.at = _rates(args.systems or ",".join(known), args.rates)
    except ValueError as error:
        parser.error(f"--rates, --systems: write programs a second, such as 4 or 4.5: {error}")
    unknown = set(args.at) - set(known)
    if unknown:
        parser.error(f"no system {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    fixed = any(args.at.values())
    if fixed and not all(args.at.values()):
        parser.error("--rates: not all of --systems have rates of their own")
    if args.kept and not (args.recorded and args.measured):
        parser.error("--kept needs --recorded and --measured: what is kept is to be simulated")
    if args.kept and args.kept.exists():
        parser.error(f"--kept: {args.kept} is there already: move it away, or name another file")
    if args.engine and not fixed:
        parser.error("--engine needs --rates, such as --rates 4,8")
    systems = {name: known[name] for name in args.at}
    if fixed:
        table = (
            asyncio.run(_on_engine(args, systems))
            if args.engine
            else run_virtual(_simulated(args, systems))
        )
        where = args.engine or f"simulated {args.speed}"
        show(f"{where}, {args.arrivals}", table, json_out=args.json_out)
        return
    systems = {BASELINE: known[BASELINE], **systems}
    speed = slowed(read_speed(args.speed), args.slower)
    setting = Setting(speed, args.arrivals, args.slack, args.horizon, args.seed)
    plots: dict[str, dict[str, list[Cell]]] = {}
    with ProcessPoolExecutor(args.jobs) as pool:
        for text in args.workloads:
            workload = _workload(text, args.most)
            table, runs = rows(workload, systems, setting, pool)
            plots[workload.name] = runs
            title = (
                f"{workload.name}, {args.arrivals}, base deadline "
                f"{base_deadline(workload, setting):.1f} s"
            )
            show(title, table, json_out=args.json_out)
    from benchmarks.online.page import write_page

    write_page(args.output, plots)


if __name__ == "__main__":
    main()
