"""Step times: what prompts cost, out of steps that were seen."""

from __future__ import annotations

import itertools
import random

import pytest

from dynasor_graph.engine.step_times import StepTimes


def steps(
    surcharge: float, *, share: float = 0.2, noise: float = 0.0, early: float = 0.0
) -> StepTimes:
    """512 steps of 10 ms, of which a share computes prompts; some of that shows in the step before."""
    draw, times = random.Random(1), StepTimes()
    begun = [draw.random() < share for _ in range(513)]
    for this, following in itertools.pairwise(begun):
        seconds = 0.01 + surcharge * ((1 - early) * this + early * following)
        times.note(seconds * (1 + draw.uniform(-noise, noise)), begun=this)
    return times


@pytest.mark.parametrize("early", [0.0, 0.6, 1.0], ids=["in-it", "in-both", "in-the-one-before"])
@pytest.mark.parametrize(
    ("surcharge", "share", "noise", "within"),
    [
        pytest.param(0.0067, 0.2, 0.0, 2e-4, id="an-h200"),
        pytest.param(0.0067, 0.08, 0.0, 2e-4, id="prompts-are-gathered"),
        pytest.param(0.0067, 0.2, 0.1, 1e-3, id="steps-that-vary"),
        pytest.param(0.0, 0.2, 0.0, 0.0, id="no-difference"),
    ],
)
def test_it_finds_what_prompts_add(
    surcharge: float, share: float, noise: float, within: float, early: float
):
    found = steps(surcharge, share=share, noise=noise, early=early).surcharge
    assert found == pytest.approx(surcharge, abs=within + 1e-9)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["no-prompts", "prompts-in-each"])
def test_it_is_a_guess_until_both_kinds_were_seen(share: float):
    assert steps(0.004, share=share).surcharge == StepTimes().surcharge == 0.002


def test_a_pause_is_no_step():
    times = StepTimes()
    for at in range(256):
        begun = at % 8 == 0
        times.note(9.0 if at % 16 == 1 else 0.01 + 0.003 * begun, begun=begun)
    assert times.surcharge == pytest.approx(0.003)


def test_it_follows_an_engine_that_changes_and_has_a_bound():
    times = StepTimes()
    for surcharge, told in ((0.001, 0.001), (0.004, 0.004), (0.02, 0.01), (0.0, 0.0)):
        for at in range(512):
            begun = at % 8 == 0
            times.note(0.01 + surcharge * begun, begun=begun)
        assert times.surcharge == pytest.approx(told)
