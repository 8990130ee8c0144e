"""Trace: what each program did, as JSON lines, one file a run: write and read.

The first line says `{"event": "trace", "schema": 1}`. Then come, interleaved as they happened, for
each program: `program` (question and settings), `branch`, `step`, `probe`, `decision`, `shadow`,
`answer`, `result`; `fragile`, where classes of answers hang on close calls; and `text`, pieces of the
branch that is shown, if `stream_tokens` asks for them.
Every line but the first names its program, and `t`, the seconds since that program began.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from dynasor_graph.errors import InputError
from dynasor_graph.types import JSON

__all__ = ["SCHEMA", "ProgramTrace", "TraceWriter", "read_trace"]

SCHEMA = 1

_LISTS = {
    "branch": "branches",
    "step": "steps",
    "probe": "probes",
    "decision": "decisions",
    "answer": "answers",
    "fragile": "warnings",
}
"""Kinds of events of which a program has many, and where `ProgramTrace` keeps them."""


class TraceWriter:
    """Appends events to a file, each flushed as it comes: a crash loses at most a part of a line.

    Args:
        path: The file; made if it is not there, else continued.
        clock: Seconds, for `t`.
    """

    def __init__(self, path: Path | str, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = Path(path)
        self._clock = clock
        self._began: dict[str, float] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists() or self.path.stat().st_size == 0
        if not is_new:
            cut_torn_line(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        if is_new:
            self._put({"event": "trace", "schema": SCHEMA})
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

    def write(self, event: JSON) -> None:
        """Append one event; it must name its program."""
        now = self._clock()
        program = event["program"]
        if event["event"] == "program":
            self._began[program] = now
        self._put({**event, "t": round(now - self._began.setdefault(program, now), 4)})

    def _put(self, row: JSON) -> None:
        if self._file is None:
            raise ValueError(
                "the trace is closed: use it inside `with TraceWriter(path) as trace:`"
            )
        self._file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._file.flush()


@dataclass(slots=True)
class ProgramTrace:
    """One program's events.

    Attributes:
        program: Its name.
        start: The `program` event: question, gold, algorithm, model, settings.
        branches: The `branch` events, in the order in which they finished.
        steps: The `step` events of a search, in order.
        probes: The `probe` events, in order.
        decisions: The `decision` events, in order.
        shadows: The `shadow` events, in order: what a policy that did not act would have stopped;
            of each policy the first, as a program that went on after a crash may say it again.
        answers: The `answer` events: what a stopped chain was made to say.
        warnings: The `fragile` events: comparisons of answers that came out near the threshold.
        result: The `result` event, or None if the run ended before.
    """

    program: str
    start: JSON = field(default_factory=dict)
    branches: list[JSON] = field(default_factory=list)
    steps: list[JSON] = field(default_factory=list)
    probes: list[JSON] = field(default_factory=list)
    decisions: list[JSON] = field(default_factory=list)
    shadows: list[JSON] = field(default_factory=list)
    answers: list[JSON] = field(default_factory=list)
    warnings: list[JSON] = field(default_factory=list)
    result: JSON | None = None

    def add(self, event: JSON) -> None:
        """Take in one event; a second `program` event starts the program anew (a resumed run)."""
        match event["event"]:
            case "program":
                self.__init__(self.program, start=event)  # type: ignore[misc]
            case "shadow":
                if event["policy"] not in (row["policy"] for row in self.shadows):
                    self.shadows.append(event)
            case "result":
                self.result = event
            case kind if kind in _LISTS:
                getattr(self, _LISTS[kind]).append(event)
            case _:
                pass  # written by a later version: old readers pass over what they do not know


def read_trace(path: Path | str) -> dict[str, ProgramTrace]:
    """Read a trace file: name of each program -> its events, in the order in which they began.

    Raises:
        InputError: The file is no trace, its schema is another, or a line cannot be read. A torn
            last line is passed over.
    """
    programs: dict[str, ProgramTrace] = {}
    for number, row in _rows(Path(path)):
        if number == 1:
            if row.get("event") != "trace":
                raise InputError(f"{path}: not a trace: the first line must be its header")
            if row.get("schema") != SCHEMA:
                raise InputError(
                    f"{path}: schema {row.get('schema')!r}; this version reads {SCHEMA}"
                )
            continue
        name = row.get("program")
        if not isinstance(name, str) or "event" not in row:
            raise InputError(f"{path}:{number}: an event needs the fields 'event' and 'program'")
        programs.setdefault(name, ProgramTrace(name)).add(row)
    return programs


def _rows(path: Path) -> Iterator[tuple[int, JSON]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as lines:  # a crash may tear a character, too
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:  # JSON or UTF-8
                if not line.endswith(b"\n"):
                    return  # torn by a crash
                raise InputError(f"{path}:{number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: not a JSON object")
            yield number, row


def cut_torn_line(path: Path) -> None:
    """Remove what a crash left of a last line, so that appending starts on a line of its own."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
