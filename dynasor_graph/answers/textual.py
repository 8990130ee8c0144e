"""Textual answers: the same spelling, or the same letter of a multiple choice."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.answers.normal import normalise

__all__ = ["Choice", "Exact"]


class Exact(Kind):
    """Equal as they are written, but for space around and between words."""

    kind: Literal["exact"] = "exact"
    case: bool = Field(True, description="whether upper and lower case differ")

    async def form(self, answer: str) -> str | None:
        """The words; None if there are none."""
        words = " ".join(answer.split())
        return (words if self.case else words.casefold()) or None


_CHOICE = re.compile(
    r"(?:the )?(?:correct |right |final )?(?:option|choice|answer)?(?: is)?[\s:]*"
    r"(?:[(\[]\s*(?P<bracketed>[a-z])\s*[)\]]|(?P<plain>[a-z])(?=[.):,]|$))[.):,]?(?:\s.*)?",
    re.DOTALL,
)


class Choice(Kind):
    """One of a few letters: `B`, `(b)`, `B.`, `B) because ...`, `option B` are the same answer."""

    kind: Literal["choice"] = "choice"
    letters: str = Field("ABCDE", min_length=2, pattern="^[A-Za-z]+$", description="to choose from")

    async def form(self, answer: str) -> str | None:
        """The letter; None if there is not exactly one, or it is none to choose from."""
        found = _CHOICE.fullmatch(normalise(answer.replace("*", "")))
        letter = (found["bracketed"] or found["plain"]) if found else ""
        return letter if letter and letter in self.letters.casefold() else None
