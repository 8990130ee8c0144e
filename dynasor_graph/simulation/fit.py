"""Fit: an engine's step times out of batches that were run on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError
from scipy.optimize import nnls

from dynasor_graph.errors import InputError, explain
from dynasor_graph.simulation.speed import Speed

__all__ = ["TERMS", "Measured", "added_up", "fit_speed"]

TERMS = ("fixed", "per_sequence", "per_request", "per_prompt_token", "per_context_token")
"""The fields of a Speed that are fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A batch of requests that were started at once and read to their ends.

    Attributes:
        name: What it was.
        seconds: From the start to the end of the last, > 0.
        steps: Steps of the engine.
        prompt_steps: Of these, steps that computed prompt tokens.
        sequences: Over all steps, the sequences in each: the tokens that were made.
        requests: Of the batch.
        prompt_tokens: Computed, not found in the cache.
        context_tokens: Over all steps, the tokens attended.
    """

    name: str
    seconds: float
    steps: int
    prompt_steps: int
    sequences: int
    requests: int
    prompt_tokens: int
    context_tokens: int

    @classmethod
    def of(
        cls, name: str, seconds: float, requests: Sequence[tuple[int, int, int]], budget: int
    ) -> Measured:
        """Count what a batch took.

        Args:
            name: What it was.
            seconds: From the start to the end of the last.
            requests: Of each the tokens of its prompt, how many of these were found in the cache,
                and how many it made.
            budget: Most tokens that are computed in a step (`max_num_batched_tokens`).
        """
        computed = sum(prompt - cached for prompt, cached, _ in requests)
        parts = max(1, -(-computed // budget))
        return cls(
            name=name,
            seconds=seconds,
            # The last part of the prompts makes the first tokens.
            steps=parts + max(made for *_, made in requests) - 1,
            prompt_steps=parts,
            sequences=sum(made for *_, made in requests),
            requests=len(requests),
            prompt_tokens=computed,
            context_tokens=sum(
                made * prompt + made * (made - 1) // 2 for prompt, _, made in requests
            ),
        )

    def counts(self) -> tuple[int, ...]:
        """What each of `TERMS` is multiplied with."""
        return (
            self.steps,
            self.sequences,
            self.requests,
            self.prompt_tokens,
            self.context_tokens,
        )

    def plus(self, other: Measured) -> Measured:
        """Both, one after the other, under the name of the first."""
        mine, its = asdict(self), asdict(other)
        return Measured(
            name=self.name, **{key: mine[key] + its[key] for key in mine if key != "name"}
        )

    def mixed(self, mixed: float, per_mixed_sequence: float) -> float:
        """Seconds that its steps with prompts take more than others, each of its requests in one."""
        return mixed * self.prompt_steps + per_mixed_sequence * self.requests

    def predicted(self, speed: Speed) -> float:
        """Seconds that it takes at a speed."""
        terms = (getattr(speed, name) for name in TERMS)
        steps = float(sum(a * n for a, n in zip(terms, self.counts(), strict=True)))
        return steps + self.mixed(speed.mixed, speed.per_mixed_sequence)


def added_up(measured: Iterable[Measured]) -> list[Measured]:
    """One for each name: everything in those of that name, added up."""
    found: dict[str, Measured] = {}
    for one in measured:
        before = found.get(one.name)
        found[one.name] = one if before is None else before.plus(one)
    return list(found.values())


def fit_speed(measured: Sequence[Measured], **limits: Any) -> Speed:
    """The speed that is nearest to what was measured, by least squares of the relative error.

    No term is below 0 (Lawson and Hanson's method, `scipy.optimize.nnls`). For the terms to be told
    apart the batches have to differ in size, in the length of prompts, and in what was cached.
    Batches of one name are repeats, and are added up before: the error is that of their mean, so
    that a machine that is slow at times does not count as fast.

    Args:
        measured: The batches.
        limits: The other fields of a `Speed`. `mixed` and `per_mixed_sequence` are not fitted, for
            batches that begin at once have few steps of that kind: they are taken off before.

    Raises:
        InputError: There are too few batches, one took no time, or a limit is wrong.
    """
    batches = added_up(measured)
    if len(batches) < len(TERMS):
        raise InputError(
            f"{len(batches)} different batches are too few for {len(TERMS)} terms: measure more"
        )
    for one in batches:
        if not one.seconds > 0:
            raise InputError(f"{one.name}: seconds must be more than 0, got {one.seconds}")
    rows = np.array([[n / one.seconds for n in one.counts()] for one in batches])
    scale = np.maximum(rows.max(axis=0), 1e-300)  # columns alike: nnls stops by absolute size
    more = limits.get("mixed", 0.0), limits.get("per_mixed_sequence", 0.0)
    found, _ = nnls(rows / scale, np.array([1 - one.mixed(*more) / one.seconds for one in batches]))
    values = {name: float(x) for name, x in zip(TERMS, found / scale, strict=True)}
    try:
        return Speed(**values, **limits)
    except ValidationError as error:
        raise InputError(str(explain(error, "speed"))) from None
