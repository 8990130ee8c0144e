"""Replay: every rule on recorded samples: what it keeps, what it spends, and how fast that is found.

    python -m benchmarks.replay [FILE ...] [--part PART] [--shuffles 10] [--json]

FILE is any recording; without one, the bundled samples of `abacus-test`. Rows are macro means over
the sets and models in the files. All rules see the same samples in the same orders, 40 to a question.

rules: one sample at a time. windows: Beta at .95 with more and more branches in flight.
speed: programs replayed a second on one core, against the same ones through the live graph.
allocation: the paper's Table 4 (`benchmarks.allocation`), at a cap of 20.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.allocation import allocation
from benchmarks.output import show
from dynasor_graph.abacus import recording_path
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.policies import Fixed, Rule, read_policy
from dynasor_graph.questions import Question
from dynasor_graph.recordings import Recorded, read_recording
from dynasor_graph.replay import ReplayEngine, Study, StudyRow, study
from dynasor_graph.runner import Runner

RULES = {
    "SC@1": "even:at=1",
    "SC@8": "even:at=8",
    "SC@16": "even:at=16",
    "SC@40": "fixed",
    "BoInf B=3": "boinf:factor=3",
    "ASC-Beta .80": "beta:confidence=0.8",
    "BoInf B=10": "boinf",
    "ASC-Beta .90": "beta:confidence=0.9",
    "ESC w=3": "esc:window=3",
    "AC-majority .8": "majority-share",
    "ASC-Beta .95": "beta",
    "BoInf B=100": "boinf:factor=100",
    "AC-entropy .75": "vote-entropy",
    "ATTCC triple gate": "triple-gate",
    "its_hub adaptive .75": "doubling",
    "Certaindex .6 every 5": "certaindex-every:threshold=0.6",
    "Certaindex .8 every 1": "certaindex-every:threshold=0.8,every=1",
    "Certaindex .7 every 5": "certaindex-every",
    "ASC-Beta .99": "beta:confidence=0.99",
    "ESC w=5": "esc",
    "BoInf B=1000": "boinf:factor=1000",
    "Certaindex .8 every 5": "certaindex-every:threshold=0.8",
    "ESC w=8": "esc:window=8",
    "lossless": "lossless",
}
"""The published rules, under the names that their authors use."""

CAP = 40


def macro(found: Study) -> list[dict[str, Any]]:
    """A row for each arm: the mean over sets and models, and the worst of them."""
    groups = list(dict.fromkeys(found.groups))
    by_group = [found.rows(group) for group in groups]
    return [_row([rows[i] for rows in by_group]) for i in range(len(found.arms))]


def _row(rows: Sequence[StudyRow]) -> dict[str, Any]:
    differences = [100 * (row["difference"] or 0.0) for row in rows]

    def mean(key: str, factor: float = 1.0) -> float:
        values = [float(dict(row)[key]) for row in rows]  # type: ignore[arg-type]
        return factor * statistics.mean(values)

    return {
        "rule": rows[0]["policy"],
        "in flight": rows[0]["window"],
        "right": f"{mean('accuracy', 100):.1f}",
        "difference": f"{statistics.mean(differences):+.2f}",
        "worst": f"{min(differences):+.1f}",
        "samples": f"{mean('samples'):.1f}",
        "tokens, %": f"{mean('spent', 100):.1f}",
        "same, %": f"{mean('agreement', 100):.1f}",
        "latency": f"{mean('slowdown'):.2f}x",
    }


def _study(
    recorded: Sequence[Recorded], policies: dict[str, Rule], windows: Sequence[int], shuffles: int
) -> Study:
    with Progress(transient=True) as progress:
        task = progress.add_task("replaying", total=len(policies) * len(windows))
        return study(
            recorded,
            policies,
            windows=windows,
            cap=CAP,
            shuffles=shuffles,
            on_arm=lambda arm: progress.update(task, advance=1, description=arm.policy),
        )


def rules(recorded: Sequence[Recorded], shuffles: int) -> list[dict[str, Any]]:
    """Every rule, one sample at a time."""
    policies = {name: read_policy(spec) for name, spec in RULES.items()}
    rows = macro(_study(recorded, policies, [1], shuffles))
    return [{key: row[key] for key in row if key not in {"in flight", "latency"}} for row in rows]


def windows(recorded: Sequence[Recorded], shuffles: int) -> list[dict[str, Any]]:
    """Beta in wider and wider windows."""
    wide = [1, 2, 4, 6, 8, 12, 16, 24, 40]
    found = macro(_study(recorded, {"SC@40": Fixed(), "beta": read_policy("beta")}, wide, shuffles))
    return [row for row in found if row["rule"] == "beta"]


def speed(recorded: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Programs a second, replayed and through the live graph."""
    some = recorded[:200]
    found = []
    for name in ("fixed", "beta", "certaindex", "esc", "dirichlet"):
        policies = {name: read_policy(name)}
        started = time.perf_counter()
        arms = study(some, policies, windows=[8], cap=CAP, shuffles=10).arms
        fast = len(some) * 10 * len(arms) / (time.perf_counter() - started)
        started = time.perf_counter()
        run_virtual(_live(some[:40], name))
        slow = 40 / (time.perf_counter() - started)
        found.append(
            {
                "policy": name,
                "replayed a second": f"{fast:,.0f}",
                "live graph": f"{slow:,.0f}",
                "ratio": f"{fast / slow:.0f}",
            }
        )
    return found


async def _live(recorded: Sequence[Recorded], policy: str) -> None:
    async with ReplayEngine(recorded) as engine:
        runner = Runner(
            "self_consistency",
            engine=engine,
            policy=policy,
            branches=CAP,
            budget={"concurrency": 8},
            sampling={"max_tokens": 10**6},
        )
        asked = [Question(id=row.id, text=row.question or row.id) for row in recorded]
        async with aclosing(runner.run(asked)) as results:
            async for _ in results:
                pass


def main() -> None:
    """Read the arguments, replay, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--part", choices=["rules", "windows", "speed", "allocation"])
    parser.add_argument("--shuffles", type=int, default=10)
    parser.add_argument("--json", action="store_true", dest="json_out")
    args = parser.parse_args()
    files = args.files or [recording_path("abacus-test", "direct")]
    recorded = [row for file in files for row in read_recording(file)]
    recorded = [row for row in recorded if len(row.samples) >= CAP]
    parts = [args.part] if args.part else ["rules", "windows", "speed", "allocation"]
    for part in parts:
        if part == "speed":
            rows = speed(recorded)
        elif part == "allocation":
            rows = allocation(recorded, args.shuffles, bundled=not args.files)
        else:
            rows = {"rules": rules, "windows": windows}[part](recorded, args.shuffles)
        show(f"{part}: {len(recorded):,} questions", rows, json_out=args.json_out)


if __name__ == "__main__":
    main()
