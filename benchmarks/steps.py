"""Steps: how full an engine was while something ran on it, and how soon its steps were read."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any, NamedTuple

from dynasor_graph.engine.vllm import VllmEngine

__all__ = ["Record"]


class Step(NamedTuple):
    """One step that said something.

    Attributes:
        ended: When it ended, on the monotonic clock, as the engine's process says.
        read: When vLLM's front end read it.
        outputs: Requests in it.
        begun: Of them, those whose prompt it ended.
    """

    ended: float
    read: float
    outputs: int
    begun: int


class Record:
    """Notes each step of an open engine.

    Args:
        engine: vLLM in this process, before its first request.
    """

    def __init__(self, engine: VllmEngine) -> None:
        self._steps: list[Step] = []
        self._read = engine._steps._read
        engine._steps._read = self._note
        self._started = time.monotonic()

    async def _note(self) -> Any:
        step = await self._read()
        if step.outputs:
            begun = sum(output.prefill_stats is not None for output in step.outputs)
            self._steps.append(Step(step.timestamp, time.monotonic(), len(step.outputs), begun))
        return step

    def start(self) -> None:
        """Forget what was."""
        self._steps, self._started = [], time.monotonic()

    def __str__(self) -> str:
        """What was noted since the start, in a line."""
        steps = self._steps
        late = sorted(step.read - step.ended for step in steps)
        full = 0.9 * max(step.outputs for step in steps)
        took = [
            (1e3 * (step.ended - before.ended), bool(step.begun))
            for before, step in itertools.pairwise(steps)
            if step.outputs > full
        ]
        alone = statistics.median([ms for ms, begun in took if not begun] or [0.0])
        begun = sum(begun for _, begun in took)
        # Not a median of those with prompts: what they cost shows in the steps beside them, too.
        longer = (sum(ms for ms, _ in took) - len(took) * alone) / max(1, begun)
        return (
            f"{len(steps)} steps, {sum(bool(step.begun) for step in steps)} of them with prompts, "
            f"{alone:.2f} ms for a full one without, {longer:.2f} more for each with, "
            f"{statistics.mean(step.outputs for step in steps):.0f} requests in each, the first "
            f"after {1e3 * (steps[0].ended - self._started):.0f} ms, read after "
            f"{1e3 * statistics.median(late):.1f} ms, at most {1e3 * late[-1]:.0f}"
        )
