"""Writing: who takes care is right, and who does not makes the mistakes that are documented."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.abacus import FAMILIES, Problem, Step, make, operations as op
from dynasor_graph.abacus.problem import Misreading, Operation
from dynasor_graph.abacus.writing import (
    CAREFUL,
    CARELESS,
    FIRST_THOUGHT,
    SECOND_THOUGHT,
    Care,
    direct,
    solve,
    solve_with_mistake,
    think,
)
from dynasor_graph.errors import ConfigError
from tests.abacus.reading import digest

# The bundled model was trained on these: other text would be another data set.
RECORDED = {
    0: "c1f22cc74dca0fbb8d80327fdbb077c64b054e40edaccd39e7658a7d7fb2a1eb",
    7: "4c99c62a077bea68632a46a28e321d1cae6d0a5b29d8088649f104d3734d24ee",
    2024: "0baf9bb166c43fcd464e91016495dfed880a84a1d6eb143dac552687190ded1f",
}
ALWAYS = 1e9
SLIPS = Care(slips=ALWAYS, misreads=0)
MISREADS = Care(slips=0, misreads=ALWAYS)

CHAIN = Problem(
    "amounts",
    "How many coins does Dan have?",
    (
        Step("Ada", (17,)),
        Step("Ben", ("Ada", 5), op.ADD),
        Step("Cara", ("Ben", 4), op.MULTIPLY),
        Step("Dan", ("Cara", 10), op.SUBTRACT, Misreading(op.ADD, 0.5)),
    ),
)

seeds = st.integers(0, 2**32)
problems = st.builds(
    lambda seed, steps, family: make(random.Random(seed), steps, family),
    seeds,
    st.integers(1, 16),
    st.sampled_from(sorted(FAMILIES)),
)
cares = st.builds(Care, st.floats(0, 30), st.floats(0, 3), st.floats(0, 1))


def one_line(operation: Operation, left: int, right: int) -> Problem:
    return Problem("amounts", "How many?", (Step("Ben", (left, right), operation),))


def attempts(trace: str) -> list[int]:
    """What each attempt of a trace of thoughts came to."""
    return [int(value) for value in re.findall(r"^So I get (\d+)\.$", trace, re.MULTILINE)]


def wrong(care: Care, steps: int) -> float:
    """The share of solutions that are wrong."""
    drawn = [make(random.Random(seed), steps) for seed in range(200)]
    return sum(solve(p, random.Random(i), care)[1] != p.answer for i, p in enumerate(drawn)) / 200


def transcript(seed: int) -> list[object]:
    """All that is written from one seed, and where this leaves the source of randomness."""
    rng = random.Random(seed)
    said: list[object] = []
    for steps in range(1, 17):
        for family in FAMILIES:
            problem = make(rng, steps, family)
            said += [*direct(problem, rng), *think(problem, rng), *solve(problem, rng)]
    return [*said, rng.random()]


@pytest.mark.parametrize("seed", RECORDED)
def test_a_seed_gives_what_it_always_gave(seed: int) -> None:
    assert digest(transcript(seed)) == RECORDED[seed]


@settings(deadline=None)
@given(problems, seeds)
def test_who_takes_care_is_right(problem: Problem, seed: int) -> None:
    lines, value = solve(problem, random.Random(seed))
    assert value == problem.answer
    assert [line.split(" = ")[0] for line in lines] == [step.name for step in problem.plan]
    assert lines[-1].endswith(f" = {problem.answer}.")


@settings(deadline=None)
@given(problems, seeds, st.floats(0, 1e6))
def test_without_slips_and_misreadings_fatigue_does_no_harm(
    problem: Problem, seed: int, fatigue: float
) -> None:
    tired = Care(slips=0, misreads=0, fatigue=fatigue)
    assert solve(problem, random.Random(seed), tired) == solve(problem, random.Random(0))


@pytest.mark.parametrize(
    ("care", "lines"),
    [
        pytest.param(
            CAREFUL,
            [
                "Ben = Ada + 5 = 17 + 5 = 22.",
                "Cara = 4 * Ben = 4 * 22 = 88.",
                "Dan = Cara - 10 = 88 - 10 = 78.",
            ],
            id="none",
        ),
        pytest.param(
            SLIPS,
            [
                "Ben = Ada + 5 = 17 + 5 = 12.",
                "Cara = 4 * Ben = 4 * 12 = 49.",
                "Dan = Cara - 10 = 49 - 10 = 40.",
            ],
            id="slips",
        ),
        pytest.param(
            MISREADS,
            [
                "Ben = Ada + 5 = 17 + 5 = 22.",
                "Cara = 4 * Ben = 4 * 22 = 88.",
                "Dan = Cara + 10 = 88 + 10 = 98.",
            ],
            id="misreadings",
        ),
        pytest.param(
            Care(slips=ALWAYS, misreads=ALWAYS),
            [
                "Ben = Ada + 5 = 17 + 5 = 12.",
                "Cara = 4 * Ben = 4 * 12 = 49.",
                "Dan = Cara + 10 = 49 + 10 = 60.",
            ],
            id="slips-in-what-was-misread",
        ),
    ],
)
def test_later_lines_go_on_from_mistakes(care: Care, lines: list[str]) -> None:
    written, value = solve(CHAIN, random.Random(0), care)
    # What is stated outright leaves nothing to get wrong.
    assert written == ["Ada = 17.", *lines]
    assert written[-1].endswith(f" = {value}.")


@settings(deadline=None)
@given(problems, seeds)
def test_who_misreads_all_solves_another_problem(problem: Problem, seed: int) -> None:
    plan = tuple(
        replace(step, operation=step.misreading.operation) if step.misreading else step
        for step in problem.plan
    )
    assert solve(problem, random.Random(seed), MISREADS) == solve(
        replace(problem, plan=plan), random.Random(seed)
    )


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        pytest.param(one_line(op.SUBTRACT, 5, 9), "Ben = 5 - 9 = 0.", id="below-0"),
        pytest.param(one_line(op.MULTIPLY, 400, 30), "Ben = 30 * 400 = 9999.", id="above-9999"),
    ],
)
def test_no_value_is_out_of_bounds(problem: Problem, line: str) -> None:
    lines, value = solve(problem, random.Random(0))
    assert lines == [line]
    assert line.endswith(f" = {value}.")


@settings(deadline=None)
@given(problems, seeds, cares)
def test_mistakes_leave_no_value_out_of_bounds(problem: Problem, seed: int, care: Care) -> None:
    lines, _ = solve(problem, random.Random(seed), care)
    values = [int(line.removesuffix(".").split(" = ")[-1]) for line in lines]
    assert 0 <= min(values) <= max(values) <= 9999


def test_fatigue_grows_from_line_to_line() -> None:
    plan = tuple(Step(name, (17, 5), op.ADD) for name in ("Ada", "Ben", "Cara"))
    tired = Care(slips=1e-6, misreads=0, fatigue=1e12)
    lines, _ = solve(Problem("amounts", "How many?", plan), random.Random(0), tired)
    assert lines == ["Ada = 17 + 5 = 22.", "Ben = 17 + 5 = 12.", "Cara = 17 + 5 = 12."]


def test_the_writers_differ_in_their_care() -> None:
    by_care = [wrong(care, 8) for care in (CAREFUL, SECOND_THOUGHT, FIRST_THOUGHT, CARELESS)]
    assert by_care == sorted(set(by_care))
    assert by_care[0] == 0


def test_the_careless_writer_is_wrong_more_often_the_longer_the_problem() -> None:
    by_steps = [wrong(CARELESS, steps) for steps in (1, 4, 9, 16)]
    assert by_steps == sorted(set(by_steps))
    assert by_steps[0] < 0.1
    assert by_steps[-1] > 0.5


@pytest.mark.parametrize("field", ["slips", "misreads", "fatigue"])
@pytest.mark.parametrize("value", [-0.1, -1.0, float("nan")])
def test_care_refuses(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} must be at least 0, got {value}$"):
        Care(**({"slips": 1.0, "misreads": 1.0} | {field: value}))


@settings(deadline=None)
@given(problems, seeds)
def test_a_direct_answer_is_a_careless_solution_and_what_it_reaches(
    problem: Problem, seed: int
) -> None:
    text, answer = direct(problem, random.Random(seed))
    lines, value = solve(problem, random.Random(seed), CARELESS)
    assert text == "\n".join([*lines, f"The answer is \\boxed{{{value}}}."])
    assert answer == value


@settings(deadline=None)
@given(problems, seeds, cares, cares)
def test_thinking_ends_on_what_most_attempts_came_to(
    problem: Problem, seed: int, first: Care, later: Care
) -> None:
    text, answer = think(problem, random.Random(seed), first, later)
    thought, boxed = text.split("\n</think>\n")
    assert boxed == f"The answer is \\boxed{{{answer}}}."
    values = attempts(thought)
    assert 2 <= len(values) <= 4
    assert len(values) == 4 or values[-1] in values[:-1]
    most = max(Counter(values).values())
    assert answer == [value for value in values if values.count(value) == most][-1]


@settings(deadline=None)
@given(problems, seeds, cares)
def test_thinking_remarks_whether_an_attempt_agrees_with_the_one_before(
    problem: Problem, seed: int, care: Care
) -> None:
    thought = think(problem, random.Random(seed), care, care)[0].split("\n</think>\n")[0]
    opening, *lines = thought.split("\n")
    assert not re.search(r"\d", opening)
    # Each attempt writes out all steps; from the second on a remark follows, and a re-check
    # stands between two of them.
    values: list[int] = []
    while lines:
        attempt, lines = lines[: problem.steps + 1], lines[problem.steps + 1 :]
        assert [line.split(" = ")[0] for line in attempt[:-1]] == [s.name for s in problem.plan]
        values += attempts(attempt[-1])
        assert attempt[-2].endswith(f" = {values[-1]}.")
        if len(values) > 1:
            agrees = re.fullmatch(r"That matches\.|Same as before\.|Good, that agrees\.", lines[0])
            assert bool(agrees) == (values[-1] == values[-2])
            lines = lines[1:]
        if lines:
            assert re.match(r"Wait|Hmm|But|Hold on|Let me", lines[0])
            lines = lines[1:]
    assert values == attempts(thought)


@settings(deadline=None)
@given(problems, seeds)
def test_who_thinks_without_slips_agrees_with_himself(problem: Problem, seed: int) -> None:
    text, answer = think(problem, random.Random(seed), CAREFUL, CAREFUL)
    assert {answer, *attempts(text)} == {problem.answer}


def test_who_agrees_with_himself_after_two_attempts_overthinks_at_times() -> None:
    lengths = Counter(
        len(attempts(think(CHAIN, random.Random(seed), CAREFUL, CAREFUL)[0]))
        for seed in range(1000)
    )
    # Two in five go on, each time; nobody does after four.
    shares = {attempts: count / 1000 for attempts, count in lengths.items()}
    assert shares == pytest.approx({2: 0.6, 3: 0.24, 4: 0.16}, abs=0.04)


def test_second_thoughts_have_a_care_of_their_own() -> None:
    text, answer = think(one_line(op.ADD, 17, 5), random.Random(0), first=SLIPS, later=CAREFUL)
    assert attempts(text)[:3] == [12, 22, 22]
    assert answer == 22


def test_who_never_agrees_takes_the_last_of_four_attempts() -> None:
    lost = Care(slips=4, misreads=0)
    problem = make(random.Random(0), 12)
    traces = [think(problem, random.Random(seed), lost, lost) for seed in range(100)]
    never = [(attempts(text), answer) for text, answer in traces if len(set(attempts(text))) == 4]
    assert never
    assert all(answer == values[-1] for values, answer in never)


@given(problems, seeds)
def test_a_planted_mistake_is_the_only_one(problem: Problem, seed: int) -> None:
    """All before it is right, and every line after it follows from what stands above."""
    lines, _ = solve_with_mistake(problem, random.Random(seed))
    true, _ = solve(problem, random.Random(0))
    wrong = [at for at, (line, gold) in enumerate(zip(lines, true, strict=True)) if line != gold]
    if all(step.operation is None for step in problem.plan):
        assert not wrong
        return
    reached = {step.name: value_of(line) for step, line in zip(problem.plan, lines, strict=True)}
    off = []
    for step, line in zip(problem.plan, lines, strict=True):
        left, right = step.operands(reached)
        operation = step.operation
        value = left if operation is None else max(0, operation.apply(left, right))
        if step.line(operation, left, right, min(value, 9999)) != line:
            off.append(step.name)
    assert len(off) <= 1  # a mistake can come out at the true value
    assert not wrong or problem.plan[wrong[0]].name in off


def value_of(line: str) -> int:
    return int(line.rstrip(".").rpartition(" = ")[2])


def test_all_kinds_of_mistakes_are_planted_equally_often() -> None:
    """Three steps can slip and one can be misread: four kinds, however many steps have each."""
    true, _ = solve(CHAIN, random.Random(0))
    rng = random.Random(3)
    firsts: Counter[str] = Counter()
    for _ in range(2000):
        lines, _ = solve_with_mistake(CHAIN, rng)
        firsts[next(line for line, gold in zip(lines, true, strict=True) if line != gold)] += 1
    assert len(firsts) == 4
    assert all(440 < count < 560 for count in firsts.values())
