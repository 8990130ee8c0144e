"""Late: what a branch that has taken long is worth, against a new one: should it be ended?

    python -m benchmarks.late [FILE ...] [--json]

A branch that has come to `age` times the mean length of its question's samples has a chance to be right,
and so many tokens before it. `factor` is its chance for each further token, over a new branch's: above 1
it is better to let it go on than to start another in its place. By default the bundled samples; `late`
is the share of samples that get so old. Ages that fewer than 200 samples reach are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import show
from dynasor_graph.abacus import recording_path
from dynasor_graph.recordings import Recorded, read_recording
from dynasor_graph.replay.study import group_of

AGES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
ENOUGH = 200


def rows(name: str, recorded: Sequence[Recorded]) -> Iterator[dict[str, Any]]:
    """A row for each age."""
    known = [[s for s in row.samples if s.tokens and s.correct is not None] for row in recorded]
    known = [samples for samples in known if samples]
    age = np.concatenate(
        [
            np.array([s.tokens for s in samples]) / np.mean([s.tokens or 0 for s in samples])
            for samples in known
        ]
    )
    right = np.array([bool(s.correct) for samples in known for s in samples], dtype=float)
    for at in AGES:
        late = age > at
        if late.sum() < ENOUGH:
            return
        left = (age[late] - at).mean()
        yield {
            "recording": name,
            "age": f"{at:g}",
            "late, %": f"{100 * late.mean():.1f}",
            "right, %": f"{100 * right[late].mean():.1f} of {100 * right.mean():.1f}",
            "left, of a mean": f"{left:.2f}",
            "factor": f"{right[late].mean() / right.mean() / left:.2f}",
        }


def main() -> None:
    """Read the arguments, count, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true", dest="json_out")
    args = parser.parse_args()
    files = args.files or [recording_path("abacus-test", kind) for kind in ("direct", "think")]
    found: list[dict[str, Any]] = []
    for file in files:
        groups: dict[str, list[Recorded]] = {}
        for row in read_recording(file):
            groups.setdefault(group_of(row), []).append(row)
        for name, recorded in groups.items():
            kind = file.name.split(".")[1]
            found += rows(name if args.files else f"{name} · {kind}", recorded)
    show("A late branch against a new one", found, json_out=args.json_out)


if __name__ == "__main__":
    main()
