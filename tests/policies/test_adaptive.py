"""Published rules over votes: their own numbers, answer by answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.policies import (
    BayesFactor,
    Dirichlet,
    Doubling,
    EqualWindow,
    MajorityShare,
    Progress,
    Rule,
    ShortFirst,
    TripleGate,
    VoteEntropy,
    largest_probability,
    leader_probability,
    read_policy,
)

ALL = [
    Dirichlet(),
    VoteEntropy(),
    MajorityShare(),
    EqualWindow(),
    Doubling(),
    TripleGate(),
    ShortFirst(),
    BayesFactor(),
]


def voted(*votes: int, empty: int = 0, cap: int = 40) -> Progress:
    """A program whose finished branches gave these votes."""
    return Progress(knob=sum(votes) + empty, cap=cap, votes=votes, empty=empty)


def answered(*order: int | None, cap: int = 40) -> Progress:
    """A program whose branches gave answers of these classes, in this order."""
    given_ = [number for number in order if number is not None]
    votes = sorted((given_.count(number) for number in set(given_)), reverse=True)
    return Progress(
        knob=len(order), cap=cap, votes=tuple(votes), empty=len(order) - len(given_), order=order
    )


@pytest.mark.parametrize(
    ("rule", "progress", "verdict"),
    [
        pytest.param(Dirichlet(), voted(3), "continue", id="dirichlet-3: .9375"),
        pytest.param(Dirichlet(), voted(4), "terminate", id="dirichlet-4: .969"),
        pytest.param(Dirichlet(), voted(5, 1), "continue", id="dirichlet-5-1: .9375"),
        pytest.param(Dirichlet(), voted(6, 1), "terminate", id="dirichlet-6-1: .965"),
        pytest.param(Dirichlet(), voted(1), "continue", id="dirichlet-one"),
        pytest.param(Dirichlet(start=5), voted(4), "continue", id="dirichlet-start"),
        # H(2, 1) / log 2 = .918; padded (3, 1) = .811, (4, 1) = .722.
        pytest.param(VoteEntropy(), voted(2, 1), "continue", id="entropy-2-1"),
        pytest.param(VoteEntropy(), voted(3), "continue", id="entropy-3"),
        pytest.param(VoteEntropy(), voted(4), "terminate", id="entropy-4"),
        pytest.param(VoteEntropy(), voted(4, 1), "terminate", id="entropy-4-1"),
        pytest.param(VoteEntropy(), voted(1), "continue", id="entropy-one"),
        pytest.param(MajorityShare(), voted(1), "continue", id="majority-one"),
        pytest.param(MajorityShare(), voted(2), "terminate", id="majority-2"),
        pytest.param(MajorityShare(), voted(4, 1), "terminate", id="majority-4-1"),
        pytest.param(MajorityShare(), voted(3, 1), "continue", id="majority-3-1"),
        pytest.param(EqualWindow(), answered(1, 1, 1, 1), "continue", id="esc-not-full"),
        pytest.param(EqualWindow(), answered(1, 1, 1, 1, 1), "terminate", id="esc-equal"),
        pytest.param(EqualWindow(), answered(1, 1, 2, 1, 1), "continue", id="esc-one-differs"),
        pytest.param(EqualWindow(), answered(1, 2, 1, 1, 1, 1, 1), "continue", id="esc-no-overlap"),
        pytest.param(
            EqualWindow(), answered(2, 3, 4, 5, 6, 1, 1, 1, 1, 1), "terminate", id="esc-second"
        ),
        pytest.param(EqualWindow(), answered(*[None] * 5), "continue", id="esc-empties"),
        pytest.param(Doubling(), voted(2), "terminate", id="doubling-2"),
        pytest.param(Doubling(), voted(1, 1), "continue", id="doubling-1-1"),
        pytest.param(Doubling(), voted(5), "continue", id="doubling-between-batches"),
        pytest.param(Doubling(), voted(5, 1), "terminate", id="doubling-5-1: .83"),
        pytest.param(Doubling(), voted(4, 2), "continue", id="doubling-4-2: .67"),
        pytest.param(TripleGate(), voted(2), "continue", id="gate-too-few"),
        pytest.param(TripleGate(), voted(3, 1), "terminate", id="gate-3-1: .75"),
        pytest.param(TripleGate(), voted(2, 2), "continue", id="gate-2-2"),
        pytest.param(TripleGate(), voted(4, 1), "continue", id="gate-odd"),
        pytest.param(TripleGate(), voted(4, 2), "continue", id="gate-4-2: .67"),
        pytest.param(ShortFirst(), voted(2), "continue", id="short-2"),
        pytest.param(ShortFirst(), voted(1, 1, empty=1), "terminate", id="short-3"),
    ],
)
def test_a_rule_decides_as_published(rule: Rule, progress: Progress, verdict: str):
    assert rule.decide(progress).verdict == verdict


@pytest.mark.parametrize(
    ("votes", "chance", "factor"),
    [
        # Chances of 2,000,000 draws of numpy's Dirichlet.
        pytest.param((1,), 0.9341, 14.2, id="1"),
        pytest.param((2,), 0.9736, 37.0, id="2"),
        pytest.param((3,), 0.9889, 88.8, id="3"),
        pytest.param((4,), 0.9951, 204.2, id="4"),
        pytest.param((3, 1), 0.8070, 8.37, id="3-1"),
        pytest.param((4, 1), 0.8877, 15.8, id="4-1"),
        pytest.param((6, 1), 0.9642, 53.7, id="6-1"),
    ],
)
def test_the_bayes_factor_is_m_times_the_odds_of_the_leader(
    votes: tuple[int, ...], chance: float, factor: float
):
    assert largest_probability([*(v + 1 for v in votes), 0.3]) == pytest.approx(chance, abs=5e-4)
    assert BayesFactor(start=1).decide(voted(*votes)).evidence == pytest.approx(factor, rel=5e-3)


@pytest.mark.parametrize(
    ("factor", "votes", "stops"),
    [
        pytest.param(3, (1,), False, id="3-one"),
        pytest.param(3, (2,), True, id="3-unanimous-2"),
        pytest.param(3, (1, 1), False, id="3-tie: 1.9"),
        pytest.param(3, (2, 1), True, id="3-2-1: 4.2"),
        pytest.param(10, (1,), False, id="10-one"),
        pytest.param(10, (2,), True, id="10-unanimous-2"),
        pytest.param(10, (3, 1), False, id="10-3-1: 8.4"),
        pytest.param(10, (4, 1), True, id="10-4-1: 15.8"),
        pytest.param(100, (3,), False, id="100-unanimous-3: 89"),
        pytest.param(100, (4,), True, id="100-unanimous-4: 204"),
        pytest.param(100, (7, 1), False, id="100-7-1: 98.5"),
        pytest.param(100, (8, 1), True, id="100-8-1: 181"),
        pytest.param(1000, (5,), False, id="1000-unanimous-5"),
        pytest.param(1000, (6,), True, id="1000-unanimous-6"),
    ],
)
def test_best_of_infinity_stops_where_its_replay_did(
    factor: float, votes: tuple[int, ...], stops: bool
):
    decision = BayesFactor(factor=factor).decide(voted(*votes))

    assert (decision.verdict == "terminate") == stops
    assert decision.threshold == (None if sum(votes) < 2 else factor)


def test_evidence_without_end_is_still_a_number():
    decision = BayesFactor().decide(voted(400, cap=500))

    assert decision.verdict == "terminate"
    assert decision.evidence == pytest.approx(1e9, rel=1e-3)


@pytest.mark.parametrize(
    ("weights", "chance"),
    [
        pytest.param([0.3], 1.0, id="alone"),
        pytest.param([0.3, 0.3], 0.5, id="two-alike"),
        pytest.param([0.1, 0.1, 0.1, 0.1], 0.25, id="four-alike"),
        pytest.param([0.3, 2.0], 0.0659, id="behind"),
        pytest.param([2.0, 0.3], 0.9341, id="ahead"),
        pytest.param([0.05, 0.05], 0.5, id="tiny"),
    ],
)
def test_a_weight_may_be_below_one(weights: list[float], chance: float):
    assert largest_probability(weights) == pytest.approx(chance, abs=2e-3)


@pytest.mark.parametrize(
    ("votes", "width"),
    [
        pytest.param((), 2, id="first"),
        pytest.param((1,), 2, id="in-the-first"),
        pytest.param((1, 1), 6, id="second"),
        pytest.param((3, 3), 14, id="third"),
        pytest.param((7, 7), 30, id="fourth"),
        pytest.param((15, 15), 40, id="the-cap"),
    ],
)
def test_batches_double(votes: tuple[int, ...], width: int):
    assert Doubling().decide(voted(*votes)).width == width


@given(st.integers(1, 30), st.integers(0, 30))
def test_of_two_answers_the_dirichlet_is_the_beta_distribution(first: int, second: int):
    found = largest_probability([first + 1, second + 1])

    assert found == pytest.approx(leader_probability(first, second), abs=2e-3)


@given(st.lists(st.integers(1, 12) | st.floats(0.05, 1), min_size=2, max_size=5))
@settings(max_examples=30)
def test_the_chances_of_all_answers_to_be_the_largest_sum_to_one(weights: list[float]):
    total = sum(
        largest_probability([weights[at], *weights[:at], *weights[at + 1 :]])
        for at in range(len(weights))
    )

    assert total == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.rule)
def test_a_rule_is_known_by_its_name_and_survives_json(rule: Rule):
    name = rule.model_dump()["rule"]

    assert read_policy(name) == rule
    assert read_policy(rule.model_dump(mode="json")) == rule
    assert rule.decide(Progress(cap=40)).verdict == "continue", "nothing is known yet"
