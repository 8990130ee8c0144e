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
    at_last_word = False


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
    their last word; told once more, they do not. Call it on the event loop that the program runs on.

    Args:
        name: Its question's id.

    Returns:
        Whether a program of that name is running (`stream`, `solve` or a `Runner` runs it).
    """
    run = _runs.get(name)
    if run is None:
        return False
    again, run.told = run.told, True
    if run.now is not None and (again or not run.at_last_word):
        await run.now.stop(StopReason.STOPPED)
    return True


@contextmanager
def attend(opened: Program[Any], *, ended: bool) -> Iterator[None]:
    """While a round of a program is open, it is what is stopped.

    Args:
        opened: The round.
        ended: Whether the program had ended before: then this is its last word.
    """
    run = _runs.get(opened.name)
    if run is None:
        yield
        return
    run.now, run.at_last_word = opened, ended
    if run.told and not ended:
        opened.stop_reason = StopReason.STOPPED
        opened.in_flight.stopped = True
    try:
        yield
    finally:
        run.now = None
