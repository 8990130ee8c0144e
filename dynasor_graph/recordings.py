"""Recordings: many samples of many questions in one compact file, to replay policies on.

A recording is JSON lines, gzipped where the name ends in `.gz`; a line is one question:

    {"id", "dataset", "model", "temperature", "question", "gold",
     "samples": [{"answer", "tokens", "correct", "logprob"?, "probes"?: [{"tok", "pred"}]}]}

`answer` is null where a sample gave none. `logprob` is the mean per token. `tok` counts the tokens
of thought before a probe, `pred` is what it answered.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dynasor_graph.errors import InputError
from dynasor_graph.types import JSON

__all__ = ["Recorded", "Sample", "from_trace", "read_recording", "write_recording"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a question.

    Attributes:
        answer: What it answered; None if nothing.
        tokens: How many tokens were generated for it, without its probes.
        correct: Whether it is right; None without gold.
        logprob: Mean log-probability of its tokens; None if it was not recorded.
        probes: Tokens of thought and answer of each probe, in order.
    """

    answer: str | None
    tokens: int
    correct: bool | None = None
    logprob: float | None = None
    probes: tuple[tuple[int, str | None], ...] = ()

    def to_json(self) -> JSON:
        """The sample in a line of a recording; what it lacks is left out."""
        row: JSON = {"answer": self.answer, "tokens": self.tokens, "correct": self.correct}
        if self.logprob is not None:
            row["logprob"] = round(self.logprob, 4) + 0.0  # never -0.0
        if self.probes:
            row["probes"] = [{"tok": at, "pred": answer} for at, answer in self.probes]
        return row

    @classmethod
    def from_json(cls, row: JSON) -> Sample:
        """Read what `to_json` wrote.

        Raises:
            KeyError: It lacks a field.
        """
        return cls(
            answer=row["answer"],
            tokens=row["tokens"],
            correct=row["correct"],
            logprob=row.get("logprob"),
            probes=tuple((probe["tok"], probe["pred"]) for probe in row.get("probes", ())),
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """One question with its samples.

    Attributes:
        id: The question's id.
        samples: In the order in which they were drawn.
        dataset: The set it belongs to.
        model: Who answered.
        temperature: How random the samples are.
        question: Its text, where it may be shown.
        gold: The right answer, where it is known.
    """

    id: str
    samples: tuple[Sample, ...]
    dataset: str = ""
    model: str = ""
    temperature: float | None = None
    question: str | None = None
    gold: str | None = None

    def to_json(self) -> JSON:
        """The line of a recording."""
        return {
            "id": self.id,
            "dataset": self.dataset,
            "model": self.model,
            "temperature": self.temperature,
            "question": self.question,
            "gold": self.gold,
            "samples": [sample.to_json() for sample in self.samples],
        }

    @classmethod
    def from_json(cls, row: JSON) -> Recorded:
        """Read what `to_json` wrote.

        Raises:
            KeyError: It lacks a field.
        """
        return cls(
            id=str(row["id"]),
            samples=tuple(Sample.from_json(sample) for sample in row["samples"]),
            dataset=row.get("dataset") or "",
            model=row.get("model") or "",
            temperature=row.get("temperature"),
            question=row.get("question"),
            gold=row.get("gold"),
        )


def read_recording(path: Path | str) -> list[Recorded]:
    """Read a recording.

    Raises:
        InputError: There is no such file, or a line of it is no question with samples.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    found = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            found.append(Recorded.from_json(json.loads(line)))
        except KeyError as error:
            raise InputError(f"{path}:{number}: the field {error} is missing") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{path}:{number}: no question with samples: {error}") from None
    return found


def write_recording(path: Path | str, rows: Iterable[Recorded]) -> None:
    """Write a recording; the same rows give the same bytes."""
    path = Path(path)
    lines = [json.dumps(row.to_json(), separators=(",", ":"), ensure_ascii=False) for row in rows]
    data = "".join(line + "\n" for line in lines).encode()
    # No name and no time in the header: the file is compared and committed.
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def from_trace(path: Path | str) -> Iterator[tuple[str, Recorded]]:
    """The samples in a trace (see `trace`), one pass, whatever its size.

    Of an algorithm whose branches answer, each branch that was not stopped is a sample; of a chain
    of thought the whole program is one, with its probes.

    Yields:
        The name of each program that came to its end, and what it recorded.

    Raises:
        InputError: There is no such file, or a line of it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    running: dict[str, tuple[JSON, list[JSON]]] = {}
    for number, line in enumerate(_lines(path), start=1):
        try:
            event = json.loads(line)
            kind, name = event["event"], event.get("program")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}:{number}: no event of a trace: {error}") from None
        if kind == "program":
            running[name] = (event, [])
        elif kind in {"branch", "probe"} and name in running:
            running[name][1].append(event)
        elif kind == "result" and name in running:
            start, events = running.pop(name)
            if event.get("error") is None:
                yield name, _recorded(name, start, events, event)


def _recorded(name: str, start: JSON, events: list[JSON], result: JSON) -> Recorded:
    branches = [event for event in events if event["event"] == "branch"]
    if any(branch["answer"] is not None for branch in branches):
        branches.sort(key=lambda branch: branch["index"])
        gold = start.get("gold")
        samples = [
            Sample(
                branch["answer"],
                branch["tokens"],
                None if gold is None else branch["answer"] == gold,
                branch["logprob"],
            )
            for branch in branches
            if branch["finish"] != "terminated"
        ]
    else:
        samples = [_chain(branches, events, result)]
    return Recorded(
        id=name,
        samples=tuple(samples),
        model=start.get("model") or "",
        temperature=start["settings"]["sampling"]["temperature"],
        question=start.get("question"),
        gold=start.get("gold"),
    )


def _chain(branches: list[JSON], events: list[JSON], result: JSON) -> Sample:
    weights = [(b["logprob"], b["tokens"]) for b in branches if b["logprob"] is not None]
    tokens = sum(count for _, count in weights)
    return Sample(
        answer=result["answer"],
        tokens=result["usage"]["main"],
        correct=result["correct"],
        logprob=sum(mean * count for mean, count in weights) / tokens if tokens else None,
        probes=tuple((e["at"], e["answer"]) for e in events if e["event"] == "probe"),
    )


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        if path.suffix == ".gz":
            with gzip.open(file) as lines:
                yield from lines
        else:
            yield from file
