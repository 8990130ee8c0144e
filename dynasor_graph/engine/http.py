"""A client of an OpenAI-compatible server: asking it, and saying what went wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import openai

from dynasor_graph.errors import (
    ConfigError,
    DynasorError,
    EngineDied,
    EngineError,
    EngineRefused,
    EngineUnreachable,
    UnknownName,
)

__all__ = ["Server"]


class Server:
    """A server at a URL. Its connections belong to the event loop that it is opened in.

    Args:
        url: Base URL, with or without `/v1`.
        api_key: Sent as the bearer token. Servers without keys take any.
        timeout_s: Seconds without a byte after which a request fails.
        max_connections: Most connections at a time.
        max_retries: How often a request is sent again that was not answered.

    Attributes:
        root: The URL without `/v1`.
        client: The open client.
    """

    client: openai.AsyncOpenAI

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        timeout_s: float,
        max_connections: int,
        max_retries: int = openai.DEFAULT_MAX_RETRIES,
    ) -> None:
        self.root = url.rstrip("/").removesuffix("/v1")
        if not self.root.startswith(("http://", "https://")):
            raise ConfigError(f"url must start with http:// or https://, got {url!r}")
        self._key, self._timeout_s = api_key, timeout_s
        self._limits, self._retries = _limits(max_connections), max_retries

    def open(self) -> None:
        """Make the client; it connects at the first call."""
        self.client = openai.AsyncOpenAI(
            base_url=f"{self.root}/v1",
            api_key=self._key,
            timeout=self._timeout_s,
            max_retries=self._retries,
            http_client=openai.DefaultAsyncHttpxClient(
                limits=self._limits, timeout=self._timeout_s
            ),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()

    async def model(self, name: str) -> tuple[str, int]:
        """The model of that name, or the first if it is empty; and the length of its context.

        Raises:
            EngineRefused: The server lists no model.
            UnknownName: It lists others.
        """
        answer = await self.call("GET", "/v1/models")
        try:
            models = {str(row["id"]): dict(row) for row in answer["data"]}
            name = name or next(iter(models))
        except (TypeError, KeyError, ValueError, StopIteration):
            raise EngineRefused(
                f"{self.root}/v1/models lists no model: is this an OpenAI-compatible server?"
            ) from None
        if name not in models:
            raise UnknownName(f"model at {self.root}", name, models)
        return name, int(models[name].get("max_model_len") or 1 << 20)

    async def metrics(self, *, broke: bool = False) -> str:
        """The page at `/metrics`; nothing where there is none. `broke` as in `call`."""
        try:
            return await self.client.get(f"{self.root}/metrics", cast_to=str)
        except openai.APIStatusError:
            return ""
        except openai.OpenAIError as error:
            raise self.translate(error, broke=broke) from error

    async def call(
        self,
        verb: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        absent: DynasorError | None = None,
        broke: bool = False,
    ) -> Any:
        """Ask, and give the JSON of the answer.

        Args:
            verb: GET or POST.
            path: With its slash.
            body: For POST.
            absent: What to raise if there is no such path.
            broke: Whether a connection that fails is one that was in use, not one never made.

        Raises:
            EngineError: The answer could not be had.
        """
        url = f"{self.root}{path}"
        try:
            if verb == "GET":
                return await self.client.get(url, cast_to=object)
            return await self.client.post(url, cast_to=object, body=body)
        except openai.NotFoundError:
            raise absent or EngineRefused(
                f"{url} does not exist: is this an OpenAI-compatible server?"
            ) from None
        except openai.OpenAIError as error:
            raise self.translate(error, broke=broke) from error
        except ValueError:
            raise EngineRefused(
                f"{url} sent no JSON: is this an OpenAI-compatible server?"
            ) from None

    async def chat(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Ask for a chat completion: its chunks if `body` asks for a stream, else it alone.

        Closing the generator closes the connection, which tells the server that nobody listens.

        Raises:
            EngineError: The answer could not be had.
        """
        ask = self.client.chat.completions.with_raw_response.create
        started = False
        try:
            known = {name: body[name] for name in ("model", "messages", "stream") if name in body}
            more = {name: value for name, value in body.items() if name not in known}
            answer = (await ask(**known, extra_body=more)).parse()
            if not body.get("stream"):
                yield answer.model_dump()
                return
            async with answer as chunks:
                async for chunk in chunks:
                    started = True
                    yield chunk.model_dump()
        except openai.OpenAIError as error:
            raise self.translate(error, broke=started) from error

    def translate(self, error: openai.OpenAIError, *, broke: bool = False) -> EngineError:
        """The client's exception in our words, with the cure."""
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return EngineRefused(
                    f"{self.root} refused the API key ({error.status_code}): set another "
                    f"(api_key=..., or DYNASOR_API_KEY on the command line)"
                )
            case openai.APITimeoutError():
                return EngineUnreachable(f"{self.root} did not answer in {self._timeout_s:g} s")
            case openai.APIConnectionError():
                if broke:
                    return EngineDied(f"the connection to {self.root} broke: {error.__cause__!r}")
                return EngineUnreachable(
                    f"no server answers at {self.root}: start one (vllm serve MODEL), or check the URL"
                )
            case openai.APIStatusError():
                return EngineRefused(f"{self.root} answered {error.status_code}: {error.message}")
            case _:
                return EngineDied(str(error))


def _limits(connections: int) -> Any:
    limits = openai.DEFAULT_CONNECTION_LIMITS
    return type(limits)(max_connections=connections, max_keepalive_connections=connections)
