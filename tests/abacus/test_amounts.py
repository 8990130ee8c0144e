"""Amounts: the text alone gives the answer, in as many steps as were asked for."""

from __future__ import annotations

import random
import re
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.abacus import MAX_STEPS, MAX_VALUE, Problem, amounts
from dynasor_graph.abacus.amounts import RELATIONS, Relation
from dynasor_graph.abacus.problem import evaluate
from dynasor_graph.abacus.writing import solve
from tests.abacus import reading
from tests.abacus.reading import understand

# The bundled model was trained on these: other text would be another data set.
RECORDED = {
    0: "b98465d1182627f5499c967c0d88780770a64327abe23370ca9c7e83d1c170dc",
    7: "8043e57b3a4d12150d5a3cce596a6025fa140dc7356eb74c8f979fca16226e21",
    2024: "0b45c1bbac7496a9ee634f0228afee01de29fa93023ff815aab3a362f2842b62",
}
EASILY_MISREAD = [one for one in RELATIONS if one.misreading]
FORMS = [*(one.form for one in reading.AMOUNTS), reading.SINGLE, reading.DIFFERENCE]

drawn = st.builds(
    lambda seed, steps, tricky: (amounts.draw(random.Random(seed), steps, tricky), steps),
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
            problem = amounts.draw(rng, steps, tricky)
            said += [problem.family, problem.question, *solve(problem, rng)]
            said += [[step.misreading is not None for step in problem.plan]]
    return [*said, rng.random()]


@pytest.mark.parametrize("seed", RECORDED)
def test_a_seed_gives_what_it_always_gave(seed: int) -> None:
    assert reading.digest(transcript(seed)) == RECORDED[seed]


def test_a_problem_in_words() -> None:
    problem = amounts.draw(random.Random(5), 5)
    assert problem.question == (
        "Ben has 33 keys. Amir has 53 more keys than Ben. Olga has 6 keys. Amir has 41 more keys "
        "than Yara. Hugo has as many keys as Yara and Olga together. How many keys does Hugo have?"
    )
    lines, answer = solve(problem, random.Random(0))
    assert lines == [
        "Ben = 33.",
        "Amir = Ben + 53 = 33 + 53 = 86.",
        "Olga = 6.",
        "Yara = Amir - 41 = 86 - 41 = 45.",
        "Hugo = Yara + Olga = 45 + 6 = 51.",
    ]
    assert answer == 51


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
def test_all_amounts_are_in_range(drawn: tuple[Problem, int]) -> None:
    problem, _ = drawn
    values = evaluate(problem.plan)
    # What is beside the point is stated in numbers of the same size.
    values |= understand(problem.question).values
    assert 1 <= min(values.values()) <= max(values.values()) <= MAX_VALUE
    assert problem.answer == values[problem.plan[-1].name]


@pytest.mark.parametrize("steps", range(1, MAX_STEPS + 1))
def test_every_length_can_be_drawn(steps: int) -> None:
    for seed in range(5):
        problem = amounts.draw(random.Random(seed), steps)
        assert understand(problem.question).steps == problem.steps == steps


@pytest.fixture(scope="module")
def forms() -> Counter[str]:
    """How often each form of sentence occurs in many problems."""
    found: Counter[str] = Counter()
    for seed in range(400):
        found += understand(amounts.draw(random.Random(seed), 1 + seed % 16).question).forms
    return found


@pytest.mark.parametrize("form", [*FORMS, reading.TOGETHER])
def test_every_form_of_sentence_occurs(forms: Counter[str], form: str) -> None:
    assert forms[form] > 0


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda one: one.sentence.strip("."))
def test_each_relation_means_its_operation(
    relation: Relation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amounts, "RELATIONS", (relation,))
    used = 0
    for seed in range(20):
        problem = amounts.draw(random.Random(seed), 5)
        assert understand(problem.question).lines == evaluate(problem.plan)
        used += sum(step.operation is relation.operation for step in problem.plan)
    assert used > 0


@pytest.mark.parametrize("relation", EASILY_MISREAD, ids=lambda one: one.sentence.strip("."))
def test_a_misreading_is_what_a_similar_sentence_means(relation: Relation) -> None:
    def say(name: str, other: str, sentence: str) -> str:
        return sentence.format(name=name, a=other, items="coins", n=20, times="twice")

    if "%" in relation.sentence:
        similar = relation.sentence.replace("% fewer {items} than", "% as many {items} as")
        similar = say("Mia", "Ben", similar)
    else:
        # Whose amount is known is taken for the one that the sentence begins with.
        similar = say("Ben", "Mia", relation.sentence)
    asked = f"Ben has 40 coins. {similar} How many coins does Mia have?"
    n = 2 if "{times}" in relation.sentence else 20
    assert relation.misreading is not None
    assert relation.misreading.operation.apply(40, n) == understand(asked).answer
    assert relation.operation.apply(40, n) != understand(asked).answer


def test_tricky_makes_what_is_easily_misread_more_frequent() -> None:
    def share(tricky: float) -> Fraction:
        plans = [amounts.draw(random.Random(seed), 10, tricky).plan for seed in range(150)]
        related = [step for plan in plans for step in plan if len(step.inputs) == 2]
        return Fraction(sum(step.misreading is not None for step in related), len(related))

    assert share(0.0) == 0
    assert 0 < 2 * share(1.0) < share(4.0)


def test_half_of_the_texts_are_in_disorder_and_half_have_statements_beside_the_point() -> None:
    disordered = beside = 0
    for seed in range(300):
        problem = amounts.draw(random.Random(seed), 8)
        disordered += runs_ahead(problem.question)
        read = understand(problem.question)
        beside += read.values.keys() > read.lines.keys() - {"Together", "Difference"}
    assert (disordered / 300, beside / 300) == pytest.approx((0.5, 0.5), abs=0.1)


def runs_ahead(question: str) -> bool:
    """Whether some statement is about two people none of whom has been mentioned before."""
    mentioned: set[str] = set()
    for statement in question.split(". ")[:-1]:
        names = set(re.findall(r"[A-Z][a-z]+", statement))
        if len(names - mentioned) > 1:
            return True
        mentioned |= names
    return False
