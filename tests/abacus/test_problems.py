"""The question generator: what it said when the models were trained, and what it always keeps."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.abacus import problems
from dynasor_graph.abacus.problems import (
    MAX_DIFFICULTY,
    MAX_VALUE,
    PROBE,
    Problem,
    chat,
    derivation,
    direct,
    example,
    make,
    probe,
    questions,
    think,
)

# Recorded from the code that trained the bundled models; other text would be another data set.
RECORDED = {
    0: "98fe7e962ee680eaf7e57bd984cfdbfb075d3b28d936fd45e88bcdbc98b8d66b",
    1: "77ebe5e4b5d38de141a179c4026dc009bf85b16e64f6ac3f3d7fa62c28945cd9",
    7: "d0851643e285775362aae72a418114af80a80e8a3908dd53b5adf1a6beaa56ae",
    2024: "b0e06a62b4cdfe48e842716d507bdbf70f8bb3f15f51409405829a76c3636295",
    12345: "d024dca61597f895911fa85ef357f9a78ac5f292e6d6132d013ef0221d347a50",
}

FACTORS = {
    "half": Fraction(1, 2),
    "twice": Fraction(2),
    "three times": Fraction(3),
    "four times": Fraction(4),
}

seeds = st.integers(0, 2**32)
drawn = st.builds(
    lambda seed, difficulty: make(random.Random(seed), difficulty), seeds, st.integers(1, 14)
)


def transcript(module: Any, seed: int) -> str:
    """All that the generator says for one seed, and where it leaves the source of randomness."""
    rng = random.Random(seed)
    said: list[object] = []
    for difficulty in (*range(1, 15), 16):
        problem = module.make(rng, difficulty)
        said += [problem.question, problem.answer, problem.difficulty]
        said += [list(problem.targets), sorted(problem.values.items())]
        said += [[q.name, q.sentence, q.kind, q.value] for q in problem.plan]
        said += [*module.derivation(problem), *module.derivation(problem, rng, 0.3)]
        said += [module.direct(problem), module.think(problem, rng), module.probe(problem, rng)]
        said.append(module.chat(problem.question, "So"))
    said += [module.example(rng) for _ in range(100)]
    said.append(rng.random())
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def understand(question: str) -> tuple[int, int]:
    """The answer and the number of lines it needs, read from the text alone."""
    *statements, asked = re.findall(r"[^.?]+[.?]", question)
    facts = dict(one.strip(" .").split(" has ") for one in statements)
    needed: set[str] = set()

    def amount(name: str) -> int:
        needed.add(name)
        match facts[name].replace(" as many", " times").split():
            case [number, _item]:
                return int(number)
            case [number, "more", _item, "than", other]:
                return amount(other) + int(number)
            case [number, "fewer", _item, "than", other]:
                return amount(other) - int(number)
            case ["as", "many", _item, "as", one, "and", other, "together"]:
                return amount(one) + amount(other)
            case [*factor, "times", _item, "as", other]:
                product = amount(other) * FACTORS[" ".join(factor)]
                assert product.denominator == 1
                return int(product)
        raise AssertionError(facts[name])

    wanted = re.fullmatch(
        r" How many \w+ (?:does|do) (\w+)(?: and (\w+))? have( together)?\?", asked
    )
    assert wanted
    one, other, together = wanted.groups()
    assert bool(other) == bool(together)
    total = amount(one) + (amount(other) if other else 0)
    return total, len(needed) + bool(other)


@pytest.mark.parametrize("seed", RECORDED)
def test_every_style_is_as_recorded(seed: int) -> None:
    assert transcript(problems, seed) == RECORDED[seed]


def test_a_recorded_problem_in_words() -> None:
    problem = make(random.Random(3), 4)
    assert problem.question == (
        "Xena has 28 cards. Emil has 16 more cards than Xena. Eve has four times as many cards as "
        "Emil. Ada has 17 more cards than Eve. How many cards does Ada have?"
    )
    assert direct(problem) == (
        "Xena has 28.\nEmil has 28 + 16 = 44.\nEve has 4 * 44 = 176.\nAda has 176 + 17 = 193.\n"
        "The answer is \\boxed{193}."
    )


@given(drawn)
def test_the_text_alone_gives_the_answer_in_so_many_lines(problem: Problem) -> None:
    assert understand(problem.question) == (problem.answer, problem.difficulty)


@given(seeds, st.integers(1, 14))
def test_difficulty_is_exact(seed: int, difficulty: int) -> None:
    problem = make(random.Random(seed), difficulty)
    lines, value = derivation(problem)
    assert (problem.difficulty, len(lines), value) == (difficulty, difficulty, problem.answer)


def test_the_greatest_difficulty_is_reached() -> None:
    assert make(random.Random(0), MAX_DIFFICULTY).difficulty == MAX_DIFFICULTY


@given(drawn)
def test_values_stay_in_range_and_the_plan_can_be_followed(problem: Problem) -> None:
    assert 1 <= problem.answer <= MAX_VALUE
    assert all(1 <= value <= MAX_VALUE for value in problem.values.values())
    seen: set[str] = set()
    for quantity in problem.plan:
        assert seen.issuperset(quantity.sources)
        seen.add(quantity.name)
    assert seen.issuperset(problem.targets)
    assert problem.answer == sum(problem.values[target] for target in problem.targets)


@given(drawn, seeds)
def test_an_error_rate_of_zero_makes_no_slips(problem: Problem, seed: int) -> None:
    assert derivation(problem, random.Random(seed), 0.0) == derivation(problem)


@given(drawn, seeds)
def test_slips_leave_no_value_below_zero(problem: Problem, seed: int) -> None:
    lines, value = derivation(problem, random.Random(seed), 1.0)
    assert value >= 0
    assert not re.search(r"= -", "\n".join(lines))


@given(drawn, seeds)
def test_thinking_ends_on_two_attempts_that_agree_on_the_truth(problem: Problem, seed: int) -> None:
    text = think(problem, random.Random(seed))
    assert text.startswith("<think>\n")
    assert text.endswith(f"\n</think>\nThe answer is \\boxed{{{problem.answer}}}.")
    assert re.findall(r"So I get (\d+)\.", text)[-2:] == [str(problem.answer)] * 2


@given(drawn, seeds)
def test_a_probe_ends_on_the_true_answer(problem: Problem, seed: int) -> None:
    body, forced = probe(problem, random.Random(seed)).split(PROBE)
    assert forced == f"{problem.answer}}}"
    assert "boxed" not in body
    assert "</think>" not in body


def test_chat_format() -> None:
    assert chat("How many?") == "<|user|>How many?<|assistant|>"
    assert chat("How many?", "Two.") == "<|user|>How many?<|assistant|>Two."


def test_examples_come_in_the_documented_shares() -> None:
    rng = random.Random(0)
    styles: Counter[str] = Counter()
    for _ in range(4000):
        prompt, completion = example(rng)
        assert prompt.startswith("<|user|>")
        assert prompt.endswith("<|assistant|>")
        ended = completion.endswith("}.")
        styles["probe" if not ended else "think" if "</think>" in completion else "direct"] += 1
    assert {style: round(count / 4000, 1) for style, count in styles.items()} == {
        "direct": 0.5,
        "think": 0.3,
        "probe": 0.2,
    }


@pytest.mark.parametrize("difficulty", [-1, 0, MAX_DIFFICULTY + 1])
def test_difficulty_out_of_range(difficulty: int) -> None:
    with pytest.raises(
        ValueError, match=rf"^difficulty must be between 1 and {MAX_DIFFICULTY}, got {difficulty}$"
    ):
        make(random.Random(0), difficulty)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_error_rate_out_of_range(rate: float) -> None:
    problem = make(random.Random(0), 2)
    with pytest.raises(ValueError, match=r"^error_rate must be between 0\.0 and 1\.0, got "):
        derivation(problem, random.Random(0), rate)


def test_slips_need_a_source() -> None:
    with pytest.raises(ValueError, match=r"^error_rate must be 0 where no rng is given, got 0\.1$"):
        derivation(make(random.Random(0), 2), None, 0.1)


def test_questions_are_the_same_for_the_same_seed_only() -> None:
    assert questions(28, seed=5) == questions(28, seed=5)
    assert questions(28, seed=5) != questions(28, seed=6)


@settings(max_examples=50)
@given(n=st.integers(1, 60), low=st.integers(1, 10), span=st.integers(1, 5), seed=seeds)
def test_questions_are_spread_evenly(n: int, low: int, span: int, seed: int) -> None:
    asked = questions(n, seed=seed, steps=(low, low + span - 1))
    counts = Counter(question.steps for question in asked)
    assert len(asked) == n
    assert counts.keys() <= set(range(low, low + span))
    assert max(counts.values()) - min(counts[low + i] for i in range(span)) <= 1
    assert [question.steps for question in asked] == sorted(q.steps for q in asked)


def test_questions_carry_names_and_gold_answers() -> None:
    asked = questions(28, seed=0)
    assert [q.id for q in asked[:4]] == [
        "abacus-s1-0000",
        "abacus-s1-0001",
        "abacus-s2-0002",
        "abacus-s2-0003",
    ]
    assert len({q.id for q in asked}) == len({q.question for q in asked}) == 28
    for question in asked:
        assert understand(question.question) == (int(question.answer), question.steps)


def test_few_questions_cover_the_range_too() -> None:
    assert [q.steps for q in questions(3, seed=0, steps=(1, 9))] == [2, 5, 8]


def test_no_question_comes_twice() -> None:
    asked = questions(2000, seed=0, steps=(1, 1))
    assert len({question.question for question in asked}) == 2000


@pytest.mark.parametrize("n", [0, -3])
def test_too_few_questions(n: int) -> None:
    with pytest.raises(ValueError, match=rf"^n must be at least 1, got {n}$"):
        questions(n, seed=0)


@pytest.mark.parametrize("steps", [(0, 5), (5, 4), (1, MAX_DIFFICULTY + 1)])
def test_steps_out_of_range(steps: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"^steps must be \(low, high\) with 1 <= low <= high <= "):
        questions(3, seed=0, steps=steps)


def test_the_package_needs_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'vllm', 'langgraph'}"
    code = f"import sys, dynasor_graph.abacus; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
