"""Workload: recorded questions as programs to be served, each with a deadline by its difficulty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dynasor_graph.abacus import RECORDED, recording_path
from dynasor_graph.errors import InputError
from dynasor_graph.recordings import Recorded, Sample, read_recording

__all__ = ["CAP", "Program", "Workload", "read_workload"]

CAP = 20
"""Branches of a program, as in the paper's online experiments."""
_PROMPT = 128
"""Tokens of a prompt; the recorded questions of other people have no texts."""


class Program(NamedTuple):
    """One program to be served.

    Attributes:
        row: Its question, asked by a text of its own, with `CAP` samples in random order.
        difficulty: 1 if all recorded samples are right, 3 if none is, else 2 (paper, appendix F).
    """

    row: Recorded
    difficulty: int


class Workload(NamedTuple):
    """Questions to draw programs from.

    Attributes:
        name: What it is called.
        rows: Questions with samples that have tokens, answers spelled as numbers unless a model
            is to answer.
    """

    name: str
    rows: tuple[Recorded, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest sample."""
        return max(sample.tokens or 0 for row in self.rows for sample in row.samples)

    def draw(self, count: int, seed: int, *, live: bool = False) -> list[Program]:
        """So many programs, questions with replacement, samples without.

        Args:
            count: How many.
            seed: Of what is drawn.
            live: The recorded questions as they are, for a model to answer.
        """
        rng = random.Random(seed)
        found = []
        for number in range(count):
            row = rng.choice(self.rows)
            right = [bool(sample.correct) for sample in row.samples]
            name = f"{number}/{row.id}"
            text = row.question if live else f"{name} ".ljust(4 * _PROMPT, ".")
            samples = tuple(rng.sample(row.samples, CAP))
            difficulty = 1 if all(right) else 2 if any(right) else 3
            found.append(Program(replace(row, id=name, question=text, samples=samples), difficulty))
        return found


def read_workload(
    name: str, model: str | None = None, most: int | None = None, *, live: bool = False
) -> Workload:
    """A bundled recording by its name, or a file.

    Args:
        name: Such as "abacus-test.direct", or a path.
        model: Keep rows of models whose name contains this.
        most: Leave out questions with samples that are longer, in tokens.
        live: Whether a model is to answer: then the gold answers stay.

    Raises:
        InputError: No question has enough samples.
    """
    dataset, _, kind = name.partition(".")
    bundled = kind in RECORDED.get(dataset, ())
    rows = read_recording(recording_path(dataset, kind) if bundled else Path(name))
    kept = tuple(
        row if live else _by_number(row)
        for row in rows
        if (model is None or model in row.model) and _usable(row.samples, most)
    )
    if not kept:
        raise InputError(f"{name}: no question has {CAP} samples with tokens and a verdict")
    short = name if bundled else Path(name).name.partition(".")[0]
    return Workload(f"{short} {model}" if model else short, kept)


def _usable(samples: Sequence[Sample], most: int | None) -> bool:
    # A sample without an answer has no verdict, and is not right.
    known = [s for s in samples if s.tokens and (s.correct is not None or s.answer is None)]
    fits = most is None or all((s.tokens or 0) <= most for s in known)
    return len(known) == len(samples) >= CAP and fits


def _by_number(row: Recorded) -> Recorded:
    """Answers as small numbers: equal ones stay equal, and nobody has to compare formulas."""
    numbers: dict[str, str] = {}
    gold = "0"
    samples = []
    for sample in row.samples:
        answer = sample.answer
        if answer is not None:
            answer = numbers.setdefault(answer, str(len(numbers) + 1))
            gold = answer if sample.correct else gold
        samples.append(replace(sample, answer=answer, correct=bool(sample.correct), probes=()))
    return replace(row, samples=tuple(samples), gold=gold)
