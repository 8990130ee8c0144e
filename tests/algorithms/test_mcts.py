"""MCTS: bounds, choices, backups and virtual loss on trees made by hand."""

from __future__ import annotations

import math

import pytest

from dynasor_graph.engine import FakeEngine
from dynasor_graph.executor import Node, Tree
from dynasor_graph.executor.uct import ROOT, Simulation, Values, uct
from dynasor_graph.types import JSON
from tests.algorithms.climbing import climb, search

pytestmark = pytest.mark.anyio

EACH = 3
"""Ids of a simulation: two steps and the rest of a solution."""


def node(id_: int, parent: int, reward: float, *, ended: bool = False) -> Node:
    return Node(id=id_, parent=parent, tokens=[id_], reward=reward, ended=ended, answer=None)


def two_steps() -> Tree:
    """Root -> 0 (0.8) and 1 (0.3); 0 -> 2, the rest of the first solution."""
    return Tree([node(0, ROOT, 0.8), node(1, ROOT, 0.3), node(2, 0, 0.9, ended=True)])


FIRST = [Simulation(leaf=2, reward=0.9)]


@pytest.mark.parametrize(
    ("value", "visits", "above", "exploration", "bound"),
    [
        pytest.param(1.5, 2, 4, 1.0, 0.75 + math.sqrt(math.log(4) / 2), id="by-hand"),
        pytest.param(1.5, 2, 4, 0.0, 0.75, id="no-exploration"),
        pytest.param(0.0, 1, 1, 1.0, 0.0, id="first-visit"),
        pytest.param(3.0, 4, 10, 1.4, 0.75 + 1.4 * math.sqrt(math.log(10) / 4), id="constant"),
    ],
)
def test_the_bound(value: float, visits: float, above: float, exploration: float, bound: float):
    assert uct(value, visits, above, exploration) == pytest.approx(bound)


def test_rewards_are_backed_up_to_the_root():
    values = Values(two_steps(), FIRST, exploration=1.0, each=EACH)

    assert values.visits == {ROOT: 2.0, 0: 2.0, 1: 1.0, 2: 2.0}
    assert values.values == pytest.approx({ROOT: 0.9, 0: 1.7, 1: 0.3, 2: 1.8})


@pytest.mark.parametrize(
    ("exploration", "chosen"),
    [
        # 0: 0.85 + c * sqrt(ln 2 / 2) = 0.85 + 0.589 c; 1: 0.3 + c * sqrt(ln 2) = 0.3 + 0.833 c.
        pytest.param(0.0, 0, id="greedy"),
        pytest.param(2.2, 0, id="just-below"),
        pytest.param(2.3, 1, id="just-above"),
        pytest.param(10.0, 1, id="curious"),
    ],
)
def test_the_highest_bound_is_expanded_next(exploration: float, chosen: int):
    assert Values(two_steps(), FIRST, exploration, EACH).select(set()) == chosen


def test_the_rest_of_a_solution_is_no_step_to_go_on_from():
    values = Values(two_steps(), FIRST, exploration=0.0, each=EACH)

    assert values.select(set()) == 0, "its only child is the rest of a solution"


def test_an_empty_tree_is_expanded_at_its_root_once_at_a_time():
    values = Values(Tree(), [], exploration=1.0, each=EACH)

    assert values.select(set()) == ROOT
    assert values.select({ROOT}) is None


def test_what_is_busy_or_ended_is_passed_by():
    tree = two_steps()
    assert Values(tree, FIRST, 0.0, EACH).select({0}) == 1
    assert Values(tree, FIRST, 0.0, EACH).select({0, 1}) is None
    ended = Tree([node(0, ROOT, 0.8, ended=True), node(1, ROOT, 0.3)])
    assert Values(ended, [], 0.0, EACH).select(set()) == 1


def test_virtual_loss_sends_the_next_simulation_elsewhere_and_is_taken_back():
    values = Values(two_steps(), FIRST, exploration=1.0, each=EACH)
    before = (dict(values.visits), dict(values.values))
    assert values.select(set()) == 0

    for _ in range(3):
        values.back_up(0, 0.0)
    assert values.select(set()) == 1
    for _ in range(3):
        values.back_up(0, 0.0, visits=-1)

    assert (values.visits, values.values) == before


async def test_with_a_window_of_one_simulations_are_those_of_sequential_search():
    state, _ = await search("mcts", budget={"concurrency": 1}, iterations=8)

    # Replayed one by one: each simulation began where UCT says, given those before it.
    nodes: list[Node] = state["nodes"]
    for done, simulation in enumerate(state["simulations"]):
        first = min(n["id"] for n in nodes if n["id"] // 5 == simulation["leaf"] // 5)
        known = Tree(n for n in nodes if n["id"] < first)
        values = Values(known, state["simulations"][:done], 1.0, 5)
        assert values.select(set()) == next(n["parent"] for n in nodes if n["id"] == first)


async def test_a_wider_window_runs_simulations_at_a_time_and_spends_the_same_iterations():
    settings: JSON = {"iterations": 9, "children": 3}
    one, _ = await search("mcts", budget={"concurrency": 1}, **settings)
    four, _ = await search("mcts", FakeEngine(climb), budget={"concurrency": 4}, **settings)

    assert len(one["simulations"]) == len(four["simulations"]) == 9
    assert four["answer"] == one["answer"] == "aaa"
