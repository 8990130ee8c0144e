"""Fit: the speed that made the measurements is found again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dynasor_graph.errors import InputError
from dynasor_graph.simulation import Job, Machine, Speed
from dynasor_graph.simulation.fit import MIXED, TERMS, Measured, added_up, fit_speed

TRUE = Speed(
    fixed=5e-3,
    per_sequence=2e-4,
    per_request=1e-3,
    per_prompt_token=5e-5,
    per_context_token=1e-6,
    max_num_batched_tokens=512,
)
SHAPES = [
    (1, 32, 64),
    (4, 32, 64),
    (32, 32, 64),
    (1, 500, 40),
    (8, 500, 40),
    (1, 32, 1),
    (8, 256, 1),
]


def simulated(speed: Speed, size: int, prompt: int, tokens: int) -> Measured:
    """A batch on a machine of that speed, counted as one on a real engine is."""
    machine = Machine(speed)
    jobs = [Job(prompt=tuple(range(1000 * i, 1000 * i + prompt)), most=tokens) for i in range(size)]
    for job in jobs:
        machine.submit(job, 0.0)
    while (event := machine.next_event) is not None:
        machine.advance(event)
    made = [(prompt, job.cached, tokens) for job in jobs]
    name = f"{size} x ({prompt} + {tokens})"
    return Measured.of(name, machine.now, made, speed.max_num_batched_tokens)


def batches(speed: Speed) -> list[Measured]:
    return [simulated(speed, *shape) for shape in SHAPES]


def test_what_is_counted_of_a_batch_is_what_a_machine_takes():
    # Where all prompts fit into one step, there is nothing that is only nearly so.
    one = simulated(TRUE, 8, 32, 64)
    assert one.predicted(TRUE) == pytest.approx(one.seconds)


def test_the_speed_is_found_again():
    found = fit_speed(batches(TRUE), block=16)
    for name in TERMS:
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=0.1), name
    assert found.block == 16


def test_steps_with_prompts_take_longer_by_what_is_said():
    slower = TRUE.model_copy(update={"mixed": 4e-3, "per_mixed_sequence": 1e-5})
    one = simulated(slower, 8, 32, 64)
    assert one.predicted(slower) == pytest.approx(one.seconds)
    assert one.seconds == pytest.approx(simulated(TRUE, 8, 32, 64).seconds + 4e-3 + 8e-5)


def test_what_steps_with_prompts_take_more_is_found_among_steps_of_all_kinds():
    rng = random.Random(5)
    true = TRUE.model_copy(update={"mixed": 4e-3, "per_mixed_sequence": 1e-5})
    parts = []
    for number in range(60):
        size, mixed = rng.choice([1, 8, 64]), rng.randint(0, 16)
        part = Measured(
            name=f"part {number}",
            seconds=1.0,
            steps=16,
            prompt_steps=mixed,
            sequences=16 * size,
            mixed_sequences=mixed * size,
            requests=mixed * rng.randint(1, 4),
            prompt_tokens=mixed * rng.choice([32, 512]),
            context_tokens=16 * size * rng.randint(50, 500),
        )
        parts.append(replace(part, seconds=part.predicted(true) * rng.uniform(0.99, 1.01)))
    found = fit_speed(parts, terms=(*TERMS, *MIXED))
    for name in (*TERMS, *MIXED):
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=0.2), name


def test_a_term_that_is_not_there_is_zero_and_none_is_less():
    without = TRUE.model_copy(update={"per_request": 0.0, "per_context_token": 0.0})
    rng = random.Random(3)
    noisy = [replace(one, seconds=one.seconds * rng.uniform(0.9, 1.1)) for one in batches(without)]
    found = fit_speed(noisy)
    assert min(getattr(found, name) for name in TERMS) >= 0
    assert found.fixed == pytest.approx(TRUE.fixed, rel=0.2)


def test_repeats_count_as_their_mean():
    once = batches(TRUE)
    slow = [replace(one, seconds=1.5 * one.seconds) for one in once]
    fast = [replace(one, seconds=0.5 * one.seconds) for one in once]
    assert len(added_up([*slow, *fast])) == len(once)
    for name in TERMS:
        expected = getattr(fit_speed(once), name)
        assert getattr(fit_speed([*slow, *fast]), name) == pytest.approx(expected), name


@pytest.mark.parametrize(
    ("measured", "limits", "message"),
    [
        pytest.param([], {}, "0 different batches are too few", id="none"),
        pytest.param(batches(TRUE)[:1] * 9, {}, "1 different", id="one-again-and-again"),
        pytest.param(
            [*batches(TRUE), replace(batches(TRUE)[0], name="odd", seconds=0.0)],
            {},
            "odd: seconds",
            id="no-time",
        ),
        pytest.param(batches(TRUE), {"block": 0}, "block", id="a-wrong-limit"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    measured: Sequence[Measured], limits: dict[str, Any], message: str
):
    with pytest.raises(InputError, match=message):
        fit_speed(measured, **limits)
