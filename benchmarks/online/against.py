"""Against: runs that were kept on a real engine beside the same on the simulated one.

    python -m benchmarks.online.against FILE [--policy FILE] [--as-measured] [--jobs 2] [--json]

FILE is what `benchmarks.online --engine MODEL --recorded --measured SPEED --kept FILE` wrote. The
same programs come at the same seconds on the simulated engine, at the speed that was measured before
the runs, with steps as many times as long as those of each run took ("slower"; `--as-measured` leaves
that out). Nothing is fitted to a latency. "ratio" is what was real by what is simulated.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.online.kept import KeptRun, Terms, read_kept
from benchmarks.online.live import Load, live, simulated, slowed
from benchmarks.online.sweep import Cell
from benchmarks.online.systems import SYSTEMS, fitted
from benchmarks.online.workload import read_workload
from benchmarks.output import show
from dynasor_graph.engine.virtual_clock import run_virtual


def again(terms: Terms, run: KeptRun, policy: str | None, *, as_measured: bool) -> Cell:
    """One run, simulated."""
    name, _, model = terms.workload.partition(":")
    workload = read_workload(name, model or None, terms.most)
    policy = policy or terms.policy
    known = SYSTEMS | (fitted(Path(policy)) if policy else {})
    speed = terms.speed if as_measured else slowed(terms.speed, run.cell.slower or 1.0)
    load = Load(
        rates={run.system: [run.cell.rate]},
        seconds=terms.seconds,
        base=terms.base,
        kind=terms.arrivals,
        longest=workload.longest,
        asks=False,
        seed=terms.seed,
    )
    systems = {run.system: known[run.system]}
    (one,) = run_virtual(live(simulated(speed), workload, systems, load))[1][run.system]
    return one


def row(run: KeptRun, found: Cell) -> dict[str, Any]:
    """Both, and by how much they differ."""
    real = run.cell
    return {
        "system": run.system,
        "rate": f"{real.rate:.3g}",
        "slower": f"{real.slower:.2f}",
        "in time, %": f"{100 * real.attained:.1f}",
        "simulated, %": f"{100 * found.attained:.1f}",
        "mean s": f"{real.mean:.2f}",
        "simulated s": f"{found.mean:.2f}",
        "ratio": f"{real.mean / found.mean:.2f}",
        "P99 s": f"{real.p99:.1f}",
        "simulated P99 s": f"{found.p99:.1f}",
        "P99 ratio": f"{real.p99 / found.p99:.2f}",
    }


def main() -> None:
    """Simulate what was kept, and print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--policy", help="where the policy file of these runs is now")
    parser.add_argument("--as-measured", action="store_true", help="no step takes longer")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true", dest="json_out")
    told = parser.parse_args()
    runs = read_kept(told.file)
    with ProcessPoolExecutor(told.jobs) as pool:
        jobs = [
            pool.submit(again, terms, run, told.policy, as_measured=told.as_measured)
            for terms, run in runs
        ]
        table = [row(run, job.result()) for (_, run), job in zip(runs, jobs, strict=True)]
    worst = max(abs(float(one["ratio"]) - 1) for one in table)
    title = f"{told.file.name}: {len(table)} means within {100 * worst:.0f} %"
    show(title, table, json_out=told.json_out)


if __name__ == "__main__":
    main()
