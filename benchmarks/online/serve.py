"""Serve: one system under programs that arrive over time, and what became of each."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.online.systems import System
from benchmarks.online.workload import CAP, Program
from dynasor_graph.engine import Engine, forget, register
from dynasor_graph.questions import Question
from dynasor_graph.results import Result
from dynasor_graph.runner import solve
from dynasor_graph.scheduler import Scheduled

__all__ = ["Served", "serve"]

_CUT = 0.95
"""Share of the time to its deadline at which a program is cut: its answer still has to get out."""


class Served(NamedTuple):
    """One program that has ended.

    Attributes:
        seconds: From its arrival to its answer.
        queued: Seconds that its requests were held back by the scheduler, summed up.
        tokens: Net.
        right: Whether its answer is.
        difficulty: 1, 2 or 3.
    """

    seconds: float
    queued: float
    tokens: int
    right: bool
    difficulty: int

    @property
    def phi(self) -> float:
        """Finish-time fairness: seconds for each output token (paper, appendix D.3.1)."""
        return self.seconds / max(1, self.tokens)


async def serve(
    engine: Engine,
    system: System,
    programs: Sequence[Program],
    times: Sequence[float],
    longest: int,
    *,
    base: float = math.inf,
    thinking: bool = False,
) -> list[Served]:
    """Send each program at its time, and wait for all.

    Args:
        engine: An open engine that answers the programs' questions.
        system: How to serve them.
        programs: What comes.
        times: When, in seconds from now.
        longest: Most tokens of a branch.
        base: Seconds from arrival to the deadline of an easy program.
        thinking: Whether the model is to think first.
    """
    front = engine if system.order is None else Scheduled(engine, system.order)
    register("online", front)
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def one(program: Program, at: float) -> Served:
        await asyncio.sleep(max(0.0, start + at - loop.time()))
        result: Result = await solve(
            Question(id=program.row.id, text=program.row.question or "", gold=program.row.gold),
            engine="online",
            policy=system.policy,
            branches=CAP,
            budget={
                "concurrency": system.window,
                "seconds": _CUT * base * program.difficulty if system.cuts else None,
                "slo": base * program.difficulty if system.told and base < math.inf else None,
            },
            sampling={"max_tokens": longest},
            thinking=thinking,
        )
        seconds = loop.time() - start - at
        return Served(
            seconds,
            result.queued_s,
            result.usage.gross + result.usage.terminated,
            bool(result.correct),
            program.difficulty,
        )

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(one(program, at))
                for program, at in zip(programs, times, strict=True)
            ]
        return [task.result() for task in tasks]
    finally:
        forget("online")
