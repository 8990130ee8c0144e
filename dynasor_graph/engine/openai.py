"""An engine on any OpenAI-compatible server that takes token ids, such as `vllm serve`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Self

import openai

from dynasor_graph.confidence import token_confidence
from dynasor_graph.engine.base import check_fits
from dynasor_graph.engine.http import Server
from dynasor_graph.engine.mailbox import Mailbox
from dynasor_graph.engine.template import apply_template
from dynasor_graph.errors import (
    ConfigError,
    EngineDied,
    EngineError,
    EngineRefused,
    NotInstalled,
)
from dynasor_graph.types import JSON, Delta, FinishReason, Load, Message, Request

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["OpenAIEngine"]

_METRIC = re.compile(r"^vllm:(\w+)(?:\{[^}]*\})? ([\d.e+-]+)$", re.MULTILINE)
_BLOCK = re.compile(r'^vllm:cache_config_info\{.*?block_size="(\d+)"', re.MULTILINE)
_UNSEEN = 16
"""Tokens between two messages of the server where nobody looks mid-way. With one message at the
end, the tokens of aborted requests would be missing from the books: a fifth of all, measured."""


class OpenAIEngine:
    """A server over HTTP: `/v1/completions` with token ids in and out.

    The server must return token ids (`return_token_ids`: vLLM does) and must tokenise, by its
    `/tokenize` or by a tokenizer folder given here; else branches could not be continued exactly.
    Start vLLM with `--scheduling-policy priority --enable-prompt-tokens-details`: without the first,
    priorities are ignored, and without the second, cached prompt tokens read 0.

    It belongs to the event loop it is opened in.

    Args:
        url: Base URL, with or without `/v1`.
        model: The model to ask for; by default the first that the server lists.
        api_key: Sent as the bearer token. Servers without keys take any.
        tokenizer: Folder of a Hugging Face tokenizer, for servers without `/tokenize`.
        timeout_s: Seconds without a byte after which a request fails.

    Raises:
        EngineUnreachable: Nothing answers at `url`.
        EngineRefused: The server wants another key.
        UnknownName: The server has no such model.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str = "none",
        tokenizer: str | None = None,
        timeout_s: float = 600.0,
        max_connections: int = 1024,
    ) -> None:
        self._server = Server(
            url, api_key=api_key, timeout_s=timeout_s, max_connections=max_connections
        )
        self.model = model or ""
        self.context = self.block = 0  # known once it is open
        self._tokenizer_path = tokenizer
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._active: dict[Request, _Reading] = {}

    async def __aenter__(self) -> Self:
        self._server.open()
        try:
            if self._tokenizer_path:
                self._tokenizer = await asyncio.to_thread(_load_tokenizer, self._tokenizer_path)
            await self._choose_model()
        except BaseException:
            await self._server.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.context = 0
        for reading in list(self._active.values()):
            await reading.cancel()
            reading.box.put(EngineDied("the engine was closed while requests were running"))
        await self._server.close()

    async def _choose_model(self) -> None:
        self.model, context = await self._server.model(self.model)
        found = _BLOCK.search(await self._server.metrics())
        self.block = int(found[1]) if found else 16
        self.context = context

    # Generating ------------------------------------------------------------------------------

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Generate; see `Engine.stream`.

        An aborted request keeps what had arrived: what the server generated in the meantime, 16
        tokens or so, is lost on the way.
        """
        check_fits(request, self.context)
        reading = self._active[request] = _Reading(chunked=request.chunk > 0)
        reading.task = asyncio.get_running_loop().create_task(self._read(request, reading))
        try:
            async for delta in reading.box:
                yield delta
        finally:
            if self._active.get(request) is reading:
                del self._active[request]
            await reading.cancel()

    async def abort(self, request: Request) -> None:
        """End one request by closing its connection; see `Engine.abort`."""
        if (reading := self._active.get(request)) is not None and await reading.cancel():
            reading.end("terminated")

    async def _read(self, request: Request, reading: _Reading) -> None:
        try:
            await self._generate(request, reading)
        except openai.OpenAIError as error:
            reading.box.put(self._server.translate(error, broke=bool(self._active)))
        except EngineError as error:
            reading.box.put(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the reader
            reading.box.put(EngineError(f"{self._server.root} sent what cannot be read: {error!r}"))

    async def _generate(self, request: Request, reading: _Reading) -> None:
        stream = await self._server.client.completions.create(
            model=self.model,
            prompt=list(request.tokens),
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop=list(request.stop) or None,
            logprobs=request.top_logprobs or (0 if request.logprobs else None),
            stream=True,
            stream_options={"include_usage": True},
            extra_body={
                "return_token_ids": True,
                "priority": request.priority,
                "stream_interval": request.chunk or _UNSEEN,
                "top_k": request.top_k,
                "stop_token_ids": list(request.stop_token_ids),
            },
        )
        if request.logprobs:
            reading.logprob = 0.0
        async with stream:
            async for event in stream:
                if event.choices:
                    reading.add(self._delta(event.choices[0], request), event.choices[0].logprobs)
                if event.usage is not None and event.usage.prompt_tokens_details is not None:
                    reading.cached = event.usage.prompt_tokens_details.cached_tokens or 0
        if reading.reason is None:
            raise EngineDied(f"{self._server.root} ended the stream without a finish reason")
        reading.end(reading.reason)

    def _delta(self, choice: Any, request: Request) -> Delta:
        ids = getattr(choice, "token_ids", None)
        if ids is None and choice.text:
            raise EngineRefused(
                f"{self._server.root} does not return token ids (return_token_ids), and text cannot be "
                f"continued exactly: take a server that does, such as vllm serve"
            )
        ids = ids or []
        reason: FinishReason | None = None
        if choice.finish_reason is not None:
            reason = "length" if choice.finish_reason == "length" else "stop"
        # Where nothing that was asked for is behind it, "stop" means an end-of-text token, the last.
        stopped_by = getattr(choice, "stop_reason", None)
        asked = isinstance(stopped_by, str) or stopped_by in request.stop_token_ids
        ended = reason == "stop" and ids and not asked
        return Delta(
            token_ids=tuple(ids[:-1] if ended else ids),
            text=choice.text or "",
            count=len(ids),
            finish_reason=reason,
            confidences=_confidences(choice.logprobs, request.top_logprobs),
        )

    # Text and load ---------------------------------------------------------------------------

    async def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""
        if self._tokenizer is not None:
            return list(self._tokenizer.encode(text, add_special_tokens=False))
        body = {"model": self.model, "prompt": text, "add_special_tokens": False}
        return list((await self._call("/tokenize", body))["tokens"])

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids."""
        if self._tokenizer is not None:
            return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))
        body = {"model": self.model, "tokens": list(token_ids)}
        return str((await self._call("/detokenize", body))["prompt"])

    async def render(
        self, messages: Sequence[Message], *, thinking: bool = False, tools: Sequence[JSON] = ()
    ) -> list[int]:
        """Token ids of a chat, by the model's template."""
        if self._tokenizer is not None:
            text = apply_template(
                self._tokenizer,
                self.model,
                messages,
                tools,
                add_generation_prompt=True,
                enable_thinking=thinking,
            )
            return await self.encode(text)
        body: JSON = {
            "model": self.model,
            "messages": list(messages),
            "add_generation_prompt": True,
            "chat_template_kwargs": {"enable_thinking": thinking},
        }
        if tools:
            body["tools"] = list(tools)
        return list((await self._call("/tokenize", body))["tokens"])

    async def load(self) -> Load:
        """From the server's `/metrics`; zeros where it has none of vLLM's."""
        values: dict[str, float] = {}
        for name, value in _METRIC.findall(await self._server.metrics(broke=bool(self._active))):
            values[name] = values.get(name, 0.0) + float(value)
        computed = values.get("prompt_tokens_total", 0) - values.get(
            "prompt_tokens_cached_total", 0
        )
        return Load(
            running=int(values.get("num_requests_running", 0)),
            waiting=int(values.get("num_requests_waiting", 0)),
            kv_usage=values.get("kv_cache_usage_perc", 0.0),
            generated=int(values.get("generation_tokens_total", 0)),
            prompt_computed=int(computed),
        )

    async def _call(self, path: str, body: dict[str, Any]) -> Any:
        absent = ConfigError(
            f"{self._server.root} has no {path}: give the engine its tokenizer's folder "
            f"(tokenizer=...), or take a server that tokenises, such as vllm serve"
        )
        return await self._server.call("POST", path, body, absent=absent, broke=bool(self._active))


