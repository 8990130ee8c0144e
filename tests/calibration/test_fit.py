"""Value of computation, fitted: cheaper on questions it has not seen, and always in shape."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from dynasor_graph.calibration import fit_value
from dynasor_graph.calibration.fit import ages
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import Progress, Value, read_policy
from dynasor_graph.policies.value import SIGNALS
from dynasor_graph.recordings import Recorded, Sample
from dynasor_graph.replay import Ballot, study

SAMPLES = 8


def asked(count: int, seed: int = 0, *, told: bool = True, gold: bool = True) -> list[Recorded]:
    """Questions of any difficulty; where rewards tell, they tell right from wrong."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        chance = rng.choice([0.2, 0.5, 0.8, 0.95])
        samples = []
        for _ in range(SAMPLES):
            right = rng.random() < chance
            reward = rng.uniform(0.9, 1) if right else rng.uniform(0, 0.1)
            samples.append(
                Sample(
                    answer="A" if right else rng.choice("BC"),
                    tokens=rng.randint(80, 120),
                    correct=right if gold else None,
                    logprob=-0.1,
                    reward=round(reward, 4) if told else None,
                )
            )
        rows.append(Recorded(f"q{i}", tuple(samples), gold="A" if gold else None))
    return rows


LEARNT, OTHERS = asked(60), asked(60, seed=1)


def cost(rule: Value, **how: Any) -> tuple[float, float, float]:
    """Share of the full budget's tokens, loss of accuracy and agreement on other questions."""
    fixed, own = study(OTHERS, {"value": rule}, shuffles=5, reward_cost=0, **how).rows()
    assert fixed["spent"] == 1
    return own["spent"], -(own["difference"] or 0), own["agreement"]


@pytest.mark.parametrize(
    ("kinds", "how", "spent", "lost"),
    [
        pytest.param(("rewards",), {"vote": "best"}, 0.5, 0.02, id="rewards-tell"),
        pytest.param(("votes", "rewards"), {}, 0.5, 0.0, id="a-majority-that-rewards-improve"),
        pytest.param(("votes",), {}, 0.4, 0.04, id="votes-alone"),
    ],
)
def test_it_spends_less_on_questions_it_has_not_seen(
    kinds: tuple[str, ...], how: dict[str, Any], spent: float, lost: float
) -> None:
    rule = fit_value(LEARNT, kinds, shuffles=2, price=0.3, **how)
    share, loss, _ = cost(rule, **how)
    assert share < spent
    assert loss <= lost


def test_a_higher_price_spends_less() -> None:
    rule = fit_value(LEARNT, ("votes",), shuffles=2)
    prices = (1e-6, 0.05, 0.3, 1e6)
    shares = [cost(rule.model_copy(update={"price": price}))[0] for price in prices]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.7
    assert shares[-1] < 0.15, "one branch"


def test_the_model_trusts_what_tells() -> None:
    rule = fit_value(LEARNT, ("rewards",), vote="best", shuffles=2)
    high, low = (
        rule.probability(Progress(knob=1, cap=8, votes=(1,), order=(0,), rewards=(reward,)))
        for reward in (0.95, 0.05)
    )
    assert low < 0.2 < 0.9 < high


def test_the_goal_may_be_the_answer_of_the_full_budget() -> None:
    rule = fit_value(asked(60, gold=False), ("votes",), goal="same", shuffles=2, price=0.1)
    share, _, agreement = cost(rule)
    assert share < 0.8
    assert agreement > 0.95


# --- in shape


@pytest.mark.parametrize(
    "kinds",
    [("votes",), ("lengths", "votes"), ("rewards",), tuple(SIGNALS)],
    ids=lambda kinds: "-".join(kinds),
)
@pytest.mark.parametrize("cap", [None, 1, 3])
def test_the_table_has_a_row_a_branch_and_nothing_is_worth_less_than_nothing(
    kinds: tuple[str, ...], cap: int | None
) -> None:
    rule = fit_value(LEARNT, kinds, cap=cap, shuffles=2, price=0.05)
    worth = np.array(rule.worth)
    assert worth.shape == (cap or SAMPLES, len(rule.edges) + 1)
    assert (worth >= 0).all()
    assert (worth[-1] == 0).all(), "after the last branch there is nothing to buy"
    assert cap == 1 or worth.any()
    assert (rule.kinds, rule.price, rule.vote) == (kinds, 0.05, "majority")
    assert all(0 < edge < 1 for edge in rule.edges)


@pytest.mark.parametrize("seed", [0, 7, 10, 15, 17])
def test_it_fits_where_many_programs_are_equally_sure(seed: int) -> None:
    # A share of them has the highest probability: an edge there would part it from nothing.
    rule = fit_value(asked(60, seed, told=False), ("votes",), shuffles=2)
    sure = Progress(knob=SAMPLES, cap=SAMPLES, votes=(SAMPLES,), order=(0,) * SAMPLES)
    assert rule.edges[-1] < rule.probability(sure)


