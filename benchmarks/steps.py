"""Steps: how full an engine was while something ran on it, what they took, and when they were read."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.simulation import Speed
from dynasor_graph.simulation.fit import Measured

__all__ = ["Record", "Step"]

IDLE = 3.0
"""Of what steps take at a speed: who takes so much longer had nothing to do for a time."""


class Step(NamedTuple):
    """One step that said something.

    Attributes:
        ended: When it ended, on the monotonic clock, as the engine's process says.
        read: When vLLM's front end read it.
        outputs: Requests in it.
        begun: Of them, those whose prompt it ended.
        prompt_tokens: Computed of these prompts.
        context_tokens: What all of its requests have in the KV cache, added up.
    """

    ended: float
    read: float
    outputs: int
    begun: int
    prompt_tokens: int = 0
    context_tokens: int = 0


class Record:
    """Notes each step of an open engine.

    Args:
        engine: vLLM in this process, before its first request.

    Attributes:
        steps: Since the start.
    """

    def __init__(self, engine: VllmEngine) -> None:
        self.steps: list[Step] = []
        self._context: dict[str, int] = {}  # by request
        self._read = engine._steps._read
        engine._steps._read = self._note
        self._started = time.monotonic()

    async def _note(self) -> Any:
        step = await self._read()
        if not step.outputs:
            return step
        begun = computed = held = 0
        for output in step.outputs:
            if output.prefill_stats is not None:
                begun += 1
                computed += output.prefill_stats.num_computed_tokens
                self._context[output.request_id] = output.prefill_stats.num_prompt_tokens
            context = self._context.get(output.request_id, 0) + len(output.new_token_ids)
            self._context[output.request_id] = context
            held += context
            if output.finish_reason is not None:
                del self._context[output.request_id]
        self.steps.append(
            Step(step.timestamp, time.monotonic(), len(step.outputs), begun, computed, held)
        )
        return step

    def start(self) -> None:
        """Forget what was."""
        self.steps, self._started = [], time.monotonic()

    def stop(self, engine: VllmEngine) -> None:
        """Note no more of the engine's steps."""
        engine._steps._read = self._read

    def measured(self, name: str, size: int = 16) -> Iterator[Measured]:
        """So many steps at a time, but for the first: it began when something came.

        Not one at a time: what a prompt costs may show in the step before its own.
        """
        for number, at in enumerate(range(1, len(self.steps) - size + 1, size)):
            part = self.steps[at : at + size]
            mixed = [step for step in part if step.begun]
            yield Measured(
                name=f"{name}, part {number}",
                seconds=part[-1].ended - self.steps[at - 1].ended,
                steps=size,
                prompt_steps=len(mixed),
                sequences=sum(step.outputs for step in part),
                mixed_sequences=sum(step.outputs for step in mixed),
                requests=sum(step.begun for step in part),
                prompt_tokens=sum(step.prompt_tokens for step in part),
                context_tokens=sum(step.context_tokens for step in part),
            )

    def slower(self, speed: Speed) -> float:
        """How many times as long as at a speed the steps took, but for pauses; 0 if there were few."""
        parts = [(part.seconds, part.predicted(speed)) for part in self.measured("")]
        took = [(real, told) for real, told in parts if real < IDLE * told]
        return sum(real for real, _ in took) / sum(told for _, told in took) if took else 0.0

    def __str__(self) -> str:
        """What was noted since the start, in a line."""
        steps = self.steps
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
