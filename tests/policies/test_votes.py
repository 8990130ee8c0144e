"""Rules over votes: the paper's thresholds and the peers' rules, vote by vote."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.policies import (
    PRESETS,
    Beta,
    Certaindex,
    EveryCertaindex,
    Fixed,
    Lossless,
    Progress,
    Rule,
    leader_probability,
)


def voted(
    *votes: int, empty: int = 0, cap: int = 20, rewards: tuple[float, ...] = (), mean: float = 0.0
) -> Progress:
    """A program whose finished branches gave these votes."""
    return Progress(
        knob=sum(votes) + empty,
        cap=cap,
        votes=votes,
        empty=empty,
        rewards=rewards,
        mean_tokens=mean,
    )


progresses = st.builds(
    lambda votes, empty, more: Progress(
        knob=sum(votes) + empty,
        cap=max(1, sum(votes) + empty) + more,
        votes=tuple(sorted(votes, reverse=True)),
        empty=empty,
    ),
    st.lists(st.integers(1, 12), max_size=5),
    st.integers(0, 5),
    st.integers(0, 20),
)


@pytest.mark.parametrize(
    ("first", "second", "probability"),
    [
        pytest.param(1, 0, 0.75, id="1"),
        pytest.param(2, 0, 0.875, id="2"),
        pytest.param(3, 0, 0.9375, id="3"),
        pytest.param(4, 0, 0.96875, id="4"),
        pytest.param(5, 1, 0.9375, id="5-1"),
        pytest.param(6, 1, 0.96484375, id="6-1"),
        pytest.param(3, 3, 0.5, id="tie"),
    ],
)
def test_the_probability_that_the_leader_leads(first: int, second: int, probability: float):
    assert leader_probability(first, second) == pytest.approx(probability)


@pytest.mark.parametrize(
    ("votes", "stops"),
    [
        pytest.param((), False, id="none"),
        pytest.param((1,), False, id="1"),
        pytest.param((3,), False, id="3-is-.9375"),
        pytest.param((4,), True, id="4-is-.969"),
        pytest.param((5, 1), False, id="5-1-is-.9375"),
        pytest.param((6, 1), True, id="6-1-is-.965"),
        pytest.param((6, 1, 1, 1), True, id="the-rest-do-not-matter"),
        pytest.param((4, 4), False, id="tie"),
        pytest.param((4, 1, 1, 1), False, id="4-1-1-1"),
    ],
)
def test_beta_stops_at_95_percent(votes: tuple[int, ...], stops: bool):
    decision = Beta().decide(voted(*votes))
    assert (decision.verdict == "terminate") == stops


def test_beta_counts_no_branch_without_an_answer():
    assert Beta().decide(voted(3, empty=10)).verdict == "continue"
    assert Beta().decide(voted(4, empty=10)).verdict == "terminate"
    assert Beta().decide(voted(empty=10)).verdict == "continue"


def test_beta_starts_where_it_is_told_to():
    rule = Beta(confidence=0.7, start=3)
    assert rule.decide(voted(2)).verdict == "continue"
    assert rule.decide(voted(2)).evidence is None
    assert rule.decide(voted(3)).verdict == "terminate"


@given(st.integers(0, 60), st.integers(0, 60))
def test_who_leads_is_more_probably_ahead_the_more_votes_it_has(first: int, second: int):
    value = leader_probability(first, second)
    assert leader_probability(first + 1, second) >= value >= leader_probability(first, second + 1)
    assert value + leader_probability(second, first) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("votes", "empty", "cap", "stops"),
    [
        pytest.param((11,), 0, 20, True, id="11-of-20-cannot-be-caught"),
        pytest.param((10,), 0, 20, False, id="10-of-20-can-still-be-tied"),
        pytest.param((3, 2), 0, 5, True, id="nothing-left-and-ahead"),
        pytest.param((2, 2), 0, 4, False, id="nothing-left-and-tied"),
        pytest.param((3,), 2, 7, True, id="lost-branches-cannot-catch-up"),
        pytest.param((2,), 2, 7, False, id="three-left-against-two"),
        pytest.param((), 3, 3, False, id="nobody-answered"),
        pytest.param((), 0, 5, False, id="nothing-yet"),
    ],
)
def test_lossless_stops_when_the_rest_cannot_change_the_leader(
    votes: tuple[int, ...], empty: int, cap: int, stops: bool
):
    decision = Lossless().decide(voted(*votes, empty=empty, cap=cap))
    assert (decision.verdict == "terminate") == stops
    assert decision.margin is not None
    assert (decision.margin >= 0) == stops


@given(progresses, st.data())
def test_no_continuation_overtakes_a_leader_that_lossless_stopped_at(
    progress: Progress, data: st.DataObject
):
    if Lossless().decide(progress).verdict != "terminate":
        return
    classes = len(progress.votes) + 1
    final = [*progress.votes, 0]
    for _ in range(progress.remaining):
        final[data.draw(st.integers(0, classes - 1))] += 1
    assert final[0] > max(final[1:])


@pytest.mark.parametrize(
    ("preset", "progress", "verdict"),
    [
        pytest.param("sc-math", voted(5), "terminate", id="math-5"),
        pytest.param("sc-math", voted(4, 1), "branch", id="math-4-1-misses-by-.011"),
        pytest.param("sc-gsm8k", voted(5), "terminate", id="gsm8k-5"),
        pytest.param("sc-gsm8k", voted(4, 1), "branch", id="gsm8k-4-1"),
        pytest.param("sc-gsm8k", voted(4, empty=1), "branch", id="gsm8k-4-and-one-without"),
        pytest.param("sc-gsm8k", voted(empty=5), "branch", id="gsm8k-nobody"),
        pytest.param("sc-gsm8k", voted(4), "continue", id="gsm8k-4-is-too-early"),
        pytest.param("sc-livecodebench", voted(5), "terminate", id="livecodebench-5"),
        pytest.param("sc-livecodebench", voted(4, 1), "terminate", id="livecodebench-4-1"),
        pytest.param("sc-livecodebench", voted(3, 2), "terminate", id="livecodebench-3-2"),
        pytest.param("sc-livecodebench", voted(3, 1, 1), "terminate", id="livecodebench-3-1-1"),
        pytest.param("sc-livecodebench", voted(2, 2, 1), "branch", id="livecodebench-2-2-1"),
        pytest.param("sc-livecodebench", voted(2, 1, 1, 1), "branch", id="livecodebench-2-1-1-1"),
        pytest.param(
            "mcts-gsm8k", voted(3, rewards=(0.5, 0.4, 0.5)), "terminate", id="mcts-both-pass"
        ),
        pytest.param(
            "mcts-gsm8k", voted(3, rewards=(0.9, 0.1, 0.1)), "branch", id="mcts-mean-reward-fails"
        ),
        pytest.param(
            "mcts-gsm8k", voted(2, 1, rewards=(0.9, 0.9, 0.9)), "branch", id="mcts-votes-fail"
        ),
        pytest.param("mcts-gsm8k", voted(3), "branch", id="mcts-without-rewards"),
        pytest.param(
            "mcts-gsm8k", voted(3, rewards=(0.4, 0.4, 0.4)), "branch", id="mcts-.4-is-not-above-.4"
        ),
        pytest.param(
            "mcts-asdiv", voted(1, 1, 1, rewards=(0.5, 0.5, 0.5)), "terminate", id="asdiv-no-votes"
        ),
        pytest.param(
            "mcts-asdiv", voted(3, rewards=(0.3, 0.3, 0.3)), "branch", id="asdiv-reward-fails"
        ),
        pytest.param(
            "rebase-gsm8k", voted(14, 2, cap=128, rewards=(1.0, 0.0)), "terminate", id="rebase-max"
        ),
        pytest.param(
            "rebase-gsm8k", voted(14, 2, cap=128, rewards=(0.98,)), "branch", id="rebase-reward"
        ),
        pytest.param(
            "rebase-gsm8k", voted(14, 1, 1, cap=128, rewards=(1.0,)), "branch", id="rebase-14-1-1"
        ),
        pytest.param("rebase-math", voted(12, 4, cap=128), "terminate", id="rebase-math-12-4"),
        pytest.param("rebase-math", voted(8, 8, cap=128), "branch", id="rebase-math-tie-is-.75"),
    ],
)
def test_the_presets_of_table_3(preset: str, progress: Progress, verdict: str):
    assert PRESETS[preset].decide(progress).verdict == verdict


@pytest.mark.parametrize(
    ("preset", "reads"),
    [
        pytest.param("sc-math", {"votes"}, id="sc"),
        pytest.param("mcts-gsm8k", {"votes", "rewards"}, id="mcts"),
        pytest.param("mcts-asdiv", {"rewards"}, id="rewards-only"),
    ],
)
def test_certaindex_reads_what_it_has_a_threshold_for(preset: str, reads: set[str]):
    assert PRESETS[preset].reads() == reads


def test_static_certaindex_measures_once_and_then_runs_to_the_cap():
    rule = Certaindex(threshold=0.7, at=5)
    before = rule.decide(voted(4))
    assert (before.verdict, before.width, before.evidence) == ("continue", 5, None)
    at = rule.decide(voted(4, 1))
    assert (at.verdict, at.width) == ("branch", 20)
    assert at.evidence == pytest.approx(0.6891, abs=5e-5)
    assert at.margin == pytest.approx(-0.0109, abs=5e-5)
    for progress in (voted(5, 1), voted(9, 1), voted(19, 1), voted(20)):
        after = rule.decide(progress)
        assert (after.verdict, after.width, after.evidence) == ("continue", 20, None)


def test_certaindex_does_not_go_past_a_cap_below_its_detection_knob():
    decision = Certaindex(at=5).decide(voted(2, cap=3))
    assert (decision.verdict, decision.width) == ("continue", 3)


def test_the_evidence_is_the_indicator_that_decided():
    rule = PRESETS["mcts-gsm8k"]
    votes_failed = rule.decide(voted(2, 1, rewards=(0.9,)))
    assert votes_failed.threshold == 0.99
    assert votes_failed.evidence == pytest.approx(0.4206, abs=5e-5)
    reward_failed = rule.decide(voted(3, rewards=(0.1, 0.2, 0.3)))
    assert reward_failed.threshold == 0.4
    assert reward_failed.evidence == pytest.approx(0.2)


def test_certaindex_with_no_threshold_at_all_never_stops():
    rule = Certaindex(threshold=None)
    assert rule.reads() == frozenset()
    assert rule.decide(voted(5)).verdict == "branch"


def test_stopping_saves_the_branches_that_are_left():
    decision = Certaindex().decide(voted(5, cap=20, mean=100.0))
    assert (decision.verdict, decision.width, decision.saved) == ("terminate", 5, 1500)


@pytest.mark.parametrize(
    ("progress", "verdict", "measured"),
    [
        pytest.param(voted(4), "continue", False, id="between"),
        pytest.param(voted(5), "terminate", True, id="5"),
        pytest.param(voted(4, 1), "continue", True, id="4-1"),
        pytest.param(voted(8, 1), "continue", False, id="9-is-between"),
        pytest.param(voted(9, 1), "terminate", True, id="9-1"),
        pytest.param(voted(empty=5), "continue", True, id="nobody"),
        pytest.param(voted(), "continue", False, id="nothing-yet"),
    ],
)
def test_every_5_measures_at_each_multiple(progress: Progress, verdict: str, measured: bool):
    decision = EveryCertaindex().decide(progress)
    assert decision.verdict == verdict
    assert (decision.evidence is not None) == measured


def test_a_threshold_at_another_knob_warns_and_the_10_10_tie_shows_why():
    tie = EveryCertaindex(threshold=0.7, every=5).decide(voted(10, 10, cap=40))
    assert tie.verdict == "terminate"
    assert tie.evidence == pytest.approx(0.7686, abs=5e-5)
    assert tie.warning == "threshold chosen at knob 5, used at 20"
    assert tie.to_json()["warning"] == tie.warning


@pytest.mark.parametrize(
    ("rule", "progress"),
    [
        pytest.param(EveryCertaindex(), voted(5), id="at-its-own-knob"),
        pytest.param(EveryCertaindex(), voted(20), id="unanimous-is-so-at-any-knob"),
        pytest.param(
            EveryCertaindex(calibrated_at=None), voted(10, 10, cap=40), id="told-not-to-warn"
        ),
        pytest.param(
            EveryCertaindex(calibrated_at=20), voted(10, 10, cap=40), id="chosen-at-this-knob"
        ),
    ],
)
def test_no_warning_where_the_threshold_belongs(rule: EveryCertaindex, progress: Progress):
    decision = rule.decide(progress)
    assert decision.verdict == "terminate"
    assert decision.warning is None


def test_single_steps_measure_from_the_third_branch_on():
    rule = EveryCertaindex(threshold=0.5, every=1, calibrated_at=None)
    assert rule.decide(voted(2)).evidence is None
    assert rule.decide(voted(3)).verdict == "terminate"
    assert rule.decide(voted(3, 1)).verdict == "terminate"
    assert rule.decide(voted(2, 1)).verdict == "continue"


@given(progresses)
def test_fixed_spends_the_cap_whatever_it_sees(progress: Progress):
    decision = Fixed().decide(progress)
    assert (decision.verdict, decision.width) == ("continue", progress.cap)
    assert Fixed().reads() == frozenset()


rules = st.one_of(
    st.builds(Beta, confidence=st.floats(0.5, 0.999)),
    st.builds(Certaindex, threshold=st.none() | st.floats(0, 1), at=st.integers(2, 12)),
    st.builds(EveryCertaindex, threshold=st.floats(0, 1), every=st.integers(1, 6)),
    st.just(Lossless()),
    st.just(Fixed()),
)


@given(rules, progresses)
def test_a_decision_stays_within_the_cap_and_says_where_it_stopped(rule: Rule, progress: Progress):
    decision = rule.decide(progress)
    assert decision.width <= progress.cap
    assert decision.rule == rule.model_dump()["rule"]
    if decision.verdict == "terminate":
        assert decision.width == progress.knob
        assert decision.evidence is not None
    else:
        assert decision.width >= min(progress.knob, progress.cap)
        assert decision.saved == 0
    assert rule.decide(progress) == decision


@given(rules)
def test_nobody_stops_before_anybody_has_answered(rule: Rule):
    for knob in range(21):
        assert rule.decide(Progress(knob=knob, cap=20, empty=knob)).verdict != "terminate"
