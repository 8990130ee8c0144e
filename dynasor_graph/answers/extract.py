r"""Extraction: the answer a text ends with: `\boxed{}`, "the answer is", or the last number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal, assert_never

from dynasor_graph.answers.normal import normalise

__all__ = ["Extraction", "extract_answer", "last_block", "probed_answer"]

Extraction = Literal["auto", "boxed", "phrase", "number", "text", "code"]
"""Where a task's answers stand. `auto` tries boxed, then phrase, then number; `text` takes all
of the text, after the thinking; `code` takes the last fenced block."""

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_PHRASE = re.compile(r"\banswer\s*(?:is\b|:|=)\s*:?\s*", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?!\w|[./]\d)")


def _unclosed(text: str) -> int | None:
    """Index of the first `}` that closes more than `text` opened, or None."""
    depth = 0
    skip = False
    for at, char in enumerate(text):
        if skip:
            skip = False
        elif char == "\\":
            skip = True  # an escaped brace is text
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth < 0:
                return at
    return None


def probed_answer(response: str) -> str | None:
    r"""The answer in a response to a probe that ends in `\boxed{`: the text up to its closing brace.

    Returns:
        None if the brace never closes or nothing stands before it (`\text{}` is nothing, too).
    """
    end = _unclosed(response)
    return response[:end].strip() if end and normalise(response[:end]) else None


def _boxed(text: str) -> str | None:
    for opening in reversed(list(_BOXED.finditer(text))):
        answer = probed_answer(text[opening.end() :])
        if answer:
            return answer
    return None


def _phrase(text: str) -> str | None:
    for phrase in reversed(list(_PHRASE.finditer(text))):
        line = text[phrase.end() :].partition("\n")[0]
        sentence = re.split(r"\.(?:\s|$)", line, maxsplit=1)[0]
        answer = _boxed(sentence) or sentence.strip(" \t*$`\"'.:")
        if normalise(answer):
            return answer
    return None


def _number(text: str) -> str | None:
    found = _NUMBER.findall(text)
    return found[-1] if found else None


def _text(text: str) -> str | None:
    return text.strip() or None


_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)


def last_block(text: str) -> str | None:
    """What stands in the last fenced block that was closed; None if there is none, or nothing in it."""
    blocks = _FENCE.findall(text)
    return blocks[-1][1] if blocks and blocks[-1][1].strip() else None


def _sources(kind: Extraction, finished: bool) -> Iterator[Callable[[str], str | None]]:
    match kind:
        case "boxed":
            yield _boxed
        case "phrase":
            yield _phrase
        case "number":
            yield _number
        case "text":
            yield _text
        case "code":
            yield last_block
        case "auto":
            yield _boxed
            yield _phrase
            if finished:
                # In a text that was cut, the last number is some step on the way.
                yield _number
        case _:
            assert_never(kind)


def extract_answer(text: str, kind: Extraction = "auto", *, finished: bool = True) -> str | None:
    r"""The answer that `text` gives, or None.

    The last one counts. Where a reasoning block is closed by `</think>`, what follows it counts
    first.

    Args:
        text: A branch's text.
        kind: Where this task's answers stand.
        finished: Whether the text came to its own end; if not, `auto` does not take a bare number.
    """
    _, closed, after = text.rpartition("</think>")
    for part in (after, text) if closed else (text,):
        for source in _sources(kind, finished):
            if answer := source(part):
                return answer
    return None
