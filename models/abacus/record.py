"""Record samples of the project's data sets, to replay policies on.

python -m models.abacus.record shards --out runs/record --parts 4
dynasor-graph run runs/record/direct-0.jsonl -o runs/record/direct-0.results.jsonl ...
python -m models.abacus.record pack runs/record/*.trace.jsonl --out runs/record

`shards` writes the questions of both sets: for direct answers each question once (a run draws its
branches), for reasoning traces each question as often as it is to be answered. `pack` makes one
recording for each data set and kind of the traces that the runs wrote. The model card has the whole
sequence of commands.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from dynasor_graph.abacus import DATASETS, dataset
from dynasor_graph.errors import DynasorError, InputError
from dynasor_graph.recordings import Recorded, from_trace, write_recording
from models.abacus import options

_COPY: Final = "#"
"""Stands in the id of a question that is asked several times, before the number of the copy."""


def shards(args: argparse.Namespace) -> None:
    """Write the questions, dealt out to as many files as there are engines."""
    args.out.mkdir(parents=True, exist_ok=True)
    direct = [row for name in DATASETS for row in _rows(name, 1)]
    copies = {"abacus-test": args.test_traces, "abacus-calibration": args.calibration_traces}
    think = [row for name in DATASETS for row in _rows(name, copies[name])]
    for kind, rows, parts in (("direct", direct, args.parts), ("think", think, args.think_parts)):
        for part in range(parts):
            lines = [json.dumps(row) for row in rows[part::parts]]
            path = args.out / f"{kind}-{part}.jsonl"
            path.write_text("\n".join(lines) + "\n")
            print(f"{path}: {len(lines)} questions")


def _rows(name: str, copies: int) -> Iterator[dict[str, str]]:
    # Copy by copy: a run that is cut short has as many samples of each question.
    for copy in range(copies):
        for one in dataset(name):
            mark = f"{_COPY}{copy}" if copies > 1 else ""
            yield {"id": f"{name}/{one.id}{mark}", "question": one.question, "answer": one.answer}


def pack(args: argparse.Namespace) -> None:
    """Gather the samples in traces, and write them by data set and kind."""
    found: dict[tuple[str, str], dict[str, list[tuple[int, Recorded]]]] = {}
    for path in args.traces:
        kind = path.name.partition("-")[0]
        for program, recorded in from_trace(path):
            name, question, copy = _origin(path, program)
            # How long a sample took says something of the recording host alone.
            samples = tuple(replace(sample, seconds=None) for sample in recorded.samples)
            recorded = replace(recorded, samples=samples)
            copies = found.setdefault((name, kind), {}).setdefault(question, [])
            copies.append((copy, recorded))
    args.out.mkdir(parents=True, exist_ok=True)
    for (name, kind), questions in sorted(found.items()):
        rows = []
        for one in dataset(name):
            in_order = [recorded for _, recorded in sorted(questions.get(one.id, []), key=_copy)]
            if in_order:
                samples = tuple(sample for recorded in in_order for sample in recorded.samples)
                rows.append(replace(in_order[0], id=one.id, dataset=name, samples=samples))
        path = args.out / f"{name}.{kind}.jsonl.gz"
        write_recording(path, rows)
        counts = sorted(len(row.samples) for row in rows)
        print(
            f"{path}: {len(rows)} questions, {counts[0]} to {counts[-1]} samples each, "
            f"{path.stat().st_size / 1e6:.2f} MB"
        )


def _origin(trace: Path, program: str) -> tuple[str, str, int]:
    """The data set, the question and the number of the copy that `shards` made a program's id of."""
    name, _, rest = program.partition("/")
    question, _, copy = rest.partition(_COPY)
    if name not in DATASETS or question not in _ids(name) or not (copy or "0").isdecimal():
        raise InputError(f"{trace}: {program} is no question that shards wrote")
    return name, question, int(copy or 0)


@cache
def _ids(name: str) -> frozenset[str]:
    return frozenset(one.id for one in dataset(name))


def _copy(pair: tuple[int, Recorded]) -> int:
    return pair[0]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=options.first_line(__doc__))
    commands = parser.add_subparsers(required=True, metavar="shards|pack")
    one = commands.add_parser("shards", help="write the questions")
    one.add_argument("--out", type=Path, required=True, help="folder for the questions")
    options.add_defaulted(
        one,
        ("--parts", options.positive_int, 1, "files for direct answers, one for each engine"),
        ("--think-parts", options.positive_int, 1, "files for reasoning traces"),
        ("--test-traces", options.positive_int, 40, "reasoning traces of each test question"),
        ("--calibration-traces", options.positive_int, 40, "the same for calibration"),
    )
    one.set_defaults(command=shards)
    two = commands.add_parser("pack", help="make recordings of the traces")
    two.add_argument("traces", type=Path, nargs="+", help="traces that the runs wrote")
    two.add_argument("--out", type=Path, required=True, help="folder for the recordings")
    two.set_defaults(command=pack)
    return parser.parse_args(words)


def main() -> None:
    """Record from the command line."""
    args = parse()
    try:
        args.command(args)
    except (DynasorError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
