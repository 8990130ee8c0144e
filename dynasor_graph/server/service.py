"""Service: the programs that run for the server's clients, and how all of them come to an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Self

from dynasor_graph.engine import Engine, engine_named
from dynasor_graph.errors import EngineError
from dynasor_graph.executor import stop_program
from dynasor_graph.naming import scheduled
from dynasor_graph.results import Result
from dynasor_graph.runner import stream
from dynasor_graph.scheduler import Order
from dynasor_graph.server.metrics import Metrics
from dynasor_graph.server.plan import Job, Offer
from dynasor_graph.server.refusal import Refusal
from dynasor_graph.types import JSON, Load, Message

__all__ = ["Service"]

logger = logging.getLogger("dynasor_graph.server")


class Service:
    """Runs programs on one engine, all of them behind one scheduler.

    Args:
        engine: An open engine, or the name of a registered one.
        offer: What clients may ask for.
        scheduler: In which order requests of all programs reach the engine; None for none.
        log_prompts: Also write what was asked and answered to the log.
    """

    engine: Engine

    def __init__(
        self,
        engine: Engine | str,
        offer: Offer,
        *,
        scheduler: str | Order | None = "sjf",
        log_prompts: bool = False,
    ) -> None:
        self.offer, self.metrics = offer, Metrics()
        self.draining = False
        self._given, self._order, self._log_prompts = engine, scheduler, log_prompts
        self._stack = AsyncExitStack()
        self._name = ""
        self._running: set[str] = set()
        self._opens: dict[bool, bool] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurried = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._name = await self._stack.enter_async_context(scheduled(self._given, self._order))
        self.engine = await engine_named(self._name)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @property
    def running(self) -> int:
        """How many programs run now."""
        return len(self._running)

    async def opens_thought(self, thinking: bool) -> bool:
        """Whether a prompt ends within a thought, so that the model does not write `<think>` itself."""
        if thinking not in self._opens:
            chat = [Message(role="user", content="?")]
            prompt = await self.engine.render(chat, thinking=thinking)
            text = await self.engine.decode(prompt[-16:])
            self._opens[thinking] = text.rstrip().endswith("<think>")
        return self._opens[thinking]

    async def load(self) -> Load | None:
        """What the engine is doing; None if it does not say."""
        try:
            return await self.engine.load()
        except EngineError:
            return None

    def check_open(self) -> None:
        """Raise a refusal (503) if no new requests are taken."""
        if self.draining:
            raise Refusal(
                503, "this server is shutting down: ask another", code="draining", retry_after=5
            )

    async def run(self, job: Job) -> AsyncGenerator[JSON | Result, None]:
        """A program's events, then its result. Closed early, it frees all of its branches."""
        name = job.question.id
        self._running.add(name)
        self._idle.clear()
        self.metrics.running.inc()
        ended = "left"
        try:
            run = stream(job.question, algorithm=job.algorithm, engine=self._name, **job.settings)
            async with aclosing(run) as items:
                async for item in items:
                    if isinstance(item, Result):
                        self.metrics.ended(job.name, item)
                        self.metrics.wanted(job.context.budget.slo, item)
                        ended = self._said(item)
                    yield item
        except Exception as error:
            ended = f"failed: {type(error).__name__}"
            self.metrics.wanted(job.context.budget.slo, None)
            raise
        finally:
            self.metrics.running.dec()
            self._running.discard(name)
            if not self._running:
                self._idle.set()
            asked = f" asked={job.question.text!r}" if self._log_prompts else ""
            logger.info(
                "program %s algorithm=%s tenant=%s %s%s",
                name,
                job.name,
                job.context.tenant or "-",
                ended,
                asked,
            )

    def _said(self, result: Result) -> str:
        text = (
            f"stop_reason={result.stop_reason} tokens={result.usage.generated} "
            f"branches={result.branches} certaindex={result.certaindex:.3f} "
            f"seconds={result.latency_s:.2f}"
        )
        return text + (f" said={result.text!r}" if self._log_prompts else "")

    async def drain(self, grace: float, last: float = 10.0) -> None:
        """Take no new requests, and wait for those that run.

        Args:
            grace: Seconds that programs have to come to their own end.
            last: Seconds that they then have to answer with what they have.
        """
        self.draining = True
        self.metrics.draining.set(1)
        idle = asyncio.ensure_future(self._idle.wait())
        hurried = asyncio.ensure_future(self._hurried.wait())
        await asyncio.wait({idle, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not self._running:
            idle.cancel()
            return
        logger.warning("%d programs still run: they answer with what they have", self.running)
        for name in list(self._running):
            await stop_program(name)
        await asyncio.wait({idle}, timeout=last)
        idle.cancel()

    def hurry(self) -> None:
        """End the grace of `drain` now."""
        self._hurried.set()
