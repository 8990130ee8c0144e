"""The plain values that every layer passes around: Sampling, Request, Delta, Completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

__all__ = [
    "Completion",
    "Delta",
    "FinishReason",
    "Load",
    "Message",
    "Request",
    "Sampling",
    "StopReason",
    "Verdict",
    "last_asked",
]

Verdict = Literal["branch", "continue", "terminate"]
"""What the policy said: open a new round, go on as granted, or stop the program."""

FinishReason = Literal["stop", "length", "terminated"]
"""Why a completion ended: by itself, at its token limit, or because it was not needed any more."""


class Message(TypedDict):
    """One chat message, as OpenAI's API has it; what calls tools, and what they said, too."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[list[JSON]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]


def last_asked(chat: Sequence[Message]) -> str:
    """The text of the last message that a user wrote; "" if there is none."""
    return next((one["content"] for one in reversed(chat) if one["role"] == "user"), "")


class StopReason(StrEnum):
    """Why a program ended. None of these is an error."""

    CERTAIN = "certain"
    """The policy found the answer settled."""
    FINISHED = "finished"
    """The algorithm came to its own end: all branches done, or the chain of thought closed."""
    TOKENS = "tokens"
    """The token budget was spent; the answer is the best so far."""
    DEADLINE = "deadline"
    """The time was up; the answer is the best so far."""
    ROUNDS = "rounds"
    """The number of rounds was spent."""
    STOPPED = "stopped"
    """Somebody told it to stop; the answer is the best so far."""


class Sampling(BaseModel):
    """How tokens are drawn; the names are vLLM's and OpenAI's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(0.7, ge=0, le=2, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0 keeps all tokens")
    max_tokens: int = Field(512, ge=1, description="most tokens one branch may generate")
    stop: tuple[str, ...] = Field((), description="texts that end a branch")
    seed: int | None = Field(
        None, description="makes a program's branches repeatable; each branch derives its own seed"
    )


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One call to an engine: token ids in, token ids out. Compared by identity.

    Not frozen, which would make it four times as slow to make; but only a scheduler writes to it.

    Attributes:
        tokens: The prompt as token ids; text is never re-tokenised on the way.
        max_tokens: Most tokens to generate, >= 1.
        stop: Texts that end it; the last token of such a text is among its tokens, not in its text.
        stop_token_ids: Tokens that end it; likewise.
        chunk: Tokens between two deltas; 0 gives one delta, at the end: cheapest where nobody
            looks mid-way.
        priority: Lower goes first, as in vLLM. While a scheduler has the request in its engine,
            its place in line stands here.
        logprobs: Also report the sum of the log-probabilities of the tokens drawn.
        top_logprobs: Also report each token's confidence, over so many of the likeliest candidates
            (see `confidence`); 0 does not, and most engines allow 20.
        program: Which program this belongs to; engines may keep a program's requests together.
    """

    tokens: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = None
    chunk: int = 0
    priority: int = 0
    logprobs: bool = False
    top_logprobs: int = 0
    program: str = ""


@dataclass(slots=True, kw_only=True)
class Delta:
    """What an engine generated since the delta before. It belongs to who reads it.

    Attributes:
        token_ids: The new tokens, without the end-of-text token: they can be continued as they are.
        count: How many tokens the engine generated for this, end-of-text included.
        finish_reason: Set in the last delta only.
        cached: Prompt tokens that came out of the prefix cache (last delta).
        logprob: Sum of the log-probabilities of all tokens so far, if asked for (last delta).
        confidences: Of each token counted, in nats, if asked for (`Request.top_logprobs`).
        queued: Seconds the scheduler held the request back; 0 without one (last delta).
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    count: int = 0
    finish_reason: FinishReason | None = None
    cached: int = 0
    logprob: float | None = None
    confidences: tuple[float, ...] = ()
    queued: float = 0.0


@dataclass(slots=True, kw_only=True)
class Completion:
    """All deltas of one request, joined.

    Attributes:
        tokens: How many tokens the engine generated (end-of-text included).
        cached: Prompt tokens that came out of the prefix cache.
        logprob: Sum of the log-probabilities, or None.
        queued: Seconds the scheduler held the request back; 0 without one.
    """

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason = "terminated"
    cached: int = 0
    logprob: float | None = None
    queued: float = 0.0

    @property
    def at_end(self) -> bool:
        """Whether the model ended the text itself: with a token that `token_ids` leaves out."""
        return self.finish_reason == "stop" and self.tokens > len(self.token_ids)

    def add(self, delta: Delta) -> None:
        """Append one delta."""
        self.token_ids.extend(delta.token_ids)
        self.text += delta.text
        self.tokens += delta.count
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
            self.cached, self.logprob = delta.cached, delta.logprob
            self.queued = delta.queued


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What an engine is doing now, and how much it has generated since it was opened.

    Attributes:
        running: Requests in the running batch.
        waiting: Requests that wait for a place in it.
        kv_usage: Share of the KV cache in use, 0 to 1.
        generated: Tokens generated since the engine was opened, by the engine's own count.
        prompt_computed: Prompt tokens computed (not found in the prefix cache) since then.
    """

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    generated: int = 0
    prompt_computed: int = 0


JSON = dict[str, Any]
"""A JSON object: the form in which events, traces and rows travel."""
