"""Stopping: programs that somebody tells to end now, with the answer that they have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dynasor_graph.types import StopReason

if TYPE_CHECKING:
    from dynasor_graph.executor.program import Program

__all__ = ["attend", "stop_program", "stoppable"]


class _Run:
    """A program from its question to its answer: over all of its nodes."""

    told = False
    now: Program[Any] | None = None


_runs: dict[str, _Run] = {}


@contextmanager
def stoppable(name: str) -> Iterator[None]:
    """Meanwhile a program of this name can be told to stop. Of two at a time, only the later can."""
    mine = _runs[name] = _Run()
    try:
        yield
    finally:
        if _runs.get(name) is mine:
            del _runs[name]


async def stop_program(name: str) -> bool:
    """End a program now: its branches return what they have, and it answers with the best so far.

    Its result says `StopReason.STOPPED`. A chain of thought, and a search without a solution, still say
    their last word. Call it on the event loop that the program runs on.

    Args:
        name: Its question's id.

    Returns:
        Whether a program of that name is running (`stream`, `solve` or a `Runner` runs it).
    """
    run = _runs.get(name)
    if run is None:
        return False
    run.told = True
    if run.now is not None and run.now.stop_reason is None:
        await run.now.stop(StopReason.STOPPED)
    return True


@contextmanager
def attend(opened: Program[Any], *, ended: bool) -> Iterator[None]:
    """While a round of a program is open, it is what is stopped.

    Args:
        opened: The round.
        ended: Whether the program had ended before: then its last word is left alone.
    """
    run = _runs.get(opened.name)
    if run is None or ended:
        yield
        return
    run.now = opened
    if run.told:
        opened.stop_reason = StopReason.STOPPED
        opened.in_flight.stopped = True
    try:
        yield
    finally:
        run.now = None
