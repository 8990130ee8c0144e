"""Value of computation: who leads, what signals say, when the table says stop; by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from dynasor_graph.policies import Fixed, Progress, Value, leader_probability, read_policy
from dynasor_graph.policies.value import SIGNALS, Leader, leader_of, log_odds, signals
from dynasor_graph.replay import Ballot, Decider, replay_votes

ODDS = math.log(9)
"""Log-odds of 0.9."""


def answered(*order: int | None, cap: int = 40, **more: Any) -> Progress:
    """A program whose branches gave answers of these classes, in this order."""
    given_ = [number for number in order if number is not None]
    votes = sorted((given_.count(number) for number in set(given_)), reverse=True)
    return Progress(
        knob=len(order),
        cap=cap,
        votes=tuple(votes),
        empty=len(order) - len(given_),
        order=order,
        **more,
    )


def value(**more: Any) -> Value:
    """A model of the votes alone that always says 0.5, and a table of one column."""
    told: dict[str, Any] = {
        "price": 0.1,
        "kinds": ("votes",),
        "bias": 0.0,
        "weights": (0.0,) * 6,
        "edges": (),
        "worth": ((0.3,), (0.1,), (0.0,)),
    }
    return Value(**told | more)


# --- the leader


@pytest.mark.parametrize(
    ("order", "rewards", "vote", "leader"),
    [
        pytest.param((), (), "majority", Leader(None, 0, 0), id="nothing yet"),
        pytest.param((None, None), (0.9, 0.9), "best", Leader(None, 0, 0), id="no answers"),
        pytest.param((4,), (), "majority", Leader(4, 1, 0), id="alone"),
        pytest.param((1, 0, 0), (), "majority", Leader(0, 2, 1), id="most votes"),
        pytest.param((1, 0, 0, 1), (), "majority", Leader(1, 2, 2), id="a tie goes to the first"),
        pytest.param((2, 0, 0, 1, 1, 1), (), "majority", Leader(1, 3, 2), id="the strongest rival"),
        pytest.param((0, 0, 1), (0.2, 0.3, 0.9), "majority", Leader(0, 2, 1), id="rewards unread"),
        pytest.param((0, 0, 1), (0.2, 0.3, 0.9), "best", Leader(1, 1, 2), id="highest reward"),
        pytest.param((1, 0), (0.5, 0.5), "best", Leader(1, 1, 1), id="equal rewards: the first"),
        pytest.param((0, None), (0.1, 0.9), "best", Leader(0, 1, 0), id="best has an answer"),
        pytest.param((0, 1), (0.0, 0.0), "best", Leader(0, 1, 1), id="rewards of 0"),
    ],
)
def test_who_leads(
    order: tuple[int | None, ...],
    rewards: tuple[float, ...],
    vote: Literal["majority", "best"],
    leader: Leader,
) -> None:
    assert leader_of(answered(*order, rewards=rewards), vote) == leader


@given(
    branches=st.lists(
        st.tuples(st.integers(-1, 3), st.sampled_from([0.1, 0.5, 0.9])), min_size=1, max_size=12
    ),
    vote=st.sampled_from(["majority", "best"]),
)
def test_the_leader_is_what_a_program_would_answer(
    branches: list[tuple[int, float]], vote: Literal["majority", "best"]
) -> None:
    classes, rewards = zip(*branches, strict=True)
    one = Ballot(classes=classes, tokens=(10,) * len(classes), rewards=rewards)
    found = replay_votes(one, range(len(classes)), Decider(Fixed(), len(classes)), vote=vote)
    order = (None if c < 0 else c for c in classes)
    leader = leader_of(answered(*order, rewards=rewards), vote)
    assert leader.answer == (None if found.answer < 0 else found.answer)


# --- the signals

VOTED = answered(
    0,
    1,
    0,
    None,
    lengths=(100, 200, 300, 400),
    logprobs=(-0.2, -0.6, -0.4, None),
    rewards=(0.5, 0.9, 0.1, 0.5),
)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        pytest.param(
            ("votes",),
            # I_0.5(3, 2) = 5/16: the leader of 2 to 1 is ahead with 11/16.
            (math.log(11 / 5), 2 / 3, 1 / 2, math.log(4), 2 / 3, 1 / 4),
            id="votes",
        ),
        pytest.param(("logprobs",), (-0.3 + 0.3, -0.2, -0.3), id="logprobs: unknown is 0"),
        pytest.param(("lengths",), (math.log(250), math.log(200 / 250)), id="lengths"),
        pytest.param(("rewards",), (0.0, ODDS, 0.0), id="rewards"),
        pytest.param((), (), id="none"),
    ],
)
def test_signals_by_hand(kinds: tuple[str, ...], expected: tuple[float, ...]) -> None:
    found = signals(VOTED, leader_of(VOTED, "majority"), kinds)
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_leader_of_the_highest_reward_has_its_own_signals() -> None:
    leader = leader_of(VOTED, "best")
    votes, rewards = (signals(VOTED, leader, (kind,)) for kind in ("votes", "rewards"))
    assert votes[:3] == pytest.approx([math.log(5 / 11), 1 / 3, -1 / 2])
    assert rewards == pytest.approx([ODDS, 0.0, 0.0])


@given(st.permutations(list(SIGNALS)))
def test_signals_come_in_one_order_whatever_the_order_of_the_kinds(kinds: list[str]) -> None:
    leader = leader_of(VOTED, "majority")
    assert signals(VOTED, leader, kinds) == signals(VOTED, leader, list(SIGNALS))


@given(
    order=st.lists(st.none() | st.integers(0, 3), max_size=9),
    kinds=st.sets(st.sampled_from(list(SIGNALS))),
    vote=st.sampled_from(["majority", "best"]),
)
def test_there_is_a_finite_number_for_each_signal(
    order: list[int | None], kinds: set[str], vote: Literal["majority", "best"]
) -> None:
    count = len(order)
    progress = answered(
        *order, lengths=(0,) * count, logprobs=(None,) * count, rewards=(0.0,) * count
    )
    found = signals(progress, leader_of(progress, vote), sorted(kinds))
    assert len(found) == sum(len(SIGNALS[kind]) for kind in kinds)
    assert all(map(math.isfinite, found))
    if not any(number is not None for number in order):
        assert not any(found)


def test_without_a_rival_its_reward_is_the_least() -> None:
    progress = answered(0, None, rewards=(0.9, 0.9))
    found = signals(progress, leader_of(progress, "majority"), ("rewards",))
    assert found == pytest.approx([ODDS, -9.0, ODDS])


@pytest.mark.parametrize(
    ("probability", "odds"),
    [(0.0, -9), (1e-9, -9), (0.5, 0), (0.9, ODDS), (1 - 1e-9, 9), (1.0, 9), (1.5, 9), (-1.0, -9)],
)
def test_more_certainty_than_1_in_10000_is_not_believed(probability: float, odds: float) -> None:
    assert log_odds(probability) == pytest.approx(odds)


# --- what is refused


@pytest.mark.parametrize(
    ("told", "said"),
    [
        pytest.param({"kinds": ()}, "at least 1 item", id="no kinds"),
        pytest.param({"kinds": ("vote",)}, "'vote' is none of votes, logprobs", id="unknown kind"),
        pytest.param({"kinds": ("votes", "votes")}, "one comes twice", id="a kind twice"),
        pytest.param({"vote": "best"}, "'best' needs 'rewards'", id="best without rewards"),
        pytest.param({"vote": "confidence"}, "'majority' or 'best'", id="unknown vote"),
        pytest.param({"weights": (0.0,) * 5}, "weights: 6 belong .* got 5", id="a weight short"),
        pytest.param({"weights": (0.0,) * 7}, "weights: 6 belong .* got 7", id="a weight more"),
        pytest.param({"edges": (0.6, 0.4)}, "edges must grow", id="edges fall"),
        pytest.param({"edges": (0.5,)}, "each row needs 2 columns", id="a column short"),
        pytest.param({"worth": ((0.1,), (0.1, 0.2))}, "each row needs 1 col", id="a column more"),
        pytest.param({"worth": ()}, "at least 1 item", id="no table"),
        pytest.param({"price": 0}, "greater than 0", id="no price"),
        pytest.param({"prise": 1}, "Extra inputs", id="a typo"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(told: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        value(**told)


# --- the verdict


@pytest.mark.parametrize(
    ("price", "branches", "verdict", "margin"),
    [
        pytest.param(0.1, 0, "continue", None, id="nothing yet"),
        pytest.param(0.1, 1, "continue", -0.2, id="worth three times its price"),
        pytest.param(0.1, 2, "terminate", 0.0, id="worth just its price"),
        pytest.param(0.1001, 2, "terminate", 0.0001, id="worth a little less"),
        pytest.param(0.0999, 2, "continue", -0.0001, id="worth a little more"),
        pytest.param(0.1, 3, "terminate", 0.1, id="worth nothing"),
        pytest.param(1e-9, 4, "terminate", 1e-9, id="beyond the table"),
        pytest.param(1e-9, 40, "terminate", 1e-9, id="far beyond the table"),
    ],
)
def test_another_branch_must_be_worth_its_price(
    price: float, branches: int, verdict: str, margin: float | None
) -> None:
    decision = value(price=price).decide(answered(*[0] * branches))
    assert decision.verdict == verdict
    assert decision.margin == (None if margin is None else pytest.approx(margin))
    assert decision.threshold == (None if margin is None else -price)
    assert decision.rule == "value"


@pytest.mark.parametrize(
    ("bias", "column"),
    [
        pytest.param(-60.0, 0, id="certainly wrong"),
        pytest.param(-1.0, 0, id="below the first edge"),
        pytest.param(0.0, 0, id="on the first edge"),
        pytest.param(1.0, 1, id="between"),
        pytest.param(2.0, 2, id="above the last edge"),
        pytest.param(900.0, 2, id="certainly right"),
    ],
)
def test_the_column_is_that_of_the_probability(bias: float, column: int) -> None:
    rule = value(bias=bias, edges=(0.5, 0.8), worth=((0.1, 0.2, 0.4),))
    progress = answered(0)
    assert rule.probability(progress) == pytest.approx(
        1 / (1 + math.exp(-max(-50, min(50, bias)))), abs=1e-12
    )
    assert rule.decide(progress).evidence == -(0.1, 0.2, 0.4)[column]


def test_the_row_is_that_of_the_branches_that_have_ended() -> None:
    rule = value(price=0.01, worth=((0.1,), (0.2,), (0.4,)))
    found = [rule.decide(answered(*[None] * n)).evidence for n in (1, 2, 3)]
    assert found == [-0.1, -0.2, -0.4], "those without an answer too"


def test_the_model_weighs_the_signals() -> None:
    rule = value(bias=-1.0, weights=(2.0, 0, 0, 0, 0, -4.0))
    z = -1 + 2 * math.log(11 / 5) - 4 * 1 / 4
    assert rule.probability(VOTED) == pytest.approx(1 / (1 + math.exp(-z)))
    assert leader_probability(2, 1) == pytest.approx(11 / 16)


def test_without_an_answer_the_bias_alone_decides() -> None:
    rule = value(bias=1.0, weights=(5.0,) * 6)
    assert rule.probability(answered(None, None)) == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_best_vote_reads_the_probability_of_the_best_answer() -> None:
    told = {"kinds": ("rewards",), "weights": (1.0, 0.0, 0.0)}
    majority, best = (value(vote=vote, **told) for vote in ("majority", "best"))
    assert majority.probability(VOTED) == pytest.approx(0.5)
    assert best.probability(VOTED) == pytest.approx(0.9)


def test_what_it_saves_is_what_is_left_to_the_cap() -> None:
    decision = value(price=1).decide(answered(0, 0, cap=10, mean_tokens=50.0))
    assert (decision.verdict, decision.saved, decision.width) == ("terminate", 400, 2)


@given(
    gains=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    prices=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
    branches=st.integers(1, 5),
)
def test_a_higher_price_never_stops_later(
    gains: list[float], prices: tuple[float, float], branches: int
) -> None:
    low, high = (
        value(price=price, worth=tuple((gain,) for gain in gains)).decide(answered(*[0] * branches))
        for price in sorted(prices)
    )
    assert low.verdict == "continue" or high.verdict == "terminate"
    for decision in (low, high):
        assert decision.margin is not None
        assert (decision.margin >= 0) == (decision.verdict == "terminate")


@pytest.mark.parametrize(
    ("kinds", "reads"),
    [
        pytest.param(("votes",), {"votes", "order"}, id="votes"),
        pytest.param(("lengths",), {"votes", "order", "lengths"}, id="lengths"),
        pytest.param(
            ("rewards", "logprobs"), {"votes", "order", "rewards", "logprobs"}, id="two kinds"
        ),
    ],
)
def test_it_reads_what_its_model_was_fitted_on(kinds: tuple[str, ...], reads: set[str]) -> None:
    count = sum(len(SIGNALS[kind]) for kind in kinds)
    assert value(kinds=kinds, weights=(0.0,) * count).reads() == reads


def test_it_survives_json_and_a_file(tmp_path: Path) -> None:
    rule = value(edges=(0.25, 0.75), worth=((0.3, 0.123456, 1e-7),), weights=(0.1,) * 6)
    path = tmp_path / "value.json"
    path.write_text(json.dumps(rule.model_dump(mode="json")))
    assert read_policy(json.loads(json.dumps(rule.model_dump(mode="json")))) == rule
    assert read_policy(rule.model_dump_json()) == rule
    assert read_policy(str(path)) == rule
    assert read_policy(rule.model_dump()).decide(VOTED) == rule.decide(VOTED)


# --- ending a branch


AGES = ((1.0, 1.5), (1.5, 0.9), (2.0, 0.4))


@pytest.mark.parametrize(
    ("lengths", "ages", "tokens"),
    [
        pytest.param((), AGES, None, id="nothing is known yet"),
        pytest.param((100,), (), None, id="no ages were fitted"),
        pytest.param((100,), AGES, 150, id="from 1.5 means on a new branch is better"),
        pytest.param((100, 201), AGES, 226, id="of the mean, rounded up"),
        pytest.param((100,), ((1.0, 1.5), (2.0, 1.0)), None, id="never worse than a new one"),
        pytest.param((0,), AGES, 1, id="at least a token"),
    ],
)
def test_where_a_new_branch_is_better_than_a_late_one(
    lengths: tuple[int, ...], ages: tuple[tuple[float, float], ...], tokens: int | None
) -> None:
    progress = Progress(knob=len(lengths), cap=9, lengths=lengths)
    assert value(ages=ages).branch_tokens(progress) == tokens
