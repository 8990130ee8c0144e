"""Rules that give a program its budget: baselines, and curves from Certaindex to a budget."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.certaindex import entropy_certaindex
from dynasor_graph.errors import ConfigError
from dynasor_graph.policies import Even, Length, Pareto, Progress, Rule, Skyline, read_policy

Points = tuple[tuple[float, int], ...]

CURVE: Points = ((0.4, 12), (0.68, 9), (1.0, 5))
"""Of five branches: up to 2-2-1 the cap, 3-1-1 and 3-2 get 12, 4-1 gets 9, unanimous ones stop."""


def voted(*votes: int, empty: int = 0, cap: int = 20, mean: float = 100.0) -> Progress:
    """A program whose finished branches gave these votes."""
    knob = sum(votes) + empty
    return Progress(
        knob=knob,
        cap=cap,
        votes=votes,
        empty=empty,
        tokens=round(knob * mean),
        mean_tokens=mean if knob else 0.0,
    )


def answered(text: str, cap: int = 20) -> Progress:
    """A program whose branches gave these answers, one letter each, in this order; "-" is none."""
    order = tuple(None if letter == "-" else ord(letter) for letter in text)
    counts = Counter(number for number in order if number is not None)
    votes = tuple(sorted(counts.values(), reverse=True))
    return Progress(
        knob=len(order), cap=cap, votes=votes, empty=order.count(None), order=order, mean_tokens=100
    )


# Baselines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "progress", "verdict", "width"),
    [
        pytest.param(Even(at=5), voted(), "continue", 5, id="start"),
        pytest.param(Even(at=5), voted(4), "continue", 5, id="unanimous-is-no-reason"),
        pytest.param(Even(at=5), voted(2, 1, 1, empty=1), "terminate", 5, id="nor-is-doubt"),
        pytest.param(Even(at=5), voted(empty=5), "terminate", 5, id="no-answer-at-all"),
        pytest.param(Even(at=5), voted(6), "terminate", 6, id="past-it"),
        pytest.param(Even(at=5), voted(2, cap=3), "continue", 3, id="the-cap-is-smaller"),
    ],
)
def test_even_stops_at_its_knob_whatever_was_answered(
    rule: Even, progress: Progress, verdict: str, width: int
):
    decision = rule.decide(progress)

    assert (decision.verdict, decision.width) == (verdict, width)
    stopped = verdict == "terminate"
    assert (decision.evidence, decision.threshold) == (
        (progress.knob, 5) if stopped else (None, None)
    )


@pytest.mark.parametrize(
    ("rule", "progress", "verdict", "width"),
    [
        pytest.param(Length(most=500), voted(4), "continue", 5, id="too-early"),
        pytest.param(Length(most=500), voted(5), "terminate", 5, id="short"),
        pytest.param(Length(most=499), voted(5), "branch", 20, id="long-runs-to-the-cap"),
        pytest.param(Length(most=9999), voted(6), "continue", 20, id="and-is-not-asked-again"),
        pytest.param(Length(most=500, stop="long"), voted(5), "branch", 20, id="short-goes-on"),
        pytest.param(Length(most=499, stop="long"), voted(5), "terminate", 5, id="long-stops"),
        pytest.param(Length(most=300, at=3), voted(1, 1, empty=1), "terminate", 3, id="at-3"),
        pytest.param(Length(most=300), voted(2, cap=3), "continue", 3, id="the-cap-is-smaller"),
    ],
)
def test_length_stops_once_by_the_tokens_at_the_detection_knob(
    rule: Length, progress: Progress, verdict: str, width: int
):
    decision = rule.decide(progress)

    assert (decision.verdict, decision.width) == (verdict, width)
    measured = progress.knob == rule.at
    assert decision.evidence == (progress.tokens if measured else None)
    assert decision.threshold == (rule.most if measured else None)


# Skyline ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certaindex", "budget"),
    [
        pytest.param(0.0, 20, id="0"),
        pytest.param(0.3445, 20, id="2-2-1-is-below-the-curve"),
        pytest.param(0.4, 12, id="at-a-point"),
        pytest.param(0.5818, 12, id="3-2"),
        pytest.param(0.6891, 9, id="4-1"),
        pytest.param(0.999, 9, id="nearly"),
        pytest.param(1.0, 5, id="unanimous"),
        pytest.param(1.0 - 1e-12, 5, id="but-for-rounding"),
    ],
)
def test_the_budget_is_that_of_the_last_point_reached(certaindex: float, budget: int):
    assert Skyline(points=CURVE).budget(certaindex, cap=20) == budget
    assert Skyline(points=CURVE).budget(certaindex, cap=7) == min(7, budget)


@pytest.mark.parametrize(
    ("order", "verdict", "width", "threshold"),
    [
        pytest.param("", "continue", 5, None, id="start"),
        pytest.param("aaaa", "continue", 5, None, id="too-early"),
        pytest.param("aaaaa", "terminate", 5, 1.0, id="unanimous-stops-at-once"),
        pytest.param("aaaab", "continue", 9, 1.0, id="4-1-gets-9"),
        pytest.param("aaaabaaa", "continue", 9, 1.0, id="4-1-on-its-way"),
        pytest.param("aaaabbbbb", "terminate", 9, 0.68, id="4-1-is-spent-whatever-came-after"),
        pytest.param("aaabbbbbb", "continue", 12, 0.68, id="3-2-gets-12-for-good"),
        pytest.param("aaabbbbbbbbb", "terminate", 12, 0.4, id="3-2-is-spent"),
        pytest.param("aaa--", "continue", 12, 1.0, id="without-an-answer-is-an-answer-of-its-own"),
        pytest.param("aabbc", "continue", 20, 1.0, id="2-2-1-gets-the-cap"),
        pytest.param("aabbc" + "a" * 14, "continue", 20, 0.4, id="and-never-stops"),
        pytest.param("aabbc" + "a" * 15, "continue", 20, 0.4, id="not-even-at-the-cap"),
        pytest.param("-----", "continue", 20, 1.0, id="nobody"),
    ],
)
def test_measured_once_the_budget_of_the_first_five_holds(
    order: str, verdict: str, width: int, threshold: float | None
):
    decision = Skyline(points=CURVE).decide(answered(order))

    assert (decision.verdict, decision.width, decision.threshold) == (verdict, width, threshold)
    first = answered(order[:5])
    expected = entropy_certaindex(first.votes, first.empty) if len(order) >= 5 else None
    assert decision.evidence == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("every", "progress", "verdict", "width"),
    [
        pytest.param(5, voted(4), "continue", 5, id="too-early"),
        pytest.param(5, voted(4, 1), "continue", 9, id="4-1-gets-9"),
        pytest.param(5, voted(8, 1), "continue", 10, id="9-is-between"),
        pytest.param(5, voted(9, 1), "terminate", 10, id="9-1-is-.86"),
        pytest.param(5, voted(6, 4), "terminate", 10, id="6-4-is-.71-and-has-had-its-9"),
        pytest.param(5, voted(5, 4, 1), "continue", 12, id="5-4-1-is-.59"),
        pytest.param(5, voted(5, 4, 2, 1), "continue", 15, id="12-is-between"),
        pytest.param(1, voted(4, 1), "continue", 9, id="every-1: 4-1"),
        pytest.param(1, voted(4, 2), "continue", 12, id="every-1: 4-2-is-.64"),
        pytest.param(1, voted(4, 3, 1), "continue", 12, id="every-1: 4-3-1-is-.53"),
        pytest.param(1, voted(8, 1), "terminate", 9, id="every-1: 8-1-is-.84"),
        pytest.param(1, voted(2, 2, 1, 1, 1), "continue", 20, id="every-1: below-the-curve"),
        pytest.param(1, voted(2, cap=3), "continue", 3, id="the-cap-is-smaller"),
    ],
)
def test_measured_again_the_budget_moves(every: int, progress: Progress, verdict: str, width: int):
    decision = Skyline(points=CURVE, every=every).decide(progress)

    assert (decision.verdict, decision.width) == (verdict, width)


def test_a_first_knob_between_two_measurements_is_measured_too():
    rule = Skyline(points=CURVE, at=5, every=4)

    measured = [knob for knob in range(21) if rule.decide(voted(knob)).evidence is not None]

    assert measured == [5, 8, 12, 16, 20]
    assert [rule.decide(voted(k)).width for k in (6, 7, 9)] == [8, 8, 12]


# Pareto ----------------------------------------------------------------------------------------


FRONTIER: Points = ((0.4, 700), (0.68, 250), (1.0, 0))


@pytest.mark.parametrize(
    ("progress", "verdict", "width", "threshold"),
    [
        pytest.param(voted(4), "continue", 5, None, id="too-early"),
        pytest.param(voted(5), "terminate", 5, 1.0, id="unanimous"),
        pytest.param(voted(4, 1), "continue", 7, 1.0, id="4-1-may-have-two-more"),
        pytest.param(voted(4, 1, mean=250), "continue", 6, 1.0, id="one-that-just-fits"),
        pytest.param(voted(4, 1, mean=251), "terminate", 5, 0.68, id="not-one"),
        pytest.param(voted(3, 2), "continue", 12, 1.0, id="3-2-may-have-seven-more"),
        pytest.param(voted(3, 2, mean=800), "terminate", 5, 0.4, id="3-2-of-long-branches"),
        pytest.param(voted(2, 2, 1), "continue", 20, 1.0, id="below-the-first-point-the-cap"),
        pytest.param(voted(7, 2), "continue", 11, 1.0, id="asked-at-every-branch: 7-2-is-.76"),
        pytest.param(voted(7, 3), "continue", 12, 1.0, id="and-adjusted: 7-3-is-.73"),
        pytest.param(voted(empty=5), "continue", 20, 1.0, id="nobody"),
        pytest.param(voted(3, 2, mean=0), "continue", 20, None, id="no-length-known"),
    ],
)
def test_pareto_stops_when_what_is_left_pays_for_no_branch(
    progress: Progress, verdict: str, width: int, threshold: float | None
):
    decision = Pareto(points=FRONTIER).decide(progress)

    assert (decision.verdict, decision.width, decision.threshold) == (verdict, width, threshold)


# All of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "reads"),
    [
        pytest.param(Even(), {"votes"}, id="even"),
        pytest.param(Length(most=1), {"votes", "lengths"}, id="length"),
        pytest.param(Skyline(points=CURVE), {"votes", "order"}, id="skyline-once"),
        pytest.param(Skyline(points=CURVE, every=5), {"votes"}, id="skyline-again"),
        pytest.param(Pareto(points=FRONTIER), {"votes", "lengths"}, id="pareto"),
    ],
)
def test_a_rule_says_what_it_reads_and_survives_json(rule: Rule, reads: set[str]):
    assert rule.reads() == reads
    assert read_policy(rule.model_dump(mode="json")) == rule


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param({"points": []}, "points: .*at least 1 item", id="none"),
        pytest.param({}, "points: Field required", id="missing"),
        pytest.param({"points": [[0.5, 9], [0.5, 5]]}, "rise .*got 0.5, then 0.5", id="equal"),
        pytest.param({"points": [[0.7, 9], [0.5, 5]]}, "rise .*got 0.7, then 0.5", id="falls"),
        pytest.param(
            {"points": [[0.5, 5], [0.7, 9]]}, "more certain .*: 5 at 0.5, then 9 at 0.7", id="more"
        ),
        pytest.param({"points": [[1.5, 5]]}, "points.*equal to 1, got 1.5", id="above-1"),
        pytest.param({"points": [[-0.5, 5]]}, "points.*equal to 0, got -0.5", id="below-0"),
        pytest.param({"points": [[0.5, -5]]}, "points.*equal to 0, got -5", id="no-budget"),
        pytest.param({"points": [[0.5]]}, "points.*Field required", id="half-a-point"),
        pytest.param({"points": [[0.5, 5]], "at": 0}, "at: .*equal to 1, got 0", id="at"),
    ],
)
@pytest.mark.parametrize("rule", ["skyline", "pareto"])
def test_a_curve_that_is_none_is_refused_with_a_reason(rule: str, spec: Any, said: str):
    with pytest.raises(ConfigError, match=f"'{rule}': .*{said}"):
        read_policy({"rule": rule, **spec})


def test_no_length_is_published_so_none_is_assumed():
    with pytest.raises(ConfigError, match="'length': most: Field required"):
        read_policy("length")
    assert read_policy("length:most=4000,stop=long") == Length(most=4000, stop="long")


curves = st.builds(
    lambda certain, budgets: tuple(
        zip(sorted(certain), sorted(budgets, reverse=True), strict=False)
    ),
    st.sets(st.floats(0, 1), min_size=1, max_size=6),
    st.lists(st.integers(0, 30), min_size=6, max_size=6),
)
runs = st.text("abc-", max_size=24).map(lambda text: answered(text, cap=24))
rules = st.one_of(
    st.builds(Even, at=st.integers(1, 30)),
    st.builds(
        Length,
        most=st.integers(0, 3000),
        at=st.integers(1, 9),
        stop=st.sampled_from(["short", "long"]),
    ),
    st.builds(Skyline, points=curves, at=st.integers(1, 9), every=st.integers(0, 6)),
    st.builds(Pareto, points=curves, at=st.integers(1, 9)),
)


@given(curves, st.floats(0, 1), st.floats(0, 1), st.integers(1, 40))
def test_who_is_more_certain_never_gets_more(points: Points, a: float, b: float, cap: int):
    rule = Skyline(points=points)

    assert 0 <= rule.budget(max(a, b), cap) <= rule.budget(min(a, b), cap) <= cap


@given(rules, runs)
def test_a_decision_is_pure_stays_within_the_cap_and_meets_its_threshold_where_it_stops(
    rule: Rule, progress: Progress
):
    decision = rule.decide(progress)

    assert decision == rule.decide(progress)
    assert decision.rule == rule.model_dump()["rule"]
    if decision.verdict == "terminate":
        assert decision.width == progress.knob
        assert decision.evidence is not None
        if not isinstance(rule, Length):
            assert decision.margin is not None
            assert decision.margin >= -1e-8
    else:
        assert min(progress.knob + 1, progress.cap) <= decision.width <= progress.cap


@given(st.builds(Skyline, points=curves, at=st.integers(1, 9)), runs, st.data())
def test_measured_once_what_came_later_changes_nothing(
    rule: Skyline, progress: Progress, data: st.DataObject
):
    order = progress.order
    later = data.draw(st.permutations(order[rule.at :]))
    shuffled = Progress(
        knob=progress.knob,
        cap=progress.cap,
        votes=progress.votes,
        empty=progress.empty,
        order=(*order[: rule.at], *later),
        mean_tokens=progress.mean_tokens,
    )

    assert rule.decide(shuffled) == rule.decide(progress)
