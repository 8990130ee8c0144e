"""Choice: one program of a request as it runs: its text in pieces, and what it came to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from dynasor_graph.reply import LiveReply, Piece, Reply
from dynasor_graph.results import Result
from dynasor_graph.server.plan import Job
from dynasor_graph.server.service import Service
from dynasor_graph.types import JSON, FinishReason

__all__ = ["Choices", "Ended", "Finish"]

Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What one choice came to.

    Attributes:
        result: Of its program.
        reply: Its text as a chat message.
        finish: Why its text ends.
        visible: Tokens of its content.
    """

    result: Result
    reply: Reply
    finish: Finish
    visible: int


class _Live(Protocol):
    """Takes a program's events in, and gives pieces of its reply out."""

    def event(self, event: JSON) -> list[Piece]: ...

    def end(self, text: str) -> list[Piece]: ...


class _Verbatim:
    """A raw completion as it grows: the text of one chain as the model writes it.

    Of several branches nobody knows yet which will be the text: what is shown of them is reasoning.
    """

    def __init__(self, *, one_chain: bool) -> None:
        self._part: Literal["reasoning", "content"] = "content" if one_chain else "reasoning"
        self._said = ""

    def event(self, event: JSON) -> list[Piece]:
        # What a stopped chain is made to say comes after a text that is not among the events.
        if event["event"] != "text" or event["part"] == "answer":
            return []
        if self._part == "content":
            self._said += event["text"]
        return [Piece(self._part, event["text"])]

    def end(self, text: str) -> list[Piece]:
        more = text[len(self._said) :] if text.startswith(self._said) else ""
        return [Piece("content", more)] if more else []


class Choices:
    """The programs of one request, all at once, and their pieces in the order in which they come.

    Open it with `async with`: leaving it frees every branch of all of them before it returns.

    Args:
        service: Where they run.
        jobs: What runs, a choice each.
        raw: Whether the text is wanted as the model writes it.
    """

    def __init__(self, service: Service, jobs: list[Job], *, raw: bool) -> None:
        self._service, self._jobs, self._raw = service, jobs, raw
        self._came: asyncio.Queue[tuple[int, list[Piece] | Ended | Exception]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run(at, job)) for at, job in enumerate(self._jobs)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def next(self, seconds: float | None = None) -> tuple[int, list[Piece] | Ended] | None:
        """What comes next: of which choice, and its pieces or its end; None if nothing does in time.

        Raises:
            DynasorError: A program failed.
        """
        if (there := self.there()) is not None:
            return there
        try:
            async with asyncio.timeout(seconds):
                return _unless_failed(await self._came.get())
        except TimeoutError:
            return None

    def there(self) -> tuple[int, list[Piece] | Ended] | None:
        """What is there already, of what `next` gives; None if nothing is."""
        return None if self._came.empty() else _unless_failed(self._came.get_nowait())

    async def all(self) -> list[Ended]:
        """What all of them come to, in their order."""
        ended: dict[int, Ended] = {}
        while len(ended) < len(self._jobs):
            came = await self.next()
            if came is not None and isinstance(came[1], Ended):
                ended[came[0]] = came[1]
        return [ended[at] for at in range(len(self._jobs))]

    async def _run(self, at: int, job: Job) -> None:
        try:
            async with aclosing(self._items(job)) as items:
                async for item in items:
                    self._came.put_nowait((at, item))
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._came.put_nowait((at, error))

    async def _items(self, job: Job) -> AsyncGenerator[list[Piece] | Ended, None]:
        live, cut = await self._live(job), _Cut()
        streams = job.context.stream_tokens > 0
        async with aclosing(self._service.run(job)) as items:
            async for item in items:
                if not isinstance(item, Result):
                    cut.event(item)
                    if streams and (pieces := live.event(item)):
                        yield pieces
                    continue
                ended = await self._ended(job, item, cut)
                if streams and (pieces := self._last(live, item, ended)):
                    yield pieces
                yield ended

    async def _live(self, job: Job) -> _Live:
        one_chain = job.context.is_one_chain
        if self._raw:
            return _Verbatim(one_chain=one_chain)
        thinking = await self._service.opens_thought(job.context.thinking)
        return LiveReply(one_chain=one_chain, thinking=thinking, tools=job.tools)

    def _last(self, live: _Live, result: Result, ended: Ended) -> list[Piece]:
        pieces = live.end(result.text)
        if not self._raw and ended.reply.content and ended.reply.content == result.answer:
            said = Reply.of(result.text)
            if not said.content:
                pieces.append(Piece("content", ended.reply.content))
        return pieces

    async def _ended(self, job: Job, result: Result, cut: _Cut) -> Ended:
        if self._raw:
            reply = Reply(content=result.text)
        else:
            reply = Reply.of(result.text, tools=job.tools)
            if not reply.content and not reply.tool_calls and result.answer is not None:
                # A chain that its deadline stopped has thought, and said nothing.
                reply = Reply(content=result.answer, reasoning=reply.reasoning)
        finish: Finish = "length" if cut.cut(result, job.context.is_one_chain) else "stop"
        if reply.tool_calls:
            finish = "tool_calls"
        visible = len(await self._service.engine.encode(reply.content)) if reply.content else 0
        return Ended(result=result, reply=reply, finish=finish, visible=visible)


def _unless_failed(
    came: tuple[int, list[Piece] | Ended | Exception],
) -> tuple[int, list[Piece] | Ended]:
    at, what = came
    if isinstance(what, Exception):
        raise what
    return at, what


class _Cut:
    """Whether a reply was cut at its token limit."""

    def __init__(self) -> None:
        self._ends: list[tuple[str | None, FinishReason]] = []

    def event(self, event: JSON) -> None:
        """Take in an event of the program."""
        if event["event"] == "branch":
            self._ends.append((event["answer"], event["finish"]))

    def cut(self, result: Result, one_chain: bool) -> bool:
        """Whether what the program says was: the chain, or every branch that gave its answer."""
        if one_chain:
            return not self._ends or self._ends[-1][1] == "length"
        # Those that were stopped half-way say nothing.
        ends = [(answer, why) for answer, why in self._ends if why != "terminated"]
        same = [why for answer, why in ends if answer == result.answer] or [w for _, w in ends]
        return bool(same) and all(why == "length" for why in same)
