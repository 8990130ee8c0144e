r"""Script: recorded samples as tokens: which sample a token belongs to, and what a probe of it says.

Tokens of text hold four bytes each, about what a model's do; 0 parts the messages of a chat. Each
sample has two tokens of its own: one that its whole thought is made of, and one that says its answer.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dynasor_graph.recordings import Sample
from dynasor_graph.types import Message

__all__ = ["SAMPLES", "Known", "Reply", "Script", "asked", "chat", "text_of", "text_tokens"]

BOUNDARY = 0
WIDTH = 4
SAMPLES = 1 << 40
"""Sample n has the tokens SAMPLES + 2 n and SAMPLES + 2 n + 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is to be said, token by token.

    Attributes:
        total: Tokens, the end-of-text token included.
        filler: The token that it begins with, said as a dot.
        fillers: How often.
        tail: The tokens after that.
        texts: What each of the tail says.
    """

    total: int
    filler: int = 0
    fillers: int = 0
    tail: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()

    def part(self, start: int, end: int) -> tuple[tuple[int, ...], str]:
        """Ids and text of the tokens from `start` to before `end`; end of text has neither."""
        dots = max(0, min(end, self.fillers) - start)
        first, last = max(0, start - self.fillers), max(0, end - self.fillers)
        ids = (self.filler,) * dots + self.tail[first:last]
        return ids, "." * dots + "".join(self.texts[first:last])


class Reply(NamedTuple):
    """What a prompt is answered with.

    Attributes:
        script: What is said, from `start` on.
        speed: Tokens per second, where each request has a speed of its own.
        logprob: Mean log-probability of its tokens, if it was recorded.
        cached: Prompt tokens that were computed before, where nothing is ever forgotten.
    """

    script: Script
    start: int
    speed: float
    logprob: float | None
    cached: int

    def ids(self, start: int, end: int) -> tuple[int, ...]:
        """Ids of what is said, from one of its tokens to before another."""
        return self.script.part(self.start + start, self.start + end)[0]


@dataclass(frozen=True, slots=True)
class Known:
    """One recorded sample, ready to be said.

    Attributes:
        sample: It; its tokens are >= 1.
        number: Among all samples of the engine.
        speed: Its tokens per second.
        script: The whole of it.
    """

    sample: Sample
    number: int
    speed: float
    script: Script = field(init=False)

    def __post_init__(self) -> None:
        total, own = self.sample.tokens or 1, SAMPLES + 2 * self.number
        script = Script(
            total=total,
            filler=own,
            fillers=max(0, total - 2),  # the last two are the answer and the end of text
            tail=(own + 1,),
            texts=(self.said(),),
        )
        object.__setattr__(self, "script", script)

    def said(self) -> str:
        """What it says at its end. Only thought is probed, and thought has an end of its own."""
        return ("\n</think>\n" if self.sample.probes else "") + _boxed(self.sample.answer)

    def thought(self, tokens: Sequence[int]) -> int:
        """How many of its tokens are among these."""
        return tokens.count(self.script.filler) + tokens.count(self.script.filler + 1)

    def forced(self, thought: int, after: str) -> Script:
        r"""What it answers after so many tokens of thought: what its newest probe said.

        Args:
            thought: Tokens of it.
            after: The text that follows them. If it ends in `{`, that brace is closed; otherwise
                a `\boxed{}` is said.
        """
        newest = max(
            (probe for probe in self.sample.probes if probe.at <= thought),
            key=lambda probe: probe.at,
            default=None,
        )
        if newest is None or newest.answer is None:
            return Script(total=0)
        opened = after.rstrip().endswith("{")
        said = text_tokens(f"{newest.answer}}}" if opened else _boxed(newest.answer))
        decode = codecs.getincrementaldecoder("utf-8")().decode
        texts = tuple(decode(_bytes(token)) for token in said)
        return Script(total=len(said) + 1, tail=tuple(said), texts=texts)


def _boxed(answer: str | None) -> str:
    return "" if answer is None else f"\\boxed{{{answer}}}"


# Text ------------------------------------------------------------------------------------------


def text_tokens(text: str) -> list[int]:
    """Four bytes a token; a 1 before them says how many they are."""
    data = text.encode()
    pieces = (data[i : i + WIDTH] for i in range(0, len(data), WIDTH))
    return [int.from_bytes(b"\1" + piece, "big") for piece in pieces]


def text_of(tokens: Sequence[int]) -> str:
    """The text of such tokens; a character that was cut is replaced."""
    return b"".join(map(_bytes, tokens)).decode(errors="replace")


def _bytes(token: int) -> bytes:
    return token.to_bytes((token.bit_length() + 7) // 8, "big")[1:]


def chat(messages: Sequence[Message], *, thinking: bool) -> list[int]:
    """One line for each message: `user: ...`, then `assistant: `."""
    tokens: list[int] = []
    for message in messages:
        tokens += [BOUNDARY, *text_tokens(f"{message['role']}: {message['content']}\n")]
    return [*tokens, BOUNDARY, *text_tokens("assistant: " + ("<think>\n" if thinking else ""))]


def asked(tokens: Sequence[int]) -> str:
    """What the user of a chat said last; without a chat, all of the text."""
    starts = [at for at, token in enumerate(tokens) if token == BOUNDARY]
    ends = [*starts, len(tokens)][1:]
    for start, end in zip(reversed(starts), reversed(ends), strict=True):
        line = text_of(tokens[start:end])
        if line.startswith("user: "):
            return line.removeprefix("user: ").strip()
    return text_of(tokens).strip()
