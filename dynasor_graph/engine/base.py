"""Engine: the one seam to a language model: token ids in, token deltas out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, Self, runtime_checkable

from dynasor_graph.errors import EngineError, PromptTooLong
from dynasor_graph.types import JSON, Completion, Delta, Load, Message, Request

__all__ = ["Engine", "Watcher", "check_fits", "complete"]

Watcher = Callable[[Sequence[Request], Sequence[Request]], None]
"""Told of a step of an engine: requests whose prompts it completed, and requests that it ended."""


@runtime_checkable
class Engine(Protocol):
    """A model that generates.

    Open it with `async with`; it may then be used from any event loop and any number of tasks.
    `tests/engine/test_conformance.py` holds what every engine has to do.

    Attributes:
        model: Name of the model, for traces and reports.
        context: Most tokens of prompt and completion together.
        block: Tokens in one block of the prefix cache; only whole blocks are found again.
    """

    model: str
    context: int
    block: int

    def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Generate. The last delta has a finish reason.

        Closing the generator (also by cancelling the task that reads it) frees the request at
        once and loses what was not read yet; `abort` keeps it.

        Raises:
            PromptTooLong: Prompt and `max_tokens` do not fit the context.
            EngineError: The engine failed.
        """
        ...

    async def abort(self, request: Request) -> None:
        """End a request that is running: its stream delivers what there is, then "terminated".

        Does nothing to a request that is not running.
        """
        ...

    async def encode(self, text: str) -> list[int]:
        """Token ids of plain text: no special tokens added."""
        ...

    async def render(
        self, messages: Sequence[Message], *, thinking: bool = False, tools: Sequence[JSON] = ()
    ) -> list[int]:
        """Token ids of a chat up to where the assistant speaks, by the model's chat template.

        Args:
            messages: The chat.
            thinking: Ask the template for its thinking mode.
            tools: Functions that the model may call, as OpenAI's API describes them.

        Raises:
            ConfigError: There is no template, or it has no place for tools.
            InputError: The template refuses the chat.
        """
        ...

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        ...

    async def load(self) -> Load:
        """What the engine is doing now."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


async def complete(engine: Engine, request: Request) -> Completion:
    """Read a request to its end."""
    whole = Completion()
    async with aclosing(engine.stream(request)) as deltas:
        async for delta in deltas:
            whole.add(delta)
    return whole


def check_fits(request: Request, context: int) -> None:
    """Raise PromptTooLong unless prompt and completion fit the context together.

    Raises:
        PromptTooLong: They do not.
        EngineError: The context is 0, as it is before an engine is open and after it was closed.
    """
    if not context:
        raise EngineError("the engine is not open: use it inside `async with`")
    if len(request.tokens) + request.max_tokens > context:
        raise PromptTooLong(len(request.tokens), context)
