"""Shape: how the choices of a request are written down: whole, or as the chunks of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynasor_graph.budget import Usage
from dynasor_graph.reply import Piece, ToolCall
from dynasor_graph.server.choice import Ended
from dynasor_graph.types import JSON

__all__ = ["Shape", "spent"]


class Shape:
    """How a request's choices are written down.

    Args:
        id_: Of the reply.
        kind: "chat.completion" or "text_completion".
        created: Unix time.
        model: As it was asked for.
        algorithms: Of each choice.
        more: What else stands in the reply.
    """

    def __init__(
        self, id_: str, kind: str, created: int, model: str, algorithms: Sequence[str], **more: Any
    ) -> None:
        self._chat = kind == "chat.completion"
        self._kind, self._algorithms, self._more = kind, algorithms, more
        self._head: JSON = {"id": id_, "created": created, "model": model}
        self._stream_kind = "chat.completion.chunk" if self._chat else kind
        self._calls = [0] * len(algorithms)
        self.id = id_

    def whole(self, ended: Sequence[Ended]) -> JSON:
        """The reply to a request that wants no stream."""
        told = [self._told(at, one) for at, one in enumerate(ended)]
        return {
            **self._head,
            "object": self._kind,
            "choices": [self._choice(at, one) for at, one in enumerate(ended)],
            "usage": spent(ended),
            "x_dynasor": told[0] if len(told) == 1 else {"programs": told},
            **self._more,
        }

    def _choice(self, at: int, ended: Ended) -> JSON:
        row: JSON = {"index": at, "logprobs": None, "finish_reason": ended.finish}
        reply = ended.reply
        if not self._chat:
            return row | {"text": reply.content}
        message: JSON = {
            "role": "assistant",
            "content": reply.content if reply.content or not reply.tool_calls else None,
        }
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.tool_calls:
            message["tool_calls"] = [
                call.to_openai(self._call_id(at, number))
                for number, call in enumerate(reply.tool_calls)
            ]
        return row | {"message": message}

    def _told(self, at: int, ended: Ended) -> JSON:
        result = ended.result
        return {
            "program": result.id,
            "algorithm": self._algorithms[at],
            "answer": result.answer,
            "certaindex": round(result.certaindex, 6),
            "stop_reason": result.stop_reason.value if result.stop_reason else "finished",
            "rounds": result.rounds,
            "branches": result.branches,
            "tokens_saved": result.tokens_saved,
            "ledger": result.usage.lines(),
            "decision": result.decision,
            "seconds": round(result.latency_s, 4),
            "queued_seconds": round(result.queued_s, 4),
        }

    # A stream ----------------------------------------------------------------------------------

    def first(self, at: int) -> JSON | None:
        """The chunk that a choice begins with."""
        return self._chunk(at, {"role": "assistant", "content": ""}) if self._chat else None

    def piece(self, at: int, piece: Piece) -> JSON:
        """The chunk of a piece."""
        if not self._chat:
            name = "text" if piece.part == "content" else "reasoning_content"
            return self._chunk(at, {name: piece.text})
        if piece.call is not None:
            return self._chunk(at, {"tool_calls": [self._call(at, piece.call)]})
        name = "content" if piece.part == "content" else "reasoning_content"
        return self._chunk(at, {name: piece.text})

    def last(self, at: int, ended: Ended) -> JSON:
        """The chunk that a choice ends with."""
        return self._chunk(at, {}, ended.finish) | {"x_dynasor": self._told(at, ended)}

    def usage(self, ended: Sequence[Ended]) -> JSON:
        """The chunk that a stream ends with, where it was asked for."""
        return {
            **self._head,
            "object": self._stream_kind,
            "choices": [],
            "usage": spent(ended),
            **self._more,
        }

    def _chunk(self, at: int, said: JSON, finish: str | None = None) -> JSON:
        choice: JSON = {"index": at, "logprobs": None, "finish_reason": finish}
        choice |= {"delta": said} if self._chat else {"text": "", **said}
        return {**self._head, "object": self._stream_kind, "choices": [choice]}

    def _call(self, at: int, call: ToolCall) -> JSON:
        number = self._calls[at]
        self._calls[at] += 1
        return {"index": number, **call.to_openai(self._call_id(at, number))}

    def _call_id(self, at: int, number: int) -> str:
        return f"call_{self.id.rpartition('-')[2]}_{at}_{number}"


def spent(ended: Sequence[Ended]) -> JSON:
    """The usage of a request.

    `prompt_tokens` are those of all its requests to the engine, probes included, found in the prefix
    cache (`cached_tokens`) or not; `completion_tokens` all that was generated. What of these is not in
    the content is `reasoning_tokens`: thoughts, other branches, probes.
    """
    all_ = sum((one.result.usage for one in ended), Usage())
    visible = sum(one.visible for one in ended)
    return {
        "prompt_tokens": all_.read,
        "completion_tokens": all_.generated,
        "total_tokens": all_.read + all_.generated,
        "prompt_tokens_details": {"cached_tokens": all_.cached},
        "completion_tokens_details": {
            "reasoning_tokens": max(0, all_.generated - visible),
            "probe_tokens": all_.probe,
            "terminated_tokens": all_.terminated,
        },
    }
