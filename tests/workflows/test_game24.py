"""Game of 24: what the verifier lets through, and the search that it steers."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

import dynasor_graph as dg
from dynasor_graph.engine import forget
from tests.executor.stage import registered
from workflows import game24
from workflows.game24 import Game, step_is_right, verified

# Importing a workflow registers its engine for the whole process: here no server answers.
forget("default")

pytestmark = pytest.mark.anyio

graph = game24.graph.compile()
SETTINGS = game24.rebase.settings
FOUR = Game(numbers=[4, 9, 10, 13])
ASKED = game24.ASK.format(numbers="4 9 10 13", target=24)
GOOD = ["13 - 9 = 4 (left: 4 4 10)", "10 - 4 = 6 (left: 4 6)", "4 * 6 = 24 (left: 24)"]


def partial(*lines: str, ended: bool = False, question: str = ASKED) -> dg.Partial:
    return dg.Partial(
        question=question, prompt=(), tokens=(), text="\n".join(lines) + "\n", ended=ended
    )


@pytest.mark.parametrize(
    ("line", "left"),
    [
        pytest.param("13 - 9 = 4 (left: 4 4 10)", [4, 4, 10], id="right"),
        pytest.param("10 / 4 = 5/2 (left: 5/2 9 13)", ["5/2", 9, 13], id="fraction"),
        pytest.param("10 / 4 = 2.5 (left: 2.5 9 13)", ["5/2", 9, 13], id="decimal"),
        pytest.param("4 - 13 = -9 (left: -9 9 10)", [-9, 9, 10], id="below-zero"),
        pytest.param("13 - 9 = 5 (left: 5 4 10)", None, id="wrong-sum"),
        pytest.param("13 / 9 = 1.44 (left: 1.44 4 10)", None, id="rounded"),
        pytest.param("13 - 8 = 5 (left: 5 4 10)", None, id="a-number-that-is-not-there"),
        pytest.param("4 + 4 = 8 (left: 8 9 10 13)", None, id="a-number-twice"),
        pytest.param("13 - 9 = 4 (left: 4 10)", None, id="a-number-lost"),
        pytest.param("4 / 0 = 0 (left: 0)", None, id="by-zero"),
        pytest.param("13 - 9", None, id="no-step"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_step_is_verified_exactly(line: str, left: list[int | str] | None):
    numbers = [Fraction(number) for number in (4, 9, 10, 13)]
    found = step_is_right(line, numbers)
    wanted = None if left is None else sorted(map(Fraction, map(str, left)))
    assert (found and sorted(found)) == wanted


@pytest.mark.parametrize(
    ("lines", "ended", "reward"),
    [
        pytest.param(GOOD[:1], False, 0.5, id="on-the-way"),
        pytest.param([*GOOD, "Answer: (13-9)*(10-4)"], True, 1.0, id="right"),
        pytest.param([*GOOD, "Answer: (13-9)*(10-4) = 24"], True, 1.0, id="right-with-its-value"),
        pytest.param([*GOOD, "Answer: 4*6"], True, 0.0, id="other-numbers"),
        pytest.param([*GOOD, "Answer: (13-9)+(10-4)"], True, 0.0, id="wrong"),
        pytest.param([*GOOD, "Answer: (13-9"], True, 0.0, id="no-expression"),
        pytest.param(["13 - 9 = 5 (left: 4 5 10)"], False, 0.0, id="a-wrong-step"),
        pytest.param(GOOD, True, 0.0, id="ended-without-an-answer"),
    ],
)
def test_the_reward_is_what_can_be_verified(lines: list[str], ended: bool, reward: float):
    assert verified(partial(*lines, ended=ended)) == reward


STEPS = [
    [GOOD[0], "9 + 10 = 19 (left: 4 13 19)", "4 * 10 = 41 (left: 9 13 41)"],
    [GOOD[1], "4 + 4 = 8 (left: 8 10)"],
    [GOOD[2]],
]


def player(prompt: str, request: dg.Request) -> str:
    """A model by script: steps good and bad, and an answer that is right where its steps were."""
    said = prompt.partition("assistant: ")[2]
    done = said.splitlines()
    if len(done) < 3:
        return random.Random(request.seed).choice(STEPS[len(done)]) + "\n"
    return "Answer: (13 - 9) * (10 - 4)" if done == GOOD else "Answer: 13 + 9 + 10 - 4"


async def test_the_search_ends_at_the_first_answer_that_is_verified():
    with registered(dg.FakeEngine(player)) as name:
        context = SETTINGS.model_validate({"engine": name, "sampling": {"seed": 3}})
        state = await graph.ainvoke(FOUR, context=context)
    assert state["answer"] == "(13 - 9) * (10 - 4)"
    assert state["solved"]
    wrong = [branch for branch in state["branches"] if branch.get("reward") == 0]
    assert all(branch["answer"] != state["answer"] for branch in wrong)


async def test_what_was_not_solved_is_not_called_solved():
    engine = dg.FakeEngine(lambda prompt, request: "Answer: 4 + 9 + 10 + 13")
    with registered(engine) as name:
        state = await graph.ainvoke(FOUR, context=SETTINGS(engine=name))
    assert not state["solved"]
    assert state["answer"] == "4 + 9 + 10 + 13"


async def test_a_game_without_numbers_is_refused():
    with pytest.raises(dg.InputError, match="numbers must hold"):
        await graph.ainvoke(Game(numbers=[]))
