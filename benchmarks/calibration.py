"""Calibration: how often a certified bound is exceeded, over many random splits.

    python -m benchmarks.calibration [FILE ...] [--splits 200] [--max-loss 1] [--questions 1200] [--json]

The questions of the files (without one: all bundled direct answers) stand for everything there is, so
that the true loss of a policy is known: its mean over all of them. Each split draws questions from
them, with replacement, and calibrates Beta on these as `dynasor-graph calibrate` does, at 95 %
confidence: half of the draw orders the candidates, half certifies. The bound may be exceeded in 5 % of
the splits.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.output import show
from dynasor_graph.abacus import DATASETS, recording_path
from dynasor_graph.calibration import candidates_of, fixed_sequence, loss_p_value, losses
from dynasor_graph.policies import Beta
from dynasor_graph.recordings import Recorded, read_recording
from dynasor_graph.replay import study

CONFIDENCE = 0.95


def splits(
    recorded: Sequence[Recorded], count: int, questions: int, max_loss: float
) -> dict[str, Any]:
    """One row: how often nothing was certified, and how often the bound was exceeded."""
    rules = {name: rule for name, (_, rule) in candidates_of(Beta()).items()}
    base, *arms = study(recorded, rules, windows=[8], shuffles=3).arms
    lost = np.array([losses(base, arm, "right") for arm in arms])
    tokens = np.array([arm.tokens for arm in arms])
    true, rng = lost.mean(axis=1), np.random.default_rng(0)
    chosen: list[int | None] = []
    for _ in track(range(count), description="calibrating"):
        drawn = rng.integers(0, len(recorded), questions)
        fit, test = drawn[: questions // 2], drawn[questions // 2 :]
        order = np.argsort(-tokens[:, fit].sum(axis=1), kind="stable")
        p_values = [loss_p_value(lost[i, test].tolist(), max_loss, -1.0, 1.0) for i in order]
        passed = fixed_sequence(p_values, 1 - CONFIDENCE)
        chosen.append(int(order[passed - 1]) if passed else None)
    certified = [i for i in chosen if i is not None]
    exceeded = sum(true[i] > max_loss for i in certified)
    names = list(rules)
    usual = Counter(names[i] for i in certified).most_common(1)
    spent = tokens.sum(axis=1) / base.tokens.sum()
    return {
        "splits": count,
        "questions": questions,
        "certified": len(certified),
        "exceeded": int(exceeded),
        "exceeded, %": f"{100 * exceeded / count:.1f}",
        "most often": usual[0][0] if usual else "",
        "tokens, %": f"{100 * np.mean([spent[i] for i in certified]):.1f}" if certified else "",
    }


def main() -> None:
    """Read the arguments, calibrate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--questions", type=int, default=1200)
    parser.add_argument("--max-loss", type=float, default=1.0, help="points of 100")
    parser.add_argument("--json", action="store_true", dest="json_out")
    args = parser.parse_args()
    files = args.files or [recording_path(name, "direct") for name in DATASETS]
    recorded = [row for file in files for row in read_recording(file)]
    row = splits(recorded, args.splits, args.questions, args.max_loss / 100)
    title = f"a bound of {args.max_loss:g} points at {CONFIDENCE:.0%}, {len(recorded):,} questions"
    show(title, [row], json_out=args.json_out)


if __name__ == "__main__":
    main()
