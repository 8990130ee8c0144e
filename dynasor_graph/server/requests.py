"""Requests: the bodies that the server takes, field by field: honoured, or refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dynasor_graph.server.effort import Effort
from dynasor_graph.types import JSON, Message

__all__ = ["Asked", "ChatRequest", "CompletionRequest"]

DEEPEST = 32
"""Objects and lists inside each other."""


def _refuse(value: Any, inner: Any) -> Any:
    try:
        return inner(value)
    except ValueError:
        raise PydanticCustomError(
            "not_honoured", "this server does not honour it: leave it out"
        ) from None


_Refused = WrapValidator(_refuse)
Zero = Annotated[Annotated[float, Field(ge=0, le=0)] | None, _Refused]
"""What may only say that it is not wanted: 0 or null."""
No = Annotated[Literal[False] | None, _Refused]
"""False or null."""
Nothing = Annotated[None, _Refused]
"""Null."""
Empty = Annotated[Annotated[dict[str, Any], Field(max_length=0)] | None, _Refused]
"""{} or null."""
NoList = Annotated[Annotated[list[Any], Field(max_length=0)] | None, _Refused]
"""[] or null."""


class Body(BaseModel):
    """What all parts of a body have in common: nothing is converted, and nothing passed over."""

    model_config = ConfigDict(strict=True, extra="forbid")


class StreamOptions(Body):
    """How a stream ends."""

    include_usage: bool | None = Field(None, description="one more chunk at the end, with usage")
    include_obfuscation: No = None


class TemplateOptions(Body):
    """What the chat template is told, as vLLM has it."""

    enable_thinking: bool | None = Field(None, description="ask for the template's thinking mode")


class Asked(Body):
    """The fields that both kinds of request have."""

    model: str = Field(
        min_length=1, max_length=512, description="the model, or MODEL@ALGORITHM; see `/v1/models`"
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=128, description="independent programs, a choice each")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, description="vLLM's; 0 and -1 keep all tokens")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    max_tokens: int | None = Field(None, ge=1, description="most tokens of one branch")
    user: str | None = Field(None, max_length=256, description="whose share of the engine it is")
    x_dynasor: dict[str, JsonValue] | None = Field(
        None, description='{"algorithm": ..., "policy": ..., any setting of the algorithm}'
    )
    frequency_penalty: Zero = None
    presence_penalty: Zero = None
    logit_bias: Empty = None

    @model_validator(mode="before")
    @classmethod
    def _check_shape(cls, data: Any) -> Any:
        """Bound the depth and refuse text that is none, before anything recurses into it."""
        if not isinstance(data, dict):
            return data
        level: list[Any] = [data]
        for _ in range(DEEPEST):
            level = [inner for outer in level for inner in _inside(outer)]
            if not level:
                break
        else:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels: flatten it")
        if "x-dynasor" in data:
            if "x_dynasor" in data:
                raise ValueError("x-dynasor and x_dynasor are one field: give one of them")
            data = {("x_dynasor" if k == "x-dynasor" else k): v for k, v in data.items()}
        return data

    @model_validator(mode="after")
    def _check_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only together with stream=true")
        return self

    @property
    def stops(self) -> list[str] | None:
        """The texts that end a branch, as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


def _inside(outer: Any) -> list[Any]:
    """The containers in a container; texts that cannot be encoded are refused."""
    values = [*outer.keys(), *outer.values()] if isinstance(outer, dict) else outer
    for value in values:
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("a text in it is not valid Unicode (a lone surrogate)") from None
    return [value for value in values if isinstance(value, dict | list)]


class TextPart(Body):
    """A part of a message: text is the only kind."""

    type: Literal["text"]
    text: str


class FunctionCalled(Body):
    """A function that was called."""

    name: str
    arguments: str


class Called(Body):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCalled


class ChatMessage(Body):
    """A message of a chat. What replies of this server hold may be sent back as it is."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = Field(None, max_length=256)
    tool_calls: list[Called] | None = None
    tool_call_id: str | None = Field(None, max_length=256)
    reasoning_content: str | None = Field(
        None, description="of an earlier reply: taken, and left out of the prompt, as templates do"
    )
    refusal: Nothing = None
    audio: Nothing = None
    function_call: Nothing = None
    annotations: NoList = None

    @model_validator(mode="after")
    def _check_role(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("content is missing")
        if self.role != "assistant" and self.tool_calls:
            raise ValueError(f"tool_calls belong to an assistant, not to {self.role!r}")
        return self

    def to_message(self) -> Message:
        """As the chat template takes it."""
        text = self.content or ""
        if not isinstance(text, str):
            text = "\n".join(part.text for part in text)
        role = "system" if self.role == "developer" else self.role
        message = Message(role=role, content=text)
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            message["name"] = self.name
        return message


class Function(Body):
    """A function that the model may call."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: No = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class TextFormat(Body):
    """The only format there is."""

    type: Literal["text"]


class ChatRequest(Asked):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(
        None, ge=1, description="most tokens generated for a choice: all branches and probes"
    )
    reasoning_effort: Effort | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Annotated[Literal["auto", "none"] | None, _Refused] = None
    parallel_tool_calls: Annotated[Literal[True] | None, _Refused] = None
    response_format: Annotated[TextFormat | None, _Refused] = None
    chat_template_kwargs: TemplateOptions | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64)],
                Annotated[str, Field(max_length=512)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = Field(None, description="comes back in the reply")
    modalities: Annotated[
        Annotated[list[Literal["text"]], Field(max_length=1)] | None, _Refused
    ] = None
    service_tier: Annotated[Literal["auto", "default"] | None, _Refused] = None
    logprobs: No = None
    top_logprobs: Zero = None
    store: No = None
    audio: Nothing = None
    prediction: Nothing = None
    functions: NoList = None
    function_call: Nothing = None
    web_search_options: Nothing = None
    verbosity: Nothing = None
    prompt_cache_key: Nothing = None
    safety_identifier: Nothing = None

    @property
    def given_tools(self) -> list[JSON]:
        """What the model is told of tools."""
        if not self.tools or self.tool_choice == "none":
            return []
        return [tool.model_dump(exclude_none=True) for tool in self.tools]


class CompletionRequest(Asked):
    """`POST /v1/completions`: the prompt as it is, without the chat template."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=128)]
    suffix: Nothing = None
    echo: No = None
    best_of: Nothing = None
    logprobs: Zero = None

    @property
    def prompts(self) -> list[str]:
        """One or more."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt
