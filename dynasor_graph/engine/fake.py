"""A scripted engine: for users' tests, for tutorials, and for this project's own tests."""

from __future__ import annotations

import asyncio
import codecs
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Self

from dynasor_graph.engine.base import check_fits
from dynasor_graph.errors import EngineDied, EngineError
from dynasor_graph.types import JSON, Delta, FinishReason, Load, Message, Request

__all__ = ["FakeEngine"]

END = 256
"""The end-of-text token; the ids below it are the bytes of UTF-8."""

Reply = Callable[[str, Request], str]


class FakeEngine:
    r"""Answers from a script instead of a model; tokens are the bytes of the text.

    ```python
    FakeEngine(["The answer is \\boxed{4}.", "I get \\boxed{5}."])   # in turn, then again
    FakeEngine({"2 + 2": "\\boxed{4}"})                              # by a text in the prompt
    FakeEngine(lambda prompt, request: "\\boxed{4}")                 # by any rule
    ```

    Args:
        replies: What to say; see above. A reply longer than `max_tokens` is cut, as a model's is.
        context: Most tokens of prompt and completion.
        block: Tokens in one block of the prefix cache.
        speed: Tokens a request generates each time the event loop comes around.
        confidence: How sure it is of each token of a reply, in nats (see `confidence`).
        slots: Requests that run at a time; the others wait, in order of priority, then of arrival.

    Attributes:
        requests: Every request it was given, oldest first.
        gate: Clear it to hold all requests where they are, set it to let them go on.
    """

    def __init__(
        self,
        replies: Sequence[str] | Mapping[str, str] | Reply = ("\\boxed{42}",),
        *,
        model: str = "fake",
        context: int = 8192,
        block: int = 16,
        speed: int = 16,
        slots: int = 1_000_000,
        confidence: Callable[[str], float] = lambda reply: 10.0,
    ) -> None:
        self.model, self.context, self.block = model, context, block
        self.requests: list[Request] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._reply = _as_rule(replies)
        self._speed, self._slots, self._confidence = speed, slots, confidence
        self._seen: set[tuple[int, ...]] = set()  # prompts whose blocks are "cached"
        self._active: dict[Request, asyncio.Event] = {}  # and what tells each to stop
        self._running: set[Request] = set()
        self._queue: list[tuple[int, int, Request]] = []
        self._serial = itertools.count()
        self._generated = self._prompt_computed = 0
        self._dead: EngineError | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    def kill(self) -> None:
        """Die: every request that runs, and every later one, raises EngineDied."""
        self._dead = EngineDied("the fake engine was killed")
        for stop in self._active.values():
            stop.set()

    async def encode(self, text: str) -> list[int]:
        """The bytes of the text."""
        return list(text.encode())

    async def decode(self, token_ids: Sequence[int]) -> str:
        """The text of the bytes."""
        return bytes(t for t in token_ids if t < END).decode(errors="replace")

    async def render(
        self, messages: Sequence[Message], *, thinking: bool = False, tools: Sequence[JSON] = ()
    ) -> list[int]:
        """One line for each message: `user: ...`, then `assistant: `; before all, one for the tools."""
        lines = [f"{message['role']}: {message['content']}\n" for message in messages]
        if tools:
            lines.insert(0, f"tools: {json.dumps(list(tools))}\n")
        return await self.encode("".join(lines) + "assistant: " + ("<think>\n" if thinking else ""))

    async def load(self) -> Load:
        """Counts of this moment."""
        return Load(
            running=len(self._running),
            waiting=len(self._active) - len(self._running),
            generated=self._generated,
            prompt_computed=self._prompt_computed,
        )

    async def abort(self, request: Request) -> None:
        """End one request; its stream says "terminated"."""
        if request in self._active:
            self._active[request].set()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Say the scripted reply, `chunk` tokens at a time (0: all at the end)."""
        check_fits(request, self.context)
        if self._dead:
            raise self._dead
        self.requests.append(request)
        stop = self._active[request] = asyncio.Event()
        try:
            await self._admit(request, stop)
            async for delta in self._say(request, stop):
                yield delta
        finally:
            del self._active[request]
            self._leave(request)

    async def _admit(self, request: Request, stop: asyncio.Event) -> None:
        """Wait for a slot, or to be stopped without one."""
        self._queue.append((request.priority, next(self._serial), request))
        self._fill()
        while request not in self._running and not stop.is_set():
            await asyncio.sleep(0)

    def _leave(self, request: Request) -> None:
        self._running.discard(request)
        self._queue = [place for place in self._queue if place[2] is not request]
        self._fill()

    def _fill(self) -> None:
        """Give the free slots to those who wait; a newcomer never gets past them."""
        while self._queue and len(self._running) < self._slots:
            place = min(self._queue)
            self._queue.remove(place)
            self._running.add(place[2])

    def _cached(self, tokens: tuple[int, ...]) -> int:
        """Prompt tokens found in whole blocks of earlier prompts; remembers this one's."""
        whole = (len(tokens) - 1) // self.block
        found = 0
        for i in range(1, whole + 1):
            if tokens[: i * self.block] in self._seen:
                found = i * self.block
        self._seen.update(tokens[: i * self.block] for i in range(1, len(tokens) // self.block + 1))
        self._prompt_computed += len(tokens) - found
        return found

    async def _say(self, request: Request, stop: asyncio.Event) -> AsyncGenerator[Delta, None]:
        if self._dead:
            raise self._dead
        if stop.is_set():
            yield Delta(finish_reason="terminated")
            return
        cached = self._cached(request.tokens)
        reply = self._reply(await self.decode(request.tokens), request)
        tokens, shown, reason = _script(reply.encode(), request)
        sure = (self._confidence(reply),) if request.top_logprobs else ()
        text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        step = request.chunk or len(tokens)
        said = made = 0
        while made < len(tokens):
            await asyncio.sleep(0)
            await self._pass_gate(stop)
            if stop.is_set():
                reason = "terminated"
                break
            more = min(self._speed, len(tokens) - made)
            made += more
            self._generated += more
            while made < len(tokens) and made - said >= step:
                part = tokens[said : said + step]
                words = text.decode(bytes(tokens[said : min(said + step, shown)]))
                yield Delta(
                    token_ids=tuple(part),
                    text=words,
                    count=len(part),
                    confidences=sure * len(part),
                )
                said += step
        if self._dead:
            raise self._dead
        yield Delta(
            token_ids=tuple(token for token in tokens[said:made] if token != END),
            text=text.decode(bytes(tokens[said : min(made, shown)]), final=True),
            count=made - said,
            finish_reason=reason,
            cached=cached,
            logprob=-0.1 * made if request.logprobs else None,
            confidences=sure * (made - said),
        )

    async def _pass_gate(self, stop: asyncio.Event) -> None:
        while not self.gate.is_set() and not stop.is_set():
            await asyncio.sleep(0)


def _script(reply: bytes, request: Request) -> tuple[list[int], int, FinishReason]:
    """The tokens that a reply makes, how many of them are its text, and why it ends."""
    stops = [stop.encode() for stop in request.stop]
    stops += [bytes([token]) for token in request.stop_token_ids if token < END]
    end, stop = min(((reply.find(s) + len(s), s) for s in stops if s in reply), default=(0, b""))
    if stop and end <= request.max_tokens:
        return list(reply[:end]), end - len(stop), "stop"
    if len(reply) < request.max_tokens:
        return [*reply, END], len(reply), "stop"
    return list(reply[: request.max_tokens]), request.max_tokens, "length"


def _as_rule(replies: Sequence[str] | Mapping[str, str] | Reply) -> Reply:
    if callable(replies):
        return replies
    if isinstance(replies, Mapping):
        table = dict(replies)

        def look_up(prompt: str, request: Request) -> str:
            for key, reply in table.items():
                if key in prompt:
                    return reply
            raise EngineError(f"no scripted reply for the prompt {prompt[-80:]!r}")

        return look_up
    if not replies:
        raise ValueError("replies must not be empty")
    turn = itertools.cycle(replies)
    return lambda prompt, request: next(turn)
