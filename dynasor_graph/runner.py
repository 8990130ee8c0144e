"""Runner: many programs on one engine, a bounded number in flight, results as they come."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Final, cast

from langgraph.graph.state import CompiledStateGraph
from pydantic import ValidationError

from dynasor_graph.algorithms import Algorithm, find_algorithm
from dynasor_graph.answers import Kind, agrees, kind_for
from dynasor_graph.budget import Ledger, Usage
from dynasor_graph.engine import Engine, engine_named
from dynasor_graph.errors import (
    ConfigError,
    EngineDied,
    EngineError,
    EngineUnreachable,
    InputError,
    explain,
)
from dynasor_graph.executor import Context, Judged, equivalence_of, stoppable
from dynasor_graph.naming import named, scheduled, with_reward
from dynasor_graph.policies import Pacing
from dynasor_graph.questions import Question
from dynasor_graph.results import Result
from dynasor_graph.reward import reward_named
from dynasor_graph.scheduler import Order, order_named, scheduler_of
from dynasor_graph.telemetry import telemetry
from dynasor_graph.types import JSON, StopReason

__all__ = ["Runner", "configure", "solve", "stream"]

_PROGRAMS: Final = 16
"""In flight where the engine does not say what fits it."""
_AHEAD: Final = 2.0
"""Programs in flight for each that the engine has room for (`benchmarks.overhead --ahead`)."""


def configure(algorithm: str | Algorithm, **settings: Any) -> Context:
    """An algorithm's settings, checked.

    Raises:
        ConfigError: A setting does not exist or is out of range; says which.
    """
    algorithm = find_algorithm(algorithm)
    try:
        return algorithm.settings.model_validate(settings)
    except ValidationError as error:
        raise explain(error, algorithm.name) from None


async def stream(
    question: str | Question,
    *,
    algorithm: str | Algorithm = "self_consistency",
    engine: Engine | str = "default",
    **settings: Any,
) -> AsyncGenerator[JSON | Result, None]:
    """Run one program and watch it: its events as they happen, and at the end its result.

    Read it under `contextlib.aclosing`, so that leaving early frees the engine at once.

    Args:
        question: What is asked.
        algorithm: Name of an algorithm, or one of your own.
        engine: An open engine, or the name of a registered one.
        settings: The algorithm's settings: `policy`, `budget`, `sampling`, and its own; `reward` may be
            an open reward, or the name of a registered one.

    Yields:
        Dicts with the key "event" (see `trace` for the kinds), then one Result.
    """
    if isinstance(question, str):
        question = Question(id="question", text=question)
    algorithm = find_algorithm(algorithm)
    with named(engine) as name, with_reward(settings) as checked:
        context = configure(algorithm, engine=name, **checked)
        run = _run_one(algorithm, context, question)
        async with aclosing(run):
            async for item in run:
                yield item


async def solve(
    question: str | Question,
    *,
    algorithm: str | Algorithm = "self_consistency",
    engine: Engine | str = "default",
    **settings: Any,
) -> Result:
    """Run one program to its end; the arguments are those of `stream`.

    Raises:
        ConfigError: A setting is wrong.
        InputError: The question is empty or too long.
        EngineError: The engine failed.
    """
    async with aclosing(stream(question, algorithm=algorithm, engine=engine, **settings)) as items:
        async for item in items:
            if isinstance(item, Result):
                return item
    raise AssertionError("a program ends with a result")


def _run_one(
    algorithm: Algorithm, context: Context, question: Question
) -> AsyncGenerator[JSON | Result, None]:
    run = _program(algorithm, context, question)
    observed = telemetry()
    return run if observed is None else observed.watch(run)


async def _program(
    algorithm: Algorithm, context: Context, question: Question
) -> AsyncGenerator[JSON | Result, None]:
    with stoppable(question.id):
        clock = asyncio.get_running_loop().time  # the monotonic clock, unless it is virtual
        started = clock()
        engine = await engine_named(context.engine)
        kind = kind_for(context.answers, question.id, question.fields, question.gold)
        context = context.model_copy(update={"answers": kind})
        settings = context.model_dump(mode="json", exclude={"engine", "account", "reward"})
        if isinstance(context, Judged):
            settings["reward"] = (await reward_named(context.reward)).name
        yield {
            "event": "program",
            "program": question.id,
            "question": question.text,
            "gold": question.gold,
            "algorithm": algorithm.name,
            "model": engine.model,
            "settings": settings,
        }
        state: JSON = {}
        run = _graph(algorithm).astream(
            {"question": list(question.chat) or question.text, "program": question.id},
            context=context,
            stream_mode=["custom", "values"],
        )
        try:
            async with aclosing(cast("AsyncGenerator[tuple[str, JSON], None]", run)) as parts:
                async for mode, part in parts:
                    if mode == "custom":
                        yield part
                    else:
                        state = part
        finally:
            scheduler_of(engine).forget(question.id)
        result = await _result(question, kind, engine, state, clock() - started)
        yield {"event": "result", "program": question.id, **result.to_json()}
        yield result


@lru_cache(maxsize=32)
def _graph(algorithm: Algorithm) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Compiled once: it takes as long as several branches."""
    return algorithm.compile()


