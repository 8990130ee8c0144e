"""Questions: spread evenly over lengths and families, each once, and the same for a seed."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple
from fractions import Fraction
from itertools import cycle, islice

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.abacus import FAMILIES, MAX_STEPS, chat, make, questions
from dynasor_graph.abacus.chat import THINK
from dynasor_graph.abacus.questions import TRAINED_STEPS, Example, example
from dynasor_graph.errors import ConfigError, UnknownName
from tests.abacus.reading import digest, understand

# The bundled model was trained on these examples: others would be another data set.
RECORDED_EXAMPLES = {
    0: "418c49b7e639fda768295099f926a958e9bd4a892e35d03916018f4b3143503f",
    7: "79dc6e5b4b56a083965d7ce7a9fc7e3d440196864190ec5c57eef09db3f31cba",
    2024: "5ac10fd8b435c62f4137668937437072e30bd57ad3d6882effa6028d55813b3b",
}
RECORDED_QUESTIONS = {
    0: "71b8026996eed982522ed05e7f1f1fd731ac380891a9d2a510709d1817815ca2",
    7: "460265388fad8e1a4c681c0e0cfe5a675dd008ac9aa4fce0fb9ea3771aab2652",
    2024: "6ee28fdc74f255ba15074d5b39bb552f88a18dc1c255b95dfc4227424b69ac89",
}
DRAWN = 3000


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    rng = random.Random(0)
    return [example(rng) for _ in range(DRAWN)]


def asked_in(prompt: str) -> str:
    """The question in a prompt."""
    found = re.fullmatch(r"<\|user\|>(.+)<\|assistant\|>(<think>\n)?", prompt)
    assert found, prompt
    return found[1]


def style(one: Example) -> str:
    thought = "thought" if "</think>" in one.completion else "direct"
    return f"forced {thought}" if one.forced is not None else thought


@pytest.mark.parametrize("seed", RECORDED_QUESTIONS)
def test_a_seed_gives_the_questions_it_always_gave(seed: int) -> None:
    asked = questions(40, seed=seed, steps=(1, MAX_STEPS))
    assert digest([astuple(one) for one in asked]) == RECORDED_QUESTIONS[seed]


def test_questions_are_the_same_for_the_same_seed_only() -> None:
    assert questions(32, seed=5) == questions(32, seed=5)
    assert questions(32, seed=5) != questions(32, seed=6)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    low=st.integers(1, 12),
    span=st.integers(1, 8),
    seed=st.integers(0, 2**32),
    families=st.permutations(sorted(FAMILIES)).flatmap(
        lambda names: st.sampled_from([names, names[:1]])
    ),
)
def test_questions_are_spread_evenly(
    n: int, low: int, span: int, seed: int, families: list[str]
) -> None:
    asked = questions(n, seed=seed, steps=(low, low + span - 1), families=families)
    counts = Counter(one.steps for one in asked)
    assert len(asked) == n
    assert counts.keys() <= set(range(low, low + span))
    assert max(counts.values()) - min(counts[low + i] for i in range(span)) <= (n % span > 0)
    assert [one.steps for one in asked] == sorted(one.steps for one in asked)
    assert [one.family for one in asked] == list(islice(cycle(families), n))


def test_few_questions_cover_the_range_too() -> None:
    assert [one.steps for one in questions(3, seed=0, steps=(1, 9))] == [2, 5, 8]


def test_questions_carry_names_and_gold_answers() -> None:
    asked = questions(64, seed=0)
    assert [one.id for one in asked[:5]] == [
        "amounts-s1-0000",
        "schedule-s1-0001",
        "amounts-s1-0002",
        "schedule-s1-0003",
        "amounts-s2-0004",
    ]
    assert asked[-1].id == "schedule-s16-0063"
    assert len({one.id for one in asked}) == 64
    for one in asked:
        read = understand(one.question)
        assert (str(read.answer), read.steps) == (one.answer, one.steps)
        assert ("The order is" in one.question) == (one.family == "schedule")


def test_no_question_comes_twice() -> None:
    rng = random.Random(0)
    repeated = {make(rng, 1, "schedule").question for _ in range(1000)}
    assert len(repeated) < 1000
    asked = questions(1000, seed=0, steps=(1, 1), families=["schedule"])
    assert len({one.question for one in asked}) == 1000


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        pytest.param(lambda: questions(0, seed=0), "n must be at least 1, got 0", id="none"),
        pytest.param(lambda: questions(-3, seed=0), "n must be at least 1, got -3", id="negative"),
        pytest.param(
            lambda: questions(3, seed=0, steps=(0, 5)),
            "steps must be (low, high) with 1 <= low <= high <= 20, got (0, 5)",
            id="no-steps",
        ),
        pytest.param(
            lambda: questions(3, seed=0, steps=(5, 4)),
            "steps must be (low, high) with 1 <= low <= high <= 20, got (5, 4)",
            id="steps-upside-down",
        ),
        pytest.param(
            lambda: questions(3, seed=0, steps=(1, 21)),
            "steps must be (low, high) with 1 <= low <= high <= 20, got (1, 21)",
            id="too-many-steps",
        ),
        pytest.param(
            lambda: questions(3, seed=0, families=[]),
            "families must name at least one family",
            id="no-family",
        ),
        pytest.param(
            lambda: questions(3, seed=0, families=["amounts", "scedule"]),
            "unknown family 'scedule': did you mean 'schedule'? there are: amounts, schedule",
            id="unknown-family",
        ),
        pytest.param(
            lambda: make(random.Random(0), 0), "steps must be between 1 and 20, got 0", id="make-0"
        ),
        pytest.param(
            lambda: make(random.Random(0), 21),
            "steps must be between 1 and 20, got 21",
            id="make-too-many-steps",
        ),
        pytest.param(
            lambda: make(random.Random(0), 3, "ages"),
            "unknown family 'ages': there are: amounts, schedule",
            id="make-unknown-family",
        ),
    ],
)
def test_what_cannot_be_asked(ask: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ask()
    assert str(refused.value) == message
    assert isinstance(refused.value, UnknownName) == message.startswith("unknown family")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("steps", "tricky"),
    [(1, 1.0), (9, 1.0), (10, 1.4), (14, 3.0), (16, 3.8), (20, 5.4)],
    ids=lambda value: str(value),
)
def test_from_10_steps_on_more_is_easily_misread(family: str, steps: int, tricky: float) -> None:
    for seed in range(3):
        drawn = FAMILIES[family](random.Random(seed), steps, tricky)
        assert make(random.Random(seed), steps, family) == drawn


@pytest.mark.parametrize("family", FAMILIES)
def test_long_problems_are_easily_misread_more_often(family: str) -> None:
    def share(steps: int) -> Fraction:
        """How many of the statements about two of them are easily misread."""
        plans = [make(random.Random(seed), steps, family).plan for seed in range(150)]
        related = [s for plan in plans for s in plan if s.spelled and isinstance(s.inputs[0], str)]
        return Fraction(sum(step.misreading is not None for step in related), len(related))

    assert 0 < 2 * share(9) < share(16)


@pytest.mark.parametrize("seed", RECORDED_EXAMPLES)
def test_a_seed_gives_the_examples_it_always_gave(seed: int) -> None:
    rng = random.Random(seed)
    said = [astuple(example(rng)) for _ in range(100)]
    assert digest([said, rng.random()]) == RECORDED_EXAMPLES[seed]


def test_examples_come_in_the_documented_shares(examples: list[Example]) -> None:
    shares = {name: n / DRAWN for name, n in Counter(map(style, examples)).items()}
    assert shares == pytest.approx(
        {"direct": 0.6, "thought": 0.25, "forced thought": 0.1125, "forced direct": 0.0375},
        abs=0.02,
    )


def test_three_in_five_examples_are_about_amounts(examples: list[Example]) -> None:
    amounts = sum("The order is" not in one.prompt for one in examples)
    assert amounts / DRAWN == pytest.approx(0.6, abs=0.03)


def test_long_examples_are_rarer_than_short_ones(examples: list[Example]) -> None:
    counts = Counter(understand(asked_in(one.prompt)).steps for one in examples)
    assert counts.keys() == set(range(1, TRAINED_STEPS + 1))
    in_fours = [sum(counts[steps] for steps in range(low, low + 4)) for low in (1, 5, 9, 13)]
    total = sum(0.87**steps for steps in range(1, 17))
    expected = [sum(0.87**s for s in range(low, low + 4)) / total for low in (1, 5, 9, 13)]
    assert [count / DRAWN for count in in_fours] == pytest.approx(expected, abs=0.03)


def test_an_example_asks_for_thoughts_where_it_thinks(examples: list[Example]) -> None:
    for one in examples:
        begun = THINK if "</think>" in one.completion else ""
        assert one.prompt == chat(asked_in(one.prompt), begun)


def test_an_example_is_forced_to_the_answer_that_its_writer_comes_to(
    examples: list[Example],
) -> None:
    for one in examples:
        boxed = re.findall(r"\\boxed\{(\d+)\}", one.completion)
        assert len(boxed) == 1
        assert one.completion.endswith(f"\nThe answer is \\boxed{{{boxed[0]}}}.")
        assert one.forced in (None, *boxed)


def test_some_examples_are_wrong_and_most_are_right(examples: list[Example]) -> None:
    wrong = 0
    for one in examples:
        answer = understand(asked_in(one.prompt)).answer
        wrong += not one.completion.endswith(f"\\boxed{{{answer}}}.")
    assert 0.15 < wrong / DRAWN < 0.5
