"""Model: the LangChain chat model itself: its parameters, and its replies whole or as they come."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from operator import itemgetter
from typing import Any, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import (
    BaseOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from dynasor_graph.chat_model.asked import Asked, Ended, Source
from dynasor_graph.chat_model.ferry import carry, carry_sync, the_loop
from dynasor_graph.chat_model.local import Local
from dynasor_graph.chat_model.messages import (
    Chunks,
    as_message,
    as_messages,
    with_instruction,
)
from dynasor_graph.chat_model.opened import opened_name
from dynasor_graph.chat_model.remote import Remote
from dynasor_graph.engine.own_loop import OwnLoop
from dynasor_graph.errors import ConfigError
from dynasor_graph.reply import Piece
from dynasor_graph.runner import configure
from dynasor_graph.types import JSON

__all__ = ["ChatDynasor"]

_SAMPLING = ("temperature", "top_p", "max_tokens", "seed", "stop")
_PLAIN = ("policy", "branches", "thinking")
_JSON = "Answer with one JSON object and nothing else. It follows this JSON schema: {schema}"
_CALL = "Answer by calling {one}."


class ChatDynasor(BaseChatModel):
    """A chat model whose every answer is a program: it stops once the answer has settled.

    ```python
    ChatDynasor(engine=engine)                        # an engine that is open, or its registered name
    ChatDynasor(model="abacus-7m")                    # opened in vLLM at the first call, for the process
    ChatDynasor(base_url="http://127.0.0.1:8100")     # `dynasor-graph serve`
    ```

    What is not given keeps the algorithm's default. A reply's `response_metadata` has `certaindex`
    (0 to 1), `stop_reason`, `answer`, `rounds`, `branches`, `tokens_saved` (`Result.tokens_saved`:
    what the cap would have cost more), `ledger` and `decision`; what was thought is in
    `additional_kwargs["reasoning_content"]`. While a reply is streamed, what is shown of several
    branches is reasoning.

    Attributes:
        model: A bundled model, a folder or a hub name; on a server, its name there.
        engine: An open engine, or the name of a registered one, instead of `model`. With one that
            belongs to its event loop (`OpenAIEngine`), use the `async` methods on that loop.
        base_url: Of `dynasor-graph serve`, instead of an engine.
        api_key: For that server; by default DYNASOR_API_KEY.
        algorithm: See `find_algorithm`.
        policy: When to stop.
        branches: The knob's cap.
        thinking: Ask the chat template for its thinking mode.
        temperature: 0 to 2.
        top_p: Above 0, to 1.
        max_tokens: Most tokens of one branch.
        seed: Makes replies repeatable.
        stop: Texts that end a branch.
        timeout: Deadline in seconds: the reply is the best so far then, and no exception.
        max_retries: How often a server is asked again that did not answer.
        settings: Any other setting of the algorithm, such as `{"budget": {"tokens": 4000}}`.
        streaming: Reply in pieces to callbacks even where the whole reply is asked for.
        chunk_tokens: Tokens between two pieces of a reply that is streamed.

    Raises:
        ConfigError: A setting is wrong; at construction it comes in pydantic's ValidationError.
        InputError: The messages hold no question, or something that is no text.
        EngineError: The engine or the server failed.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    model: str = "abacus-7m"
    engine: Any = Field(None, exclude=True)
    base_url: str | None = None
    api_key: SecretStr | None = Field(
        default_factory=lambda: _secret(os.environ.get("DYNASOR_API_KEY"))
    )
    algorithm: str = "self_consistency"
    policy: str | dict[str, Any] | None = None
    branches: int | None = None
    thinking: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None
    timeout: float | None = None
    max_retries: int = Field(2, ge=0)
    settings: dict[str, Any] = Field(default_factory=dict)
    streaming: bool = False
    chunk_tokens: int = Field(8, ge=1)

    _remote: Remote | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.engine is not None and self.base_url is not None:
            raise ConfigError("engine and base_url exclude each other: give one of them")
        if self.base_url is not None:
            key = self.api_key.get_secret_value() if self.api_key else "-"
            self._remote = Remote(
                self.base_url, api_key=key, timeout_s=600.0, retries=self.max_retries
            )
        else:  # a server checks them itself, and may know algorithms that this process does not
            configure(self.algorithm, **self._settings({}))
        return self

    # What LangChain asks ------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "dynasor-graph"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        told = {"model": self._model_name, "base_url": self.base_url, "algorithm": self.algorithm}
        return told | self._settings({})

    @property
    def _model_name(self) -> str:
        if self.engine is None:
            return self.model
        return self.engine if isinstance(self.engine, str) else str(self.engine.model)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "dynasor_graph"
        params["ls_model_name"] = kwargs.get("model") or self._model_name
        if ends := stop or self.stop:
            params["ls_stop"] = ends
        return params

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """It is, but for an engine that is given as an object."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Where it is imported from."""
        return ["dynasor_graph", "chat_model"]

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The key, and the variable that it is read from."""
        return {"api_key": "DYNASOR_API_KEY"}

    # Replies ------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with closing(self._say(messages, stop, 0, kwargs)) as items:
            return _result(list(items))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        async with aclosing(self._asay(messages, stop, 0, kwargs)) as items:
            return _result([item async for item in items])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk, None, None]:
        chunks = Chunks()
        with closing(self._say(messages, stop, self.chunk_tokens, kwargs)) as items:
            for item in items:
                for chunk in chunks.of(item):
                    yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        chunks = Chunks()
        async with aclosing(self._asay(messages, stop, self.chunk_tokens, kwargs)) as items:
            async for item in items:
                for chunk in chunks.of(item):
                    yield ChatGenerationChunk(message=chunk)

    def _say(
        self, messages: list[BaseMessage], stop: list[str] | None, every: int, given: JSON
    ) -> Generator[Piece | Ended, None, None]:
        asked = self._asked(messages, stop, every, given)
        source, _ = self._source(asked.model)
        return carry_sync(source.ask(asked), the_loop())

    def _asay(
        self, messages: list[BaseMessage], stop: list[str] | None, every: int, given: JSON
    ) -> AsyncGenerator[Piece | Ended, None]:
        asked = self._asked(messages, stop, every, given)
        source, loop = self._source(asked.model)
        return carry(source.ask(asked), loop)

    def _source(self, model: str) -> tuple[Source, OwnLoop | None]:
        """What runs the program, and on which loop; None: on the caller's."""
        if self._remote is not None:
            return self._remote, None
        if self.engine is not None:
            return Local(self.engine), None
        return Local(opened_name(model)), the_loop()

    def _asked(
        self, messages: list[BaseMessage], stop: list[str] | None, every: int, given: JSON
    ) -> Asked:
        given = {name: value for name, value in given.items() if value is not None}
        chat = as_messages(messages)
        tools, choice = given.pop("tools", []), given.pop("tool_choice", None)
        tools, wish = _chosen(tools, choice)
        if schema := given.pop("json_schema", None):
            wish = _JSON.format(schema=json.dumps(schema))
        if wish:
            chat = with_instruction(chat, wish)
        if stop is not None:
            given["stop"] = stop
        model = given.pop("model", self.model)
        algorithm = given.pop("algorithm", self.algorithm)
        settings = self._settings(given) | ({"tools": tools} if tools else {})
        return Asked(model=model, algorithm=algorithm, chat=chat, settings=settings, every=every)

    def _settings(self, given: JSON) -> JSON:
        """The algorithm's settings; what is given with one call goes before what the model has."""
        given = dict(given)
        own = {name: getattr(self, name) for name in (*_SAMPLING, *_PLAIN, "timeout")}
        own = {name: value for name, value in own.items() if value is not None} | {
            name: given.pop(name) for name in own.keys() & given.keys()
        }
        settings = {**self.settings, **given}
        for name in _PLAIN:
            if name in own:
                settings[name] = own[name]
        sampling = {name: own[name] for name in _SAMPLING if name in own}
        limits = {"seconds": own["timeout"]} if "timeout" in own else {}
        for name, group in (("sampling", sampling), ("budget", limits)):
            if group:
                settings[name] = {**settings.get(name, {}), **group}
        return settings

    # Tools and schemas --------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Give the model tools, where its chat template has a place for them.

        Branches vote on the calls: `certaindex` says how sure the model is of the action.

        Args:
            tools: Anything that LangChain takes for a tool.
            tool_choice: "auto", "none", "any", or the name of one. The model is told to call it, and is
                not forced: it decodes freely.
            kwargs: Settings of these calls.
        """
        formal = [convert_to_openai_tool(tool) for tool in tools]
        _chosen(formal, tool_choice)
        return self.bind(tools=formal, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["function_calling", "json_mode", "json_schema"] = "function_calling",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Replies as objects of a schema. The model is told it and decodes freely: a reply may not fit.

        Args:
            schema: A pydantic class, a TypedDict, a JSON schema or a tool.
            include_raw: Give `{"raw", "parsed", "parsing_error"}`, and raise nothing.
            method: "function_calling": the schema is a tool that the model is told to call.
                "json_mode" and "json_schema": the model is told the schema, and its content is read as
                JSON; for models whose template has no place for tools.
            strict: Changes nothing, and is there because LangChain passes it: nothing is forced.
            kwargs: None.

        Raises:
            ConfigError: There is no such method or argument.
        """
        if kwargs:
            raise ConfigError(f"with_structured_output knows no {', '.join(kwargs)}")
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw)
        if method not in {"json_mode", "json_schema"}:
            raise ConfigError(
                f"method must be function_calling, json_mode or json_schema, got {method!r}"
            )
        parser: BaseOutputParser[Any] = JsonOutputParser()
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            parser = PydanticOutputParser(pydantic_object=schema)
        replies: Runnable[LanguageModelInput, AIMessage]
        replies = self.bind(
            json_schema=convert_to_json_schema(schema),
            ls_structured_output_format={"kwargs": {"method": method}, "schema": schema},
        )
        if not include_raw:
            return replies | parser
        parsed = RunnablePassthrough.assign(
            parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        safely = parsed.with_fallbacks([failed], exception_key="parsing_error")
        return RunnableMap(raw=replies) | safely


def _secret(key: str | None) -> SecretStr | None:
    return SecretStr(key) if key else None


def _chosen(tools: list[JSON], choice: Any) -> tuple[list[JSON], str]:
    """The tools that a choice leaves, and what the model is told about them."""
    if isinstance(choice, dict):
        choice = (choice.get("function") or {}).get("name")
    if choice in {None, "auto", False}:
        return tools, ""
    if choice == "none":
        return [], ""
    if choice in {"any", "required", True}:
        return tools, _CALL.format(one="one of the tools") if tools else ""
    named = [tool for tool in tools if tool["function"]["name"] == choice]
    if not named:
        names = ", ".join(tool["function"]["name"] for tool in tools)
        raise ConfigError(f"tool_choice {choice!r} is no tool; there are: {names or 'none'}")
    return named, _CALL.format(one=f"the tool {choice}")


def _result(items: list[Piece | Ended]) -> ChatResult:
    pieces = [item for item in items if isinstance(item, Piece)]
    (ended,) = (item for item in items if isinstance(item, Ended))
    message = as_message(pieces, ended)
    return ChatResult(generations=[ChatGeneration(message=message)])