async def _result(
    question: Question, kind: Kind, engine: Engine, state: JSON, seconds: float
) -> Result:
    answer, correct = state["answer"], None
    ledger = Ledger(
        usage=Usage.from_json(state["usage"])
    )  # a judge's comparison with gold costs, too
    if question.gold is not None:
        equivalence = equivalence_of(kind, engine, question.text, ledger, question.id)
        correct = answer is not None and await agrees(answer, question.gold, equivalence)
    return Result(
        id=question.id,
        question=question.text,
        answer=answer,
        text=state["text"],
        certaindex=state["certaindex"],
        stop_reason=StopReason(state["stop_reason"]),
        usage=ledger.usage,
        rounds=state["rounds"],
        branches=len(state["branches"]),
        decision=state["decision"],
        latency_s=seconds,
        queued_s=state["queued"],
        gold=question.gold,
        correct=correct,
    )


def _failed(task: asyncio.Task[Result]) -> bool:
    """Whether a task that is done has no result; asking keeps asyncio from complaining."""
    return task.cancelled() or task.exception() is not None


def _filling(engine: Engine, context: Context) -> int:
    """Programs that fill the engine's batch, and those that wait to."""
    width = 1 if context.is_one_chain else context.budget.concurrency
    return max(_PROGRAMS, math.ceil(_AHEAD * getattr(engine, "seats", 0) / width))


class Runner:
    """Runs many questions through one algorithm on one engine.

    Args:
        algorithm: Name of an algorithm, or one of your own.
        engine: An open engine, or the name of a registered one.
        programs: Most programs in flight; each has its own window of branches. None: twice as many as
            fill the engine's batch: the requests of half of them wait in the scheduler and take places
            while other programs decide; 16 at least, and where the engine does not say what fits.
        scheduler: In which order the requests of all programs reach the engine: a name of
            `scheduler.ORDERS`, an `Order`, or None for none. An engine that is `Scheduled` keeps its
            own: give one to all runners that share it.
        pacing: Gives each program its policy, so that one budget lasts for all.
        on_event: Called with every event of every program: a trace's `write`, a progress bar.
        settings: The algorithm's settings: `policy`, `budget`, `sampling`, and its own; `reward` may be
            an open reward, or the name of a registered one.

    Raises:
        ConfigError: A setting is wrong.
    """

    def __init__(
        self,
        algorithm: str | Algorithm = "self_consistency",
        *,
        engine: Engine | str = "default",
        programs: int | None = None,
        scheduler: str | Order | None = "sjf",
        pacing: Pacing | None = None,
        on_event: Callable[[JSON], None] = lambda event: None,
        **settings: Any,
    ) -> None:
        if programs is not None and programs < 1:
            raise ConfigError(f"programs must be at least 1, got {programs}")
        self.algorithm = find_algorithm(algorithm)
        self.engine, self.programs, self.on_event = engine, programs, on_event
        self.pacing = pacing
        self.scheduler = order_named(scheduler) if isinstance(scheduler, str) else scheduler
        with with_reward(settings) as checked:
            # A wrong setting shows now, not at the first question.
            configure(self.algorithm, **checked)
        self._settings = settings

    async def run(self, questions: Iterable[Question]) -> AsyncGenerator[Result, None]:
        """The results, in the order in which the programs end.

        A program that fails on its own (a prompt that is too long) gives a result with `error`;
        the others go on. Read it under `contextlib.aclosing`: leaving early stops every program.

        Raises:
            EngineDied: The engine ended; results so far have been yielded.
            EngineUnreachable: The server is gone.
        """
        async with scheduled(self.engine, self.scheduler) as name:
            with with_reward(self._settings) as settings:
                context = configure(self.algorithm, engine=name, **settings)
                most = self.programs or _filling(await engine_named(name), context)
                async with aclosing(self._all(context, iter(questions), most)) as results:
                    async for result in results:
                        yield result

    async def _all(
        self, context: Context, waiting: Iterator[Question], most: int
    ) -> AsyncGenerator[Result, None]:
        loop = asyncio.get_running_loop()
        running: list[asyncio.Task[Result]] = []  # in the order in which they began
        ended = asyncio.Event()  # `asyncio.wait` would call each of them for each that ends
        try:
            while True:
                for question in itertools.islice(waiting, most - len(running)):
                    task = loop.create_task(self._paced(context, question))
                    running.append(task)
                    task.add_done_callback(lambda _: ended.set())
                    # One in each turn of the loop: the first is at work while the others begin.
                    await asyncio.sleep(0)
                if not running:
                    return
                await ended.wait()
                ended.clear()
                done = [task for task in running if task.done()]
                # Of those that ended together, results before failures: none may be lost.
                for task in sorted(done, key=_failed):
                    running.remove(task)
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _paced(self, context: Context, question: Question) -> Result:
        if self.pacing is None:
            return await self._attempt(context, question)
        rule = self.pacing.begin(question.id)
        result = Result(id=question.id, question=question.text)
        try:
            result = await self._attempt(
                context.model_copy(update={"policy": rule.model_dump(mode="json")}), question
            )
        finally:
            self.pacing.end(question.id, result.usage.generated)
        return result

    async def _attempt(self, context: Context, question: Question) -> Result:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with aclosing(_run_one(self.algorithm, context, question)) as items:
                async for item in items:
                    if isinstance(item, Result):
                        return item
                    self.on_event(item)
        except (EngineDied, EngineUnreachable):
            raise
        except (InputError, EngineError) as error:
            failed = Result(
                id=question.id,
                question=question.text,
                gold=question.gold,
                error=f"{type(error).__name__}: {error}",
                latency_s=clock() - started,
            )
            self.on_event({"event": "result", "program": question.id, **failed.to_json()})
            return failed
        raise AssertionError("a program ends with a result")