class _Reading:
    """One request on its way: the task that reads it, and what has arrived but was not passed on.

    The last delta waits for the usage, which comes after it. Without chunks all of them wait.
    """

    def __init__(self, *, chunked: bool) -> None:
        self.box = Mailbox()
        self.task: asyncio.Task[None] | None = None
        self.reason: FinishReason | None = None
        self.cached = 0
        self.logprob: float | None = None
        self._chunked = chunked
        self._held: list[Delta] = []

    def add(self, delta: Delta, logprobs: Any) -> None:
        """Take in what the server sent."""
        if self.logprob is not None and logprobs is not None:
            self.logprob += sum(value or 0.0 for value in logprobs.token_logprobs or ())
        self.reason = delta.finish_reason or self.reason
        self._held.append(delta)
        if self._chunked and self.reason is None:
            self.box.put(self._held.pop())

    def end(self, reason: FinishReason) -> None:
        """Pass on all that is left, as the last delta."""
        self.box.put(
            Delta(
                token_ids=tuple(token for delta in self._held for token in delta.token_ids),
                text="".join(delta.text for delta in self._held),
                count=sum(delta.count for delta in self._held),
                finish_reason=reason,
                cached=self.cached,
                logprob=self.logprob,
                confidences=tuple(c for delta in self._held for c in delta.confidences),
            )
        )

    async def cancel(self) -> bool:
        """Close the connection, if it is open; whether it was."""
        if self.task is None or self.task.done():
            return False
        self.task.cancel()
        await asyncio.wait([self.task])
        return self.task.cancelled()


def _confidences(logprobs: Any, top: int) -> tuple[float, ...]:
    """Of tokens whose candidates the server gives by their text: equal texts count once."""
    if not top or logprobs is None:
        return ()
    return tuple(token_confidence((found or {}).values(), top) for found in logprobs.top_logprobs)


def _load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise NotInstalled("transformers (for a local tokenizer)", "cpu") from None
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"tokenizer: nothing to load at {path!r}: {error}") from None
