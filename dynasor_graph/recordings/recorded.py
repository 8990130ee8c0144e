"""Recorded: questions with many samples each, as values and as a file of JSON lines.

A recording is JSON lines, gzipped where the name ends in `.gz`; a line is one question:

    {"id", "dataset", "model", "temperature", "question", "gold",
     "samples": [{"answer", "tokens", "correct", "logprob"?, "reward"?, "seconds"?, "confidence"?,
                  "probes"?: [{"tok", "pred", "p"?}]}]}

`answer` is null where a sample gave none; within a question equal answers are spelled equally.
`logprob` is the mean per token. `tok` counts the tokens of thought before a probe, `pred` is what it
answered, `p` how probable that was.
`confidence` is that of its tokens, as `confidence.Confidence` writes it.
Files of other people may lack all but `id` and `samples`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dynasor_graph.confidence import Confidence
from dynasor_graph.errors import InputError
from dynasor_graph.types import JSON

__all__ = ["Probed", "Recorded", "Sample", "lines_of", "read_lines", "write_recording"]


class Probed(NamedTuple):
    """One forced answer: tokens of thought before it, what it was, and its probability if known."""

    at: int
    answer: str | None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a question.

    Attributes:
        answer: What it answered; None if nothing.
        tokens: How many tokens were generated for it, without its probes; None if that is not known.
        correct: Whether it is right; None without gold.
        logprob: Mean log-probability of its tokens; None if it was not recorded.
        probes: Its probes, in order.
        reward: What a reward model said of it, in [0, 1]; None if none was asked.
        seconds: How long it took; None if it was not recorded.
        confidence: How sure the model was of its tokens; None if it was not recorded.
    """

    answer: str | None
    tokens: int | None
    correct: bool | None = None
    logprob: float | None = None
    probes: tuple[Probed, ...] = ()
    reward: float | None = None
    seconds: float | None = None
    confidence: Confidence | None = None

    def to_json(self) -> JSON:
        """The sample in a line of a recording; what it lacks is left out."""
        row: JSON = {"answer": self.answer, "tokens": self.tokens, "correct": self.correct}
        for name in ("logprob", "reward", "seconds"):
            value = getattr(self, name)
            if value is not None:
                row[name] = round(value, 4) + 0.0  # never -0.0
        if self.confidence is not None:
            row["confidence"] = self.confidence.to_json()
        if self.probes:
            row["probes"] = [
                {"tok": at, "pred": answer} | ({} if p is None else {"p": p})
                for at, answer, p in self.probes
            ]
        return row

    @classmethod
    def from_json(cls, row: JSON, gold: str | None = None) -> Sample:
        """Read what `to_json` wrote; where the field `correct` is missing, `gold` decides.

        Raises:
            KeyError: It lacks a field.
            ValueError: A field holds what it may not; says which.
        """
        answer = _text(row, "answer", row["answer"])
        correct = _typed(row, "correct", bool)
        if "correct" not in row and gold is not None:
            correct = answer == gold
        reward = _number(row, "reward")
        if reward is not None and not 0 <= reward <= 1:
            raise ValueError(f"'reward' must be in [0, 1], got {reward}")
        tokens = row["tokens"]
        if tokens is not None and (not isinstance(tokens, int) or tokens < 0):
            raise ValueError(f"'tokens' must be a whole number of at least 0, got {tokens!r}")
        return cls(
            answer=answer,
            tokens=tokens,
            correct=correct,
            logprob=_number(row, "logprob"),
            probes=tuple(
                Probed(probe["tok"], _text(probe, "pred", probe["pred"]), _number(probe, "p"))
                for probe in row.get("probes") or ()
            ),
            reward=reward,
            seconds=_number(row, "seconds"),
            confidence=Confidence.from_json(sure) if (sure := row.get("confidence")) else None,
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
            ValueError: A field holds what it may not; says which.
        """
        gold = _text(row, "gold", row.get("gold"))
        return cls(
            id=str(row["id"]),
            samples=tuple(Sample.from_json(sample, gold) for sample in row["samples"]),
            dataset=row.get("dataset") or "",
            model=row.get("model") or "",
            temperature=_number(row, "temperature"),
            question=row.get("question"),
            gold=gold,
        )


def _text(row: JSON, name: str, value: Any) -> str | None:
    # A number is how some people write an answer that is one.
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{name!r} must be a text or null, got {value!r}")


def _typed(row: JSON, name: str, kind: type[bool]) -> bool | None:
    value = row.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise ValueError(f"{name!r} must be true, false or null, got {value!r}")


def _number(row: JSON, name: str) -> float | None:
    value = row.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError(f"{name!r} must be a number or null, got {value!r}")


def read_lines(path: Path) -> list[Recorded]:
    """Read a recording, whatever its size.

    Raises:
        InputError: A line of it is no question with samples.
    """
    found = []
    for number, line in enumerate(lines_of(path), start=1):
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


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked where its name ends in `.gz`.

    Raises:
        InputError: There is no such file, or it is not what its name says.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path}: not a whole gzip file: {error}") from None
