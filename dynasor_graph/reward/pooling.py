"""A reward model on vLLM in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from dynasor_graph.engine.pooler import Pooled, VllmPooler
from dynasor_graph.errors import ConfigError, RewardError
from dynasor_graph.reward.base import Partial, Score
from dynasor_graph.reward.reading import (
    Normalise,
    Reads,
    Steps,
    all_of,
    chance,
    chat,
    check_labels,
    check_length,
    check_settings,
    join_steps,
    tagged,
)
from dynasor_graph.types import Message

__all__ = ["Pooler", "PoolingReward"]


class Pooler(Protocol):
    """What runs the model: `VllmPooler`.

    Attributes:
        model: Its name.
        context: Tokens that it reads at once.
        labels: Numbers that its head gives.
        step_tag: Text of the token that ends a step, if it judges steps.
    """

    model: str
    context: int
    labels: int
    step_tag: str | None

    async def pool(self, token_ids: Sequence[int]) -> Pooled: ...

    async def render(self, messages: Sequence[Message]) -> list[int]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


class PoolingReward:
    """Judges with a reward model: a sequence classifier, or one that judges each step.

    Args:
        model: A folder with a model, the name of a bundled one, a hub name, or a `Pooler`.
        normalise: How its numbers become one in [0, 1]. "sigmoid" is for one, and the default for
            it; "softmax" for two, of which the last is the good one, and the default for them;
            "none" where the last is in [0, 1] already.
        steps: How the scores of the steps become one; only with `step_tag`.
        step_tag: Text of the token that ends a step, such as "<extra_0>", for a model that judges
            steps. It sees all of the solution anew at each call.
        step_ends: Text that ends a step in a solution; the tag is put in its place.
        reads: "tokens": the prompt and the solution exactly as generated, for a reward model with
            the generator's tokenizer. "text": question and solution by its own chat template, for
            any other.
        engine_args: Passed to `VllmPooler`.

    Raises:
        ConfigError: A setting is wrong, or, on opening, does not suit the model.
    """

    def __init__(
        self,
        model: str | Path | Pooler = "abacus-7m-reward",
        *,
        normalise: Normalise | None = None,
        steps: Steps = "last",
        step_tag: str | None = None,
        step_ends: str = "\n",
        reads: Reads = "tokens",
        **engine_args: Any,
    ) -> None:
        self._pooler: Pooler
        if isinstance(model, (str, Path)):
            self._pooler = VllmPooler(model, step_tag=step_tag, **engine_args)
        else:
            self._pooler, step_tag = model, model.step_tag
            if engine_args:
                raise ConfigError(f"a pooler takes no {', '.join(engine_args)}: give it to its own")
        check_settings(
            normalise=normalise, steps=steps, reads=reads, step_tag=step_tag, step_ends=step_ends
        )
        self.name = self._pooler.model
        self._normalise, self._steps, self._reads = normalise, steps, reads
        self._tag, self._ends = step_tag, step_ends

    async def __aenter__(self) -> Self:
        await self._pooler.__aenter__()
        try:
            check_labels(self.name, self._pooler.labels, self._normalise)
        except BaseException:
            await self._pooler.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._pooler.__aexit__(*exc)

    async def forget_prefixes(self) -> None:
        """Empty the model's prefix cache, if it has one: see `VllmHost.forget_prefixes`."""
        if isinstance(self._pooler, VllmPooler):
            await self._pooler.forget_prefixes()

    async def score(self, partials: Sequence[Partial]) -> list[Score]:
        """Judge solutions, all at the same time, so that vLLM batches them."""
        return await all_of(self._score(partial) for partial in partials)

    async def _score(self, partial: Partial) -> Score:
        expected = 1
        if self._reads == "tokens":
            ids = [*partial.prompt, *partial.tokens]
        elif self._tag is None:
            ids = await self._pooler.render(chat(partial))
        else:
            text, expected = tagged(partial.text, self._tag, self._ends)
            ids = await self._pooler.render(chat(partial, text))
        if self._pooler.context:  # else it is not open, and says so itself
            check_length(self.name, len(ids), self._pooler.context)
        pooled = await self._pooler.pool(ids)
        if len(pooled.rows) != expected:
            raise RewardError(
                f"reward model {self.name!r} judged {len(pooled.rows)} steps of {expected}: does "
                f"its chat template leave part of the solution out, or does the question hold "
                f"{self._tag!r}?"
            )
        values = [chance(row, self._normalise) for row in pooled.rows]
        return Score(join_steps(values, self._steps), pooled.computed)
