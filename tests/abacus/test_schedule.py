"""Schedule: the text alone gives the answer, in as many steps as were asked for."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.abacus import MAX_STEPS, MAX_VALUE, Problem, schedule
from dynasor_graph.abacus.problem import evaluate
from dynasor_graph.abacus.writing import solve
from tests.abacus import reading
from tests.abacus.reading import understand

# The bundled model was trained on these: other text would be another data set.
RECORDED = {
    0: "56ba9e93902b436152bcd894984ce4f72eb83440f96ed79b03e47dfc68b708e3",
    7: "a83da8090b19828c35a48992c0453769caa0bb1b1056ecff55ed4d8d698aaf7b",
    2024: "7f25b27286d9cda6343b4f3c94f42b31a73ad596449ae9d1cde7de2b26f9ac89",
}
LONGEST = 180
"""Minutes that an event takes at most."""

drawn = st.builds(
    lambda seed, steps, tricky: (schedule.draw(random.Random(seed), steps, tricky), steps),
    st.integers(0, 2**32),
    st.integers(1, 16),
    st.sampled_from([1.0, 4.0]),
)


def transcript(seed: int) -> list[object]:
    """All that is drawn from one seed, and where this leaves the source of randomness."""
    rng = random.Random(seed)
    said: list[object] = []
    for steps in range(1, MAX_STEPS + 1):
        for tricky in (1.0, 4.0):
            problem = schedule.draw(rng, steps, tricky)
            said += [problem.family, problem.question, *solve(problem, rng)]
            said += [[step.misreading is not None for step in problem.plan]]
    return [*said, rng.random()]


@pytest.mark.parametrize("seed", RECORDED)
def test_a_seed_gives_what_it_always_gave(seed: int) -> None:
    assert reading.digest(transcript(seed)) == RECORDED[seed]


def test_a_problem_in_words() -> None:
    problem = schedule.draw(random.Random(9), 5)
    assert problem.question == (
        "The play takes as long as from 8:06 to 9:47. The dance takes 30 minutes less than the "
        "play. The dance takes 15 minutes longer than the concert. The race takes 45 minutes "
        "longer than the play. Before the dance there is a break of 60 minutes. The order is "
        "concert, dance, play, race. How many minutes is it from the start of the concert to the "
        "end of the dance?"
    )
    lines, answer = solve(problem, random.Random(0))
    assert lines == [
        "play = 8:06 to 9:47 = 101.",
        "dance = play - 30 = 101 - 30 = 71.",
        "concert = dance - 15 = 71 - 15 = 56.",
        "until dance = 56 + 60 = 116.",
        "with dance = 116 + 71 = 187.",
    ]
    assert answer == 187


@settings(max_examples=300, deadline=None)
@given(drawn)
def test_the_text_alone_gives_the_answer_by_the_same_steps(drawn: tuple[Problem, int]) -> None:
    problem, steps = drawn
    read = understand(problem.question)
    assert read.answer == problem.answer
    # The same steps in the order in which a reader can take them: none is useless, none missing.
    assert list(read.lines.items()) == list(evaluate(problem.plan).items())
    assert problem.steps == len(problem.plan) == steps


@settings(max_examples=300, deadline=None)
@given(drawn)
def test_all_times_are_in_range(drawn: tuple[Problem, int]) -> None:
    problem, _ = drawn
    events, values = understand(problem.question).values, evaluate(problem.plan)
    assert 1 <= min(events.values()) <= max(events.values()) <= LONGEST
    assert 1 <= min(values.values()) <= max(values.values()) <= MAX_VALUE


@pytest.mark.parametrize("steps", range(1, MAX_STEPS + 1))
def test_every_length_can_be_drawn(steps: int) -> None:
    for seed in range(5):
        problem = schedule.draw(random.Random(seed), steps)
        assert understand(problem.question).steps == problem.steps == steps


@pytest.fixture(scope="module")
def forms() -> Counter[str]:
    """How often each form of sentence occurs in many problems."""
    found: Counter[str] = Counter()
    for seed in range(400):
        found += understand(schedule.draw(random.Random(seed), 1 + seed % 16).question).forms
    return found


@pytest.mark.parametrize("form", [one.form for one in reading.SCHEDULE])
def test_every_form_of_sentence_occurs(forms: Counter[str], form: str) -> None:
    assert forms[form] > 0


def test_tricky_makes_what_is_easily_misread_more_frequent() -> None:
    def share(tricky: float) -> Fraction:
        plans = [schedule.draw(random.Random(seed), 10, tricky).plan for seed in range(300)]
        related = [s for plan in plans for s in plan if s.spelled and isinstance(s.inputs[0], str)]
        return Fraction(sum(step.misreading is not None for step in related), len(related))

    assert share(0.0) == 0
    assert 0 < 2 * share(1.0) < share(4.0)
