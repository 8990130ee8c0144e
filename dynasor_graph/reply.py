"""Reply: what a program says, as a chat message: its reasoning, its content, the tools it calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Self

from dynasor_graph.answers import ToolCall, find_calls
from dynasor_graph.types import JSON

__all__ = ["CLOSED", "LiveReply", "Piece", "Reply", "Splitter", "ToolCall"]

THINK: Final = "<think>"
CLOSED: Final = "</think>"
_CALL, _CALLED = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a program says, as a chat message.

    Attributes:
        content: What it says; "" where it only calls tools, or never came to an end of its thought.
        reasoning: What stands before `</think>`; "" if nothing does.
        tool_calls: The tools that it calls, in their order.
    """

    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    @classmethod
    def of(cls, text: str, *, tools: bool = False) -> Self:
        """Take a text apart.

        Args:
            text: Of a branch or a result, as the model wrote it.
            tools: Whether the model was given tools; without, `<tool_call>` is a text like any other.
        """
        thought, closed, said = text.partition(CLOSED)
        if not closed and text.lstrip().startswith(THINK):
            said = ""
        elif not closed:
            thought, said = "", text
        calls, content = find_calls(said) if tools else ([], said)
        return cls(
            content=content.strip(),
            reasoning=thought.lstrip().removeprefix(THINK).strip(),
            tool_calls=tuple(calls),
        )


class Piece(NamedTuple):
    """What came anew in a reply that is on its way: a text, or one whole call of a tool."""

    part: Literal["reasoning", "content", "tool_call"]
    text: str
    call: ToolCall | None = None


class Splitter:
    """Takes a text apart while it comes, wherever it is cut: joined, the pieces are `Reply.of`.

    What may be the beginning of a tag is kept back until it is clear, and so is white space, because
    at the end of a part it is dropped.

    Args:
        thinking: Whether the prompt has opened the thought already; else a text that thinks begins
            with `<think>`, and `</think>` without it is a text like any other.
        tools: Whether the model was given tools.
    """

    def __init__(self, *, thinking: bool = False, tools: bool = False) -> None:
        self._tools = tools
        self._part: Literal["reasoning", "content"] = "reasoning" if thinking else "content"
        self._begun = False  # whether what the text begins with is known
        self._rest = ""  # not given out yet
        self._space = ""  # white space that is given out if more of the same part follows
        self._spoke = False  # whether this part has had any text

    @property
    def reasons(self) -> bool:
        """Whether a thought is open."""
        return self._part == "reasoning"

    def feed(self, text: str) -> list[Piece]:
        """Take in what comes next; what can be given out now."""
        self._rest += text
        return list(self._pieces(end=False))

    def close_thought(self) -> list[Piece]:
        """The thought was closed for the model, by a text that it did not write."""
        return self.feed(CLOSED) if self.reasons else []

    def end(self) -> list[Piece]:
        """Nothing more comes; what was kept back."""
        return list(self._pieces(end=True))

    def _pieces(self, *, end: bool) -> Iterator[Piece]:
        if not self._begin(end):
            return
        if self.reasons:
            yield from self._up_to(CLOSED, end)
            if self.reasons:
                return
        while self._tools:
            if not self._rest.startswith(_CALL):
                yield from self._up_to(_CALL, end)
            if not self._rest.startswith(_CALL):
                return
            block, closed, after = self._rest.partition(_CALLED)
            if not closed:
                break
            self._rest = after
            calls, text = find_calls(block + closed)
            yield from (Piece("tool_call", "", call) for call in calls)
            yield from self._say(text)
        if end or not self._tools:
            text, self._rest = self._rest, ""
            yield from self._say(text)

    def _begin(self, end: bool) -> bool:
        """Look whether the text begins with `<think>`; whether that is known yet."""
        if self._begun:
            return True
        start = self._rest.lstrip()
        if not end and len(start) < len(THINK) and THINK.startswith(start):
            return False
        self._begun = True
        if start.startswith(THINK):
            self._part, self._rest = "reasoning", start.removeprefix(THINK)
        return True

    def _up_to(self, tag: str, end: bool) -> Iterator[Piece]:
        """Give out what stands before a tag, or all that cannot be a part of one."""
        text, found, after = self._rest.partition(tag)
        if not found:
            kept = 0 if end else _overlap(text, tag)
            self._rest = text[len(text) - kept :]
            yield from self._say(text[: len(text) - kept])
            return
        yield from self._say(text)
        if tag == CLOSED:
            self._part, self._rest = "content", after
            self._space, self._spoke = "", False
        else:
            self._rest = tag + after

    def _say(self, text: str) -> Iterator[Piece]:
        text = (self._space + text) if self._spoke else text.lstrip()
        solid = text.rstrip()
        self._space = text[len(solid) :]
        if solid:
            self._spoke = True
            yield Piece(self._part, solid)


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of a text may be the beginning of a tag."""
    longest = min(len(text), len(tag) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(tag[:n])), 0)


_BETWEEN: Final = "\n\n"
"""Between two branches that are shown one after the other, and between what one thinks and says."""


class LiveReply:
    """A program's reply as it grows: its events in, pieces out.

    Of several branches nobody knows yet which is the answer: what is shown of them is reasoning, and
    the content comes at the end. Where the program is one chain, its content comes as it is written.

    Args:
        one_chain: Whether what is shown is what the program will say (`Context.is_one_chain`).
        thinking: Whether the prompt opens the thought.
        tools: Whether the model was given tools.
    """

    def __init__(self, *, one_chain: bool, thinking: bool = False, tools: bool = False) -> None:
        self._one_chain, self._thinking, self._tools = one_chain, thinking, tools
        self._splitter = self._new()
        self._branch: int | None = None
        self._place: tuple[int | None, str] | None = None  # of what was given out last
        self._said, self._called = "", 0

    def _new(self) -> Splitter:
        return Splitter(thinking=self._thinking, tools=self._tools and self._one_chain)

    def event(self, event: JSON) -> list[Piece]:
        """Take in an event of the program; what it adds to the reply."""
        if event["event"] != "text":
            return []
        if self._one_chain:
            ended = self._splitter.close_thought() if event["part"] == "answer" else []
            return self._count([*ended, *self._splitter.feed(event["text"])])
        before = []
        if event["branch"] != self._branch:
            before = self._thought(self._splitter.end())
            self._splitter, self._branch = self._new(), event["branch"]
        return before + self._thought(self._splitter.feed(event["text"]))

    def end(self, text: str) -> list[Piece]:
        """The program has ended; what was not said yet.

        Args:
            text: Of its result.
        """
        left = self._splitter.end()
        left = self._count(left) if self._one_chain else self._thought(left)
        whole = Reply.of(text, tools=self._tools)
        if whole.content.startswith(self._said) and (more := whole.content[len(self._said) :]):
            left.append(Piece("content", more))
        return left + [Piece("tool_call", "", call) for call in whole.tool_calls[self._called :]]

    def _thought(self, pieces: list[Piece]) -> list[Piece]:
        """Pieces of one branch of several: all of it is reasoning, its parts apart from each other."""
        thought = []
        for piece in pieces:
            place = (self._branch, piece.part)
            if self._place not in {None, place}:
                thought.append(Piece("reasoning", _BETWEEN))
            self._place = place
            thought.append(Piece("reasoning", piece.text))
        return thought

    def _count(self, pieces: list[Piece]) -> list[Piece]:
        self._said += "".join(piece.text for piece in pieces if piece.part == "content")
        self._called += sum(piece.part == "tool_call" for piece in pieces)
        return pieces
