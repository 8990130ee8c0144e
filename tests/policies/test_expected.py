"""Expected: how many branches are still to come, and launching no more than that."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.policies import (
    AsNeeded,
    Beta,
    Decision,
    DeepConf,
    Progress,
    Value,
    expected_remaining,
    in_short,
    read_policy,
)

POLICIES = ["fixed", "beta", "lossless", "majority-share", "certaindex-every:every=1", "even:at=6"]


def expected(policy: str, votes: tuple[int, ...], empty: int = 0, cap: int = 20) -> float:
    rule = read_policy(policy)
    progress = Progress(knob=sum(votes) + empty, cap=cap, votes=votes, empty=empty)
    return expected_remaining(rule, progress, rule.decide(progress))


@pytest.mark.parametrize(
    ("policy", "votes", "empty", "steps"),
    [
        pytest.param("beta", (), 0, 4, id="nothing is known: as if all agreed"),
        pytest.param("beta", (3,), 0, 1, id="beta: the fourth equal answer is enough"),
        pytest.param("beta", (1,), 0, 3, id="three more of the same"),
        pytest.param("beta", (4,), 0, 0, id="settled"),
        # (6, 1) stops, so one more does, and five of six are likely to be such.
        pytest.param("beta", (5, 1), 0, 1 / (5 / 6), id="over the share of the leader"),
        pytest.param("beta", (2, 2), 0, 12, id="a tie: six more, and every other is one"),
        pytest.param("beta", (1, 1, 1, 1, 1, 1, 1, 1), 0, 12, id="never more than the cap leaves"),
        pytest.param("beta", (1,), 1, 6, id="branches without an answer lower the share"),
        pytest.param("beta", (), 3, 4, id="no answer yet: as if all agreed"),
        pytest.param("fixed", (5,), 0, 15, id="a policy that never stops"),
        pytest.param("certaindex", (2,), 0, 3, id="the paper's detection knob"),
        pytest.param("certaindex", (4, 1), 0, 15, id="not settled there: the cap"),
        pytest.param("even:at=6", (2,), 0, 4, id="a policy that knows its end"),
        pytest.param(
            "esc", (2,), 0, 18, id="votes alone, and a policy that looks at more: its width"
        ),
    ],
)
def test_steps_that_are_still_expected(
    policy: str, votes: tuple[int, ...], empty: int, steps: float
) -> None:
    assert expected(policy, votes, empty) == pytest.approx(steps)


@given(
    st.sampled_from(POLICIES),
    st.lists(st.integers(1, 6), max_size=4),
    st.integers(0, 3),
    st.integers(1, 40),
)
def test_it_is_between_nothing_and_what_the_policy_grants(
    policy: str, counts: list[int], empty: int, cap: int
) -> None:
    votes = tuple(sorted(counts, reverse=True))
    rule = read_policy(policy)
    progress = Progress(knob=sum(votes) + empty, cap=cap, votes=votes, empty=empty)
    decision: Decision = rule.decide(progress)
    found = expected_remaining(rule, progress, decision)
    most = max(0, min(decision.width, cap) - progress.knob)
    assert 0 <= found <= most
    if decision.verdict == "terminate":
        assert found == 0
    elif most:
        assert found >= 1


@pytest.mark.parametrize(
    ("settings", "votes", "empty", "in_flight"),
    [
        pytest.param({}, (), 0, 4, id="four that agree are enough"),
        pytest.param({}, (3,), 0, 1, id="nearly settled: one"),
        pytest.param({}, (5, 1), 0, 2, id="one more, if it were sure"),
        pytest.param({}, (2, 2), 0, 12, id="split votes: many at once"),
        pytest.param({}, (1,) * 8, 0, 12, id="never more than the cap leaves"),
        pytest.param({"ahead": 0.5}, (2, 2), 0, 6, id="half of it"),
        pytest.param({"ahead": 0.0}, (2, 2), 0, 1, id="one by one"),
        pytest.param({"least": 8}, (3,), 0, 8, id="at least eight"),
        pytest.param({"least": 99}, (3,), 0, 17, id="and never beyond the cap"),
    ],
)
def test_no_more_are_launched_than_are_expected_to_be_needed(
    settings: dict[str, float], votes: tuple[int, ...], empty: int, in_flight: int
) -> None:
    rule = AsNeeded.model_validate({"policy": Beta(), **settings})
    progress = Progress(knob=sum(votes) + empty, cap=20, votes=votes, empty=empty)
    decision = rule.decide(progress)
    assert (decision.verdict, decision.width - progress.knob) == ("continue", in_flight)


@given(st.lists(st.integers(1, 6), max_size=4), st.integers(0, 3), st.sampled_from(POLICIES))
def test_it_stops_when_the_other_policy_does(counts: list[int], empty: int, policy: str) -> None:
    votes, other = tuple(sorted(counts, reverse=True)), read_policy(policy)
    progress = Progress(knob=sum(votes) + empty, cap=40, votes=votes, empty=empty)
    said, meant = AsNeeded(policy=other).decide(progress), other.decide(progress)
    assert (said.verdict, said.evidence, said.rule) == (meant.verdict, meant.evidence, meant.rule)
    assert said.width <= meant.width
    assert (said.width > progress.knob) == (meant.width > progress.knob)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("as-needed:policy=beta", AsNeeded(policy=Beta()), id="by name"),
        pytest.param("beta-as-needed", AsNeeded(policy=Beta()), id="preset"),
        pytest.param(
            "as-needed:policy=beta:confidence=0.9,ahead=1.5,least=4",
            AsNeeded(policy=Beta(confidence=0.9), ahead=1.5, least=4),
            id="with parameters",
        ),
    ],
)
def test_how_it_is_written(text: str, rule: AsNeeded) -> None:
    assert read_policy(text) == rule
    assert read_policy(in_short(rule)) == rule
    assert read_policy(rule.model_dump(mode="json")) == rule


def test_what_the_other_policy_says_of_branches_is_passed_on() -> None:
    inner = DeepConf(warm_up=2)
    progress = Progress(knob=2, cap=4, votes=(2,), groups=(3.0, 5.0), order=(0, 0))
    assert AsNeeded(policy=inner).bar(progress) == inner.bar(progress) is not None
    assert AsNeeded(policy=inner).reads() == inner.reads()


# Policies that look at more than votes -----------------------------------------------------------


def value(kinds: tuple[str, ...], bias: float, weights: tuple[float, ...], edge: float) -> Value:
    """Stops as soon as its model's probability is above `edge`."""
    row = (1.0, 0.0)
    return Value(
        price=0.5, kinds=kinds, bias=bias, weights=weights, edges=(edge,), worth=(row,) * 40
    )


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=1, max_size=20))
def test_a_model_that_reads_votes_as_beta_does_expects_as_much(order: list[int]) -> None:
    votes = tuple(sorted(Counter(order).values(), reverse=True))
    progress = Progress(knob=len(order), cap=40, votes=votes, order=tuple(order))
    mine, beta = value(("votes",), 0.0, (1.0, 0, 0, 0, 0, 0), 0.9), Beta(confidence=0.9)
    assert expected_remaining(mine, progress, mine.decide(progress)) == expected_remaining(
        beta, progress, beta.decide(progress)
    )


@pytest.mark.parametrize(
    ("order", "logprobs", "steps"),
    [
        # Three more at -0.1 bring the mean from -1.05 above -0.5; every second branch is such.
        pytest.param((0, 1), (-0.1, -2.0), 6, id="as sure as the leader's are"),
        pytest.param((0, 1), (-0.1, None), 2, id="one that was not measured counts as sure"),
        pytest.param((0,), (-2.0,), 19, id="never sure enough: the cap"),
        pytest.param((None,), (-0.1,), 4, id="no leader to be like: four"),
        pytest.param((), (), 4, id="nothing is known: four"),
    ],
)
def test_branches_to_come_are_like_the_leaders(
    order: tuple[int | None, ...], logprobs: tuple[float | None, ...], steps: float
) -> None:
    rule = value(("logprobs",), 5.0, (0.0, 0.0, 10.0), 0.5)
    votes = tuple(Counter(n for n in order if n is not None).values())
    progress = Progress(
        knob=len(order),
        cap=20,
        votes=votes,
        empty=order.count(None),
        order=order,
        logprobs=logprobs,
    )
    decision = Decision(verdict="continue", width=20, rule="value")
    assert expected_remaining(rule, progress, decision) == pytest.approx(steps)
