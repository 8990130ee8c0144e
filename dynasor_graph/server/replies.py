"""Replies: what the server says, in OpenAI's shapes, as its OpenAPI document has them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "ChatReply",
    "CompletionReply",
    "Failure",
    "Health",
    "Model",
    "Models",
]


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PromptDetails(_Reply):
    """Of the prompt tokens."""

    cached_tokens: int


class CompletionDetails(_Reply):
    """Of the generated tokens."""

    reasoning_tokens: int
    probe_tokens: int
    terminated_tokens: int


class Spent(_Reply):
    """Tokens of a request, over all its programs, as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Told(_Reply):
    """What this server says of a program beyond its text."""

    program: str
    algorithm: str
    answer: str | None
    certaindex: float
    stop_reason: str
    rounds: int
    branches: int
    tokens_saved: int
    ledger: dict[str, int]
    decision: dict[str, Any] | None
    seconds: float
    queued_seconds: float


class Programs(_Reply):
    """The same of several programs, in the order of the choices."""

    programs: list[Told]


class SaidFunction(_Reply):
    """The function of a call."""

    name: str
    arguments: str


class SaidCall(_Reply):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: SaidFunction


class Said(_Reply):
    """A message of the assistant."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | None = None
    tool_calls: list[SaidCall] | None = None
    refusal: None = None


class ChatChoice(_Reply):
    """One choice."""

    index: int
    message: Said
    logprobs: None = None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatReply(_Reply):
    """The reply to `/v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Spent
    x_dynasor: Told | Programs
    metadata: dict[str, str] | None = None


class TextChoice(_Reply):
    """One choice."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class CompletionReply(_Reply):
    """The reply to `/v1/completions`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Spent
    x_dynasor: Told | Programs


class Model(_Reply):
    """A model, by itself or with an algorithm."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class Models(_Reply):
    """The reply to `/v1/models`."""

    object: Literal["list"]
    data: list[Model]


class Health(_Reply):
    """The reply to `/health`."""

    status: Literal["ok", "draining", "no engine"]


class Failed(_Reply):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class Failure(_Reply):
    """The reply to a request that is not answered."""

    error: Failed
