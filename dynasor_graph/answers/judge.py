"""Judge: two answers are the same if the engine itself says so, in one token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from dynasor_graph.answers.equivalence import Kind
from dynasor_graph.errors import ConfigError

__all__ = ["Judge"]

_PROMPT = """\
Question: {question}

Answer A: {a}
Answer B: {b}

Do answer A and answer B mean the same? Reply with one word: yes or no."""


class Judge(Kind):
    """Free text, equal where the engine says "yes" and is sure enough of it.

    Each answer is compared once with the first of each class, all in one batch; what that costs is on
    the program's ledger. An answer goes to the class of the surest yes, so the order of arrival may
    tell. What is neither yes nor no counts as no.
    """

    kind: Literal["judge"] = "judge"
    prompt: str = Field(_PROMPT, description="with {a} and {b}, and perhaps {question}")
    threshold: float = Field(0.5, gt=0, lt=1, description="least probability of the word yes")
    fragile: float = Field(0.1, ge=0, le=1, description="so close to the threshold it is fragile")

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, value: str) -> str:
        try:
            asked = value.format(question="", a="{first}", b="{second}")
        except (KeyError, IndexError, ValueError):
            asked = ""
        if "{first}" not in asked or "{second}" not in asked:
            raise ValueError("must have {a} and {b} in it, and no other braces than {question}")
        return value

    @property
    def order_free(self) -> bool:
        """It is not: a model's opinion is no equality."""
        return False

    @property
    def margin(self) -> float:
        """As it was set."""
        return self.fragile

    async def form(self, answer: str) -> str | None:
        """The words in lower case; None if there are none."""
        return " ".join(answer.split()).casefold() or None

    def differs(self, a: str, b: str) -> bool | None:
        """Does not say."""
        return None

    async def compare(self, form: str, classes: Sequence[Sequence[Any]]) -> Sequence[float]:
        """It has no engine to ask.

        Raises:
            ConfigError: Always: a program asks its own engine instead.
        """
        raise ConfigError(
            "answers: the kind 'judge' asks the engine of a program, and there is none here: run it "
            "in a graph, or take another kind"
        )

    def ask(self, question: str, a: str, b: str) -> str:
        """What the engine is asked of two answers; the same in whatever order they come."""
        a, b = sorted((a, b))
        return self.prompt.format(question=question, a=a, b=b)

    def sure(self, said: str, logprob: float | None) -> float | None:
        """The probability of "yes" in what the engine said, in [0, 1].

        Args:
            said: One token, greedily drawn.
            logprob: Its log-probability; None counts as certain.

        Returns:
            None if it is neither yes nor no.
        """
        word = said.strip(" \n\t.,!*\"'").casefold()
        chance = 1.0 if logprob is None else math.exp(min(0.0, logprob))
        if word and ("yes".startswith(word) or word.startswith("yes")):
            return chance
        if word and ("no".startswith(word) or word.startswith("no")):
            return 1.0 - chance
        return None
