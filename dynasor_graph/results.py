"""Results: what a program came to, and the file of JSON lines that a run appends them to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from dynasor_graph.budget import Usage
from dynasor_graph.errors import InputError, ResumeMismatch
from dynasor_graph.trace import cut_torn_line
from dynasor_graph.types import JSON, StopReason

__all__ = ["Result", "ResultsFile", "fingerprint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one program came to.

    Attributes:
        id: The question's id.
        question: The question.
        answer: The answer, or None if no branch gave one.
        text: The text that the answer was taken from.
        certaindex: How settled it was, 0 to 1.
        stop_reason: Why the program ended; None if it failed.
        usage: Tokens spent, each kind apart.
        rounds: Rounds (graph nodes that sampled).
        branches: How many branches were started.
        decision: The policy's last decision, with its evidence.
        latency_s: Seconds from the question to the answer.
        queued_s: Seconds that the scheduler held its requests back, summed up over them.
        gold: The right answer, where it is known.
        correct: Whether `answer` equals `gold`; None without gold.
        error: Why the program failed; None if it did not.
    """

    id: str
    question: str
    answer: str | None = None
    text: str = ""
    certaindex: float = 0.0
    stop_reason: StopReason | None = None
    usage: Usage = field(default_factory=Usage)
    rounds: int = 0
    branches: int = 0
    decision: JSON | None = None
    latency_s: float = 0.0
    queued_s: float = 0.0
    gold: str | None = None
    correct: bool | None = None
    error: str | None = None

    @property
    def tokens_saved(self) -> int:
        """What stopping early saved against the cap, net: less than 0 where probes cost more than it.

        `decision.saved` (what is left of the knob, times this program's mean tokens of one step of it),
        less what was paid for it: probes, branches that were stopped half-way, and those that came to
        their end after the decision.
        """
        return self.usage.saved_by(self.decision)

    def to_json(self) -> JSON:
        """The row in a results file."""
        return {
            "id": self.id,
            "question": self.question,
            "gold": self.gold,
            "answer": self.answer,
            "correct": self.correct,
            "certaindex": round(self.certaindex, 6),
            "stop_reason": self.stop_reason and self.stop_reason.value,
            "net_tokens": self.usage.net,
            "gross_tokens": self.usage.gross,
            "usage": self.usage.lines(),
            "branches": self.branches,
            "rounds": self.rounds,
            "latency_s": round(self.latency_s, 4),
            "queued_s": round(self.queued_s, 4),
            "decision": self.decision,
            "error": self.error,
            "text": self.text,
        }

    @classmethod
    def from_json(cls, row: JSON) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError: The row is no result.
        """
        reason = row["stop_reason"]
        return cls(
            id=row["id"],
            question=row["question"],
            answer=row["answer"],
            text=row["text"],
            certaindex=row["certaindex"],
            stop_reason=StopReason(reason) if reason else None,
            usage=Usage.from_json(row["usage"]),
            rounds=row["rounds"],
            branches=row["branches"],
            decision=row["decision"],
            latency_s=row["latency_s"],
            queued_s=row.get("queued_s", 0.0),  # not there in files of earlier versions
            gold=row["gold"],
            correct=row["correct"],
            error=row["error"],
        )


def fingerprint(settings: JSON) -> str:
    """A short name for a run's settings: equal settings, equal name."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


class ResultsFile:
    """Appends results to a file as they come, and knows which questions it has already.

    Args:
        path: The file.
        run: The run's settings; each row carries their fingerprint, so that a file never mixes runs.
        resume: Continue a file that is there.

    Raises:
        InputError: The file is there and `resume` is not set, or it holds something else.
        ResumeMismatch: The file was written by a run with other settings.
    """

    def __init__(self, path: Path | str, run: JSON, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.run = fingerprint(run)
        self.done: list[Result] = []
        self.settings = run
        self._file: IO[str] | None = None
        if self.path.exists() and self.path.stat().st_size:
            if not resume:
                raise InputError(
                    f"{self.path} is there already: continue it with --resume, or name another file"
                )
            cut_torn_line(self.path)
            self.done = [r for r in self.all() if r.error is None]

    def all(self) -> list[Result]:
        """What the file holds now, the newest of each question, failed ones too."""
        return list(self._read()) if self.path.exists() else []

    def _read(self) -> Sequence[Result]:
        found: dict[str, Result] = {}
        for number, line in enumerate(self.path.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)
                run, result = row["run"], Result.from_json(row)
            except (KeyError, TypeError, ValueError):
                raise InputError(f"{self.path}:{number}: not a result of a run") from None
            if run != self.run:
                raise ResumeMismatch(
                    f"{self.path} belongs to another run ({run}; this one is {self.run}: "
                    f"{_short(self.settings)}): name another file, or repeat that run's settings"
                )
            found[result.id] = result
        return list(found.values())

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, result: Result) -> None:
        """Append one result."""
        if self._file is None:
            raise ValueError("the file is closed: use it inside `with`")
        row = {"run": self.run, **result.to_json()}
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()


def _short(settings: JSON) -> str:
    shown: dict[str, Any] = {
        k: settings[k] for k in ("algorithm", "model", "policy") if k in settings
    }
    return ", ".join(f"{key} {value}" for key, value in shown.items())
