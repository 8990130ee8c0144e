"""Late: what a branch that has taken long is worth, against a new one: should it be ended?

    python -m benchmarks.late [FILE ...] [--replay] [--json]

A branch that has come to `age` times the mean length of its question's samples has a chance to be right,
and so many tokens before it. `factor` is its chance for each further token, over a new branch's: above 1
it is better to let it go on than to start another in its place. By default the bundled samples; `late`
is the share of samples that get so old. Ages that fewer than 200 samples reach are left out.

With `--replay` the policy `value` is fitted on every other question (votes alone) and replayed on the
others, with and without ending late branches: the smallest share of the tokens at which, at some price,
so many points are lost.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import show
from benchmarks.value import PRICES, cheapest
from dynasor_graph.abacus import recording_path
from dynasor_graph.calibration import candidates_of, fit_value
from dynasor_graph.recordings import Recorded, read_recording
from dynasor_graph.replay.study import group_of

AGES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
ENOUGH = 200
CAP = 40


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


def replayed(name: str, recorded: Sequence[Recorded]) -> Iterator[dict[str, Any]]:
    """A row with late branches ended, and one without; none where the fit ends none."""
    whole = [
        replace(row, samples=tuple(s for s in row.samples if s.tokens)[:CAP]) for row in recorded
    ]
    whole = [row for row in whole if len(row.samples) == CAP]
    fitted = fit_value(whole[::2], ("votes",), shuffles=3)
    if not fitted.ages:
        return
    for ends, base in (("", fitted.model_copy(update={"ages": ()})), ("yes", fitted)):
        swept = candidates_of(base, "price", PRICES)
        rules = {key: rule for key, (_, rule) in swept.items()}
        yield {"recording": name, "ends late": ends, **cheapest(whole[1::2], rules, 1, 5)}


def main() -> None:
    """Read the arguments, count, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--replay", action="store_true", help="what the policy value makes of it")
    parser.add_argument("--json", action="store_true", dest="json_out")
    args = parser.parse_args()
    files = args.files or [recording_path("abacus-test", kind) for kind in ("direct", "think")]
    found: list[dict[str, Any]] = []
    made = replayed if args.replay else rows
    for file in files:
        groups: dict[str, list[Recorded]] = {}
        for row in read_recording(file):
            groups.setdefault(group_of(row), []).append(row)
        for name, recorded in groups.items():
            kind = file.name.split(".")[1]
            found += made(name if args.files else f"{name} · {kind}", recorded)
    show("A late branch against a new one", found, json_out=args.json_out)


if __name__ == "__main__":
    main()
