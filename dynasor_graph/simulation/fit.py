"""Fit: an engine's step times out of batches, or single steps, that were run on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError
from scipy.optimize import nnls

from dynasor_graph.errors import InputError, explain
from dynasor_graph.simulation.speed import Speed

__all__ = ["MIXED", "TERMS", "Measured", "added_up", "fit_speed"]

TERMS = ("fixed", "per_sequence", "per_request", "per_prompt_token", "per_context_token")
"""The fields of a Speed that are fitted."""

MIXED = ("mixed", "per_mixed_sequence")
"""Those that are fitted where it is known which steps computed prompts: see `fit_speed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Steps of an engine: of requests that were started at once and read to their ends, or any others.

    Attributes:
        name: What it was.
        seconds: From the start to the end of the last, > 0.
        steps: Steps of the engine.
        prompt_steps: Of these, steps that computed prompt tokens.
        sequences: Over all steps, the sequences in each: the tokens that were made.
        mixed_sequences: Of these, those in steps that computed prompt tokens.
        requests: That began.
        prompt_tokens: Computed, not found in the cache.
        context_tokens: Over all steps, the tokens attended.
    """

    name: str
    seconds: float
    steps: int
    prompt_steps: int
    sequences: int
    mixed_sequences: int
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
            mixed_sequences=len(requests),  # each is in one
            requests=len(requests),
            prompt_tokens=computed,
            context_tokens=sum(
                made * prompt + made * (made - 1) // 2 for prompt, _, made in requests
            ),
        )

    def counts(self) -> dict[str, int]:
        """What each of `TERMS` and of `MIXED` is multiplied with."""
        return {
            "fixed": self.steps,
            "per_sequence": self.sequences,
            "per_request": self.requests,
            "per_prompt_token": self.prompt_tokens,
            "per_context_token": self.context_tokens,
            "mixed": self.prompt_steps,
            "per_mixed_sequence": self.mixed_sequences,
        }

    def plus(self, other: Measured) -> Measured:
        """Both, one after the other, under the name of the first."""
        mine, its = asdict(self), asdict(other)
        return Measured(
            name=self.name, **{key: mine[key] + its[key] for key in mine if key != "name"}
        )

    def predicted(self, speed: Speed) -> float:
        """Seconds that it takes at a speed."""
        return float(sum(getattr(speed, name) * n for name, n in self.counts().items()))


def added_up(measured: Iterable[Measured]) -> list[Measured]:
    """One for each name: everything in those of that name, added up."""
    found: dict[str, Measured] = {}
    for one in measured:
        before = found.get(one.name)
        found[one.name] = one if before is None else before.plus(one)
    return list(found.values())


def fit_speed(
    measured: Sequence[Measured], *, terms: Sequence[str] = TERMS, **limits: Any
) -> Speed:
    """The speed that is nearest to what was measured, by least squares of the relative error.

    No term is below 0 (Lawson and Hanson's method, `scipy.optimize.nnls`). For the terms to be told
    apart the batches have to differ in size, in the length of prompts, and in what was cached.
    Batches of one name are repeats, and are added up before: the error is that of their mean, so
    that a machine that is slow at times does not count as fast.

    Args:
        measured: The batches.
        terms: What is fitted. `MIXED` is not among it, for batches that begin at once have few steps of
            that kind: add it for steps of requests that come one after the other.
        limits: The other fields of a `Speed`.

    Raises:
        InputError: There are too few batches, one took no time, or a limit is wrong.
    """
    batches = added_up(measured)
    if len(batches) < len(terms):
        raise InputError(
            f"{len(batches)} different batches are too few for {len(terms)} terms: measure more"
        )
    for one in batches:
        if not one.seconds > 0:
            raise InputError(f"{one.name}: seconds must be more than 0, got {one.seconds}")
    counts = [(one.counts(), one.seconds) for one in batches]
    rows = np.array([[n[name] / seconds for name in terms] for n, seconds in counts])
    scale = np.maximum(rows.max(axis=0), 1e-300)  # columns alike: nnls stops by absolute size
    found, _ = nnls(rows / scale, np.ones(len(rows)))
    values = {name: float(x) for name, x in zip(terms, found / scale, strict=True)}
    try:
        return Speed(**values, **limits)
    except ValidationError as error:
        raise InputError(str(explain(error, "speed"))) from None