def test_questions_that_all_agree_are_sure_from_the_first_branch_on() -> None:
    rows = [Recorded(f"q{i}", (Sample("A", 10, True),) * 4, gold="A") for i in range(20)]
    rule = fit_value(rows, ("lengths",), price=1)
    first = Progress(knob=1, cap=4, votes=(1,), order=(0,), lengths=(10,))
    assert rule.probability(first) > max(0.9, *rule.edges)
    assert rule.decide(first).verdict == "terminate"


def test_equal_samples_make_an_equal_policy() -> None:
    one, two, other = (
        fit_value(LEARNT, ("votes", "rewards"), shuffles=2, seed=seed) for seed in (0, 0, 1)
    )
    assert one == two != other
    assert read_policy(json.loads(json.dumps(one.model_dump(mode="json")))) == one


# --- what is refused


@pytest.mark.parametrize(
    ("rows", "kinds", "how", "error", "said"),
    [
        pytest.param(LEARNT[:19], ("votes",), {}, InputError, "19 questions are too few", id="19"),
        pytest.param([], ("votes",), {}, InputError, "0 questions are too few", id="none"),
        pytest.param(
            asked(20, gold=False), ("votes",), {}, InputError, "q0 has no gold: .*'same'", id="gold"
        ),
        pytest.param(
            asked(20, told=False), ("rewards",), {}, InputError, "rewards, and q0", id="rewards"
        ),
        pytest.param(
            [Recorded(f"q{i}", (Sample("A", 9, True),) * 2) for i in range(20)],
            ("logprobs",),
            {},
            InputError,
            "log-probabilities, and q0",
            id="logprobs",
        ),
        pytest.param(
            LEARNT, ("votes",), {"cap": 9}, InputError, "8 samples, and a cap of 9", id="cap"
        ),
        pytest.param(LEARNT, ("votes",), {"cap": 0}, ConfigError, "got 0", id="cap-0"),
        pytest.param(
            [*LEARNT, Recorded("q7", (Sample("A", None),))],
            ("votes",),
            {},
            InputError,
            "q7: .*tokens",
            id="tokens",
        ),
        pytest.param(LEARNT, (), {}, ConfigError, "some of votes", id="no-kinds"),
        pytest.param(LEARNT, ("vote",), {}, ConfigError, "'vote' is none of votes", id="kind"),
        pytest.param(
            LEARNT, ("votes", "votes"), {}, ConfigError, "one comes twice", id="a-kind-twice"
        ),
        pytest.param(
            LEARNT, ("votes",), {"vote": "best"}, ConfigError, "needs 'rewards'", id="best"
        ),
    ],
)
def test_what_it_cannot_be_fitted_on_is_said(
    rows: list[Recorded],
    kinds: tuple[str, ...],
    how: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        fit_value(rows, kinds, shuffles=1, **how)


def test_twenty_questions_are_enough() -> None:
    assert len(fit_value(LEARNT[:20], ("votes",), shuffles=1).worth) == SAMPLES


# Late branches ---------------------------------------------------------------------------------


def late_ballots(right_when_late: float) -> list[Ballot]:
    """1,000 samples: nine of ten take 100 tokens and are right, one takes 1,000."""
    rights = [i < 10 * right_when_late for i in range(10)]
    return [
        Ballot.of(
            Recorded(
                f"q{i}",
                (
                    *(Sample("A", 100, correct=True) for _ in range(9)),
                    Sample("A" if rights[i % 10] else "B", 1000, correct=rights[i % 10]),
                ),
            )
        )
        for i in range(300)
    ]


def test_a_branch_that_runs_away_is_worth_less_and_less() -> None:
    # Of the mean of 190 tokens a long sample has 5.26; it is right half as often.
    found = ages(late_ballots(right_when_late=0.5))
    assert [at for at, _ in found] == [1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0]
    for at, factor in found:
        assert factor == pytest.approx(0.5 / 0.95 / (1000 / 190 - at), abs=1e-3)


def test_where_no_late_branch_is_worse_than_a_new_one_no_ages_are_kept() -> None:
    rows = [
        Ballot.of(
            Recorded("q", tuple(Sample("A", tokens, correct=True) for tokens in (90, 100, 110)))
        )
        for _ in range(300)
    ]
    assert ages(rows) == ()


def test_lengths_that_few_samples_reach_say_nothing() -> None:
    assert ages(late_ballots(right_when_late=0.5)[:199]) == ()


def test_without_gold_late_branches_agree_or_not() -> None:
    found = ages(late_ballots(right_when_late=0.0), "same")
    assert {factor for _, factor in found} == {0.0}
