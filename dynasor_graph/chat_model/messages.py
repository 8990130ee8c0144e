"""Messages: LangChain's as ours, and replies as LangChain's."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk

from dynasor_graph.chat_model.asked import Ended
from dynasor_graph.errors import InputError
from dynasor_graph.reply import Piece, ToolCall
from dynasor_graph.types import JSON, Message

__all__ = ["Chunks", "as_message", "as_messages", "with_instruction"]

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
_UNSAID = {
    "user": frozenset[str](),
    "system": frozenset[str](),
    "tool": frozenset[str](),
    "assistant": frozenset(
        {"reasoning", "thinking", "tool_call", "tool_call_chunk", "tool_use", "invalid_tool_call"}
    ),
}
"""Blocks that a message may hold beside text, and that are left out: calls are read elsewhere."""


def as_messages(messages: Sequence[BaseMessage]) -> list[Message]:
    """A conversation as chat templates read it; reasoning of earlier replies is left out.

    Raises:
        InputError: There is something in it that is no text, or a role that templates do not have.
    """
    return [_as_message(message, at) for at, message in enumerate(messages, start=1)]


def _as_message(message: BaseMessage, at: int) -> Message:
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(message.type)
    if role not in _UNSAID:
        raise InputError(
            f"message {at} is a {type(message).__name__}: use a system, human, AI or tool message"
        )
    row: JSON = {"role": role, "content": _text(message.content, role, at)}
    if message.name:
        row["name"] = message.name
    if isinstance(message, ToolMessage):
        row["tool_call_id"] = message.tool_call_id
    if isinstance(message, AIMessage) and message.tool_calls:
        row["tool_calls"] = [
            ToolCall(name=call["name"], arguments=call["args"]).to_openai(call["id"] or _new_id())
            for call in message.tool_calls
        ]
    return cast("Message", row)


def _text(content: str | list[Any], role: str, at: int) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for block in content:
        kind = "text" if isinstance(block, str) else block.get("type")
        if kind == "text":
            texts.append(block if isinstance(block, str) else block["text"])
        elif kind not in _UNSAID[role]:
            raise InputError(f"message {at} holds {kind!r}: the models here read text alone")
    return "\n".join(texts)


def with_instruction(chat: list[Message], text: str) -> list[Message]:
    """The conversation with one more sentence in its system message."""
    if chat and chat[0]["role"] == "system":
        first = cast("Message", {**chat[0], "content": f"{chat[0]['content']}\n\n{text}"})
        return [first, *chat[1:]]
    return [Message(role="system", content=text), *chat]


def _new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def as_message(pieces: Sequence[Piece], ended: Ended) -> AIMessage:
    """A whole reply."""
    calls = [
        {"name": call.name, "args": call.arguments, "id": _new_id(), "type": "tool_call"}
        for call in _calls(pieces)
    ]
    reasoning = _joined(pieces, "reasoning")
    return AIMessage(
        content=_joined(pieces, "content"),
        tool_calls=calls,
        additional_kwargs={"reasoning_content": reasoning} if reasoning else {},
        usage_metadata=cast("UsageMetadata", ended.usage),
        response_metadata=ended.metadata,
    )


def _joined(pieces: Sequence[Piece], part: str) -> str:
    return "".join(piece.text for piece in pieces if piece.part == part)


def _calls(pieces: Sequence[Piece]) -> list[ToolCall]:
    return [piece.call for piece in pieces if piece.call is not None]


class Chunks:
    """Pieces of a reply as LangChain's chunks.

    Calls of tools come after all texts: LangChain tells the parts of a message apart by a number, and
    counts texts itself.
    """

    def __init__(self) -> None:
        self._calls: list[ToolCall] = []
        self._part, self._parts = "", 0

    def of(self, item: Piece | Ended) -> Iterator[AIMessageChunk]:
        """The chunks that a piece, or the end, gives."""
        if isinstance(item, Ended):
            yield from (self._call(place, call) for place, call in enumerate(self._calls))
            yield AIMessageChunk(
                content="",
                usage_metadata=cast("UsageMetadata", item.usage),
                response_metadata=item.metadata,
                chunk_position="last",
            )
        elif item.call is not None:
            self._calls.append(item.call)
        else:
            self._parts += item.part != self._part
            self._part = item.part
            thought = item.part == "reasoning"
            yield AIMessageChunk(
                content="" if thought else item.text,
                additional_kwargs={"reasoning_content": item.text} if thought else {},
            )

    def _call(self, place: int, call: ToolCall) -> AIMessageChunk:
        part = tool_call_chunk(
            name=call.name,
            args=json.dumps(call.arguments),
            id=_new_id(),
            index=self._parts + place,
        )
        return AIMessageChunk(content="", tool_call_chunks=[part])
