"""Questions: what a run is asked, read from JSON lines: `{"id", "question", "answer"?}`."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dynasor_graph.errors import InputError
from dynasor_graph.types import Message, last_asked

__all__ = ["Question", "read_questions"]

TEXT = ("question", "prompt", "problem")
GOLD = ("answer", "gold", "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a run.

    Attributes:
        id: Names the program in results and traces; unique in a run.
        text: What is asked.
        gold: The right answer, where it is known.
        chat: The messages that ask it, where it is a part of a conversation; else its text alone does.
        fields: What else is known of it. The kind of its answers may take settings from there
            (`numbers`, say), and the field `answer_kind` gives it a kind of its own.
    """

    id: str
    text: str
    gold: str | None = None
    chat: tuple[Message, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, chat: Sequence[Message], *, name: str, gold: str | None = None) -> Self:
        """The question that a conversation ends with.

        Raises:
            InputError: No user has asked anything in it.
        """
        return cls(id=name, text=last_asked(chat), gold=gold, chat=tuple(chat))

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError(f"question {self.id!r} is empty")


def read_questions(path: Path | str) -> tuple[list[Question], list[str]]:
    """Read a file of questions.

    A line is a JSON object with `question` (or `prompt`, `problem`), and optionally `id` (default:
    the line's number) and `answer` (or `gold`, `target`); what else it has becomes `Question.fields`.
    Blank lines are passed over.

    Returns:
        The questions, and for each line that is none a message with its number: the rest still run.

    Raises:
        InputError: There is no such file, or not one line of it is a question.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    questions: dict[str, Question] = {}
    broken: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            question = _read(line, number)
            if question.id in questions:
                raise InputError(f"the id {question.id!r} was used before")
        except InputError as error:
            broken.append(f"{path}:{number}: {error}")
        else:
            questions[question.id] = question
    if not questions:
        raise InputError("; ".join([f"{path}: no question in it", *broken[:3]]))
    return list(questions.values()), broken


def _lines(path: Path) -> list[bytes]:
    """As bytes: text would also be split at U+2028, which may stand in a JSON string as it is."""
    return path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()


def _read(line: bytes, number: int) -> Question:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(row, dict):
        raise InputError(f"not a JSON object, but {type(row).__name__}")
    text = _first(row, TEXT)
    if not isinstance(text, str):
        raise InputError(
            f"no field 'question' with a text in it; it has {', '.join(row) or 'none'}"
        )
    gold = _first(row, GOLD)
    used = {"id", *TEXT, next((name for name in GOLD if row.get(name) is not None), "")}
    return Question(
        id=str(number if row.get("id") is None else row["id"]),
        text=text,
        gold=None if gold is None else str(gold),
        fields={key: value for key, value in row.items() if key not in used and value is not None},
    )


def _first(row: dict[str, object], names: Iterable[str]) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)
