"""A reward that is a Python function: a verifier, unit tests, a calculator."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from dynasor_graph.reward.base import Partial, Score

__all__ = ["FunctionReward"]

Judge = Callable[[Partial], float] | Callable[[Partial], Awaitable[float]]


class FunctionReward:
    r"""Judges each solution by calling a function.

    ```python
    FunctionReward(lambda partial: 1.0 if "\\boxed{24}" in partial.text else 0.5)
    ```

    Args:
        judge: Takes a `Partial`, gives a number in [0, 1]. A plain function runs in a thread, so that
            it may take its time; an `async` one runs on the event loop.
        name: For traces and messages; by default the function's own.
    """

    def __init__(self, judge: Judge, *, name: str | None = None) -> None:
        self.name: str = name or str(getattr(judge, "__name__", type(judge).__name__))
        self._judge = judge

    async def score(self, partials: Sequence[Partial]) -> list[Score]:
        """Judge each solution; what the function raises is passed on."""
        if inspect.iscoroutinefunction(self._judge):
            values = [await self._judge(partial) for partial in partials]
        else:
            # One thread for the whole batch: starting one takes longer than most functions do.
            values = await asyncio.to_thread(lambda: [self._judge(one) for one in partials])
        return [Score(float(value)) for value in values]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None
