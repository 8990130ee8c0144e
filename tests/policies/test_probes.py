"""Rules over probes: a chain of thought stops when its probed answers agree, or are confident."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.policies import (
    HESITATION,
    PRESETS,
    Probe,
    ProbeConfidence,
    ProbeConsistency,
    Progress,
    hesitates,
    read_policy,
)

EVERY = 64


def probed(*answers: int | tuple[int | None, str] | None) -> Progress:
    """A chain that was probed every 64 tokens; an answer may come with the whole response."""
    pairs = [pair if isinstance(pair, tuple) else (pair, "}") for pair in answers]
    probes = tuple(
        Probe(at=(i + 1) * EVERY, answer=answer, text=text)
        for i, (answer, text) in enumerate(pairs)
    )
    return Progress(knob=len(probes) * EVERY, cap=4096, probes=probes)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(r"\text{none}}", id="none"),
        pytest.param("now}", id="now"),
        pytest.param("note}", id="note"),
        pytest.param("threshold}", id="threshold"),
        pytest.param("Buttercup}", id="Buttercup"),
        pytest.param("unknown}", id="unknown"),
        pytest.param("household}", id="household"),
        pytest.param("awaited}", id="awaited"),
        pytest.param("42}", id="a-number"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_word_inside_a_word_is_no_hesitation(text: str):
    assert not hesitates(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("42} Wait, let me", id="Wait"),
        pytest.param("42} hold on", id="hold"),
        pytest.param("42}\nBut", id="But-at-the-end"),
        pytest.param("Okay. 42}", id="Okay"),
        pytest.param(r"\text{no solution}}", id="no-solution-is-a-known-price"),
        pytest.param("hmm...42}", id="hmm"),
        pytest.param("(WAIT)", id="capitals-in-brackets"),
    ],
)
def test_a_whole_word_is_hesitation_in_any_case(text: str):
    assert hesitates(text)


def test_the_words_are_those_of_the_papers_code():
    assert HESITATION == ("wait", "hold", "but", "okay", "no", "hmm")


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        pytest.param("wait", (), False, id="no-words-no-hesitation"),
        pytest.param("wait", ("perhaps",), False, id="other-words"),
        pytest.param("Perhaps", ("perhaps",), True, id="own-word"),
        pytest.param("a.b", ("a.b",), True, id="a-dot-is-a-dot"),
        pytest.param("axb", ("a.b",), False, id="and-nothing-else"),
        pytest.param("let me see", ("let me",), True, id="two-words"),
    ],
)
def test_the_words_may_be_chosen(text: str, words: tuple[str, ...], expected: bool):
    assert hesitates(text, words) == expected


@pytest.mark.parametrize(
    ("rule", "progress", "stops"),
    [
        pytest.param(ProbeConsistency(), probed(), False, id="no-probe-yet"),
        pytest.param(ProbeConsistency(), probed(0, 0), False, id="two-of-three"),
        pytest.param(ProbeConsistency(), probed(0, 0, 0), True, id="three-agree"),
        pytest.param(ProbeConsistency(), probed(1, 0, 0, 0), True, id="the-last-three-agree"),
        pytest.param(ProbeConsistency(), probed(0, 0, 1), False, id="the-newest-differs"),
        pytest.param(ProbeConsistency(), probed(0, 1, 2), False, id="all-different"),
        pytest.param(
            ProbeConsistency(window=2), probed(1, 7), False, id="the-public-code-stops-at-1-7"
        ),
        pytest.param(
            ProbeConsistency(window=2), probed(None, None), False, id="and-at-two-empty-answers"
        ),
        pytest.param(ProbeConsistency(window=1), probed(None), False, id="one-empty-answer"),
        pytest.param(ProbeConsistency(window=1), probed(0), True, id="one-answer"),
        pytest.param(ProbeConsistency(), probed(0, None, 0, 0), False, id="empty-breaks-a-run"),
        pytest.param(
            ProbeConsistency(window=5, agreement=0.8), probed(1, 0, 0, 0, 0), True, id="tau-.8"
        ),
        pytest.param(
            ProbeConsistency(window=5, agreement=0.8), probed(1, 1, 0, 0, 0), False, id="below-tau"
        ),
        pytest.param(
            ProbeConsistency(window=3, agreement=2 / 3), probed(1, 0, 0), True, id="tau-is-reached"
        ),
        pytest.param(
            ProbeConsistency(window=5, agreement=0.6),
            probed(0, 0, 0, 0, 1),
            False,
            id="the-majority-but-not-of-the-newest",
        ),
        pytest.param(ProbeConsistency(min_tokens=200), probed(0, 0, 0), False, id="too-early"),
        pytest.param(ProbeConsistency(min_tokens=192), probed(0, 0, 0), True, id="just-enough"),
        pytest.param(ProbeConsistency(min_tokens=200), probed(0, 0, 0, 0), True, id="later"),
    ],
)
def test_the_chain_stops_when_enough_of_the_window_agree(
    rule: ProbeConsistency, progress: Progress, stops: bool
):
    assert (rule.decide(progress).verdict == "terminate") == stops


DOUBT = "7} Wait, let me check"


@pytest.mark.parametrize(
    ("hesitation", "progress", "stops"),
    [
        pytest.param("omit", probed((0, DOUBT), 0, 0, 0), True, id="omit-before"),
        pytest.param("omit", probed(0, (0, DOUBT), 0, 0), True, id="omit-between"),
        pytest.param("omit", probed(0, (1, DOUBT), 0, 0), True, id="omit-another-answer"),
        pytest.param("omit", probed(0, (0, DOUBT), 0), False, id="omit-leaves-too-few"),
        pytest.param("omit", probed(*[(0, DOUBT)] * 5), False, id="omit-all"),
        pytest.param("fail", probed((0, DOUBT), 0, 0, 0), True, id="fail-slid-out"),
        pytest.param("fail", probed(0, (0, DOUBT), 0, 0), False, id="fail-in-the-window"),
        pytest.param("fail", probed(0, 0, (0, DOUBT)), False, id="fail-at-the-newest"),
        pytest.param("ignore", probed(0, 0, (0, DOUBT)), True, id="ignore"),
        pytest.param("ignore", probed(0, 0, (1, DOUBT)), False, id="ignore-but-it-differs"),
    ],
)
def test_a_probe_that_hesitates_is_omitted_fails_or_is_ignored(
    hesitation: Literal["omit", "fail", "ignore"], progress: Progress, stops: bool
):
    decision = ProbeConsistency(window=3, hesitation=hesitation).decide(progress)
    assert (decision.verdict == "terminate") == stops


def test_own_words_decide_what_hesitation_is():
    progress = probed((0, "maybe"), (0, "maybe"), (0, "maybe"))
    assert ProbeConsistency().decide(progress).verdict == "terminate"
    assert ProbeConsistency(words=("maybe",)).decide(progress).verdict == "continue"


def test_the_decision_carries_c_k_tau_and_the_tokens_saved():
    rule = ProbeConsistency(window=3, agreement=0.9)
    open_, settled = rule.decide(probed(1, 0, 0)), rule.decide(probed(0, 0, 0))
    assert open_.evidence == pytest.approx(2 / 3)
    assert (open_.threshold, open_.width) == (0.9, 4096)
    assert (settled.evidence, settled.width, settled.saved) == (1.0, 192, 4096 - 192)


def test_it_reads_probes():
    assert ProbeConsistency().reads() == {"probes"}


settled_rules = st.builds(
    ProbeConsistency,
    window=st.integers(1, 5),
    agreement=st.floats(0.01, 1),
    min_tokens=st.integers(0, 500),
    hesitation=st.sampled_from(["omit", "fail", "ignore"]),
)
some_probes = st.lists(
    st.tuples(st.none() | st.integers(0, 2), st.sampled_from(["}", DOUBT])), max_size=10
)


@given(settled_rules, some_probes)
def test_it_only_ever_stops_at_an_answer_that_was_given_often_enough(
    rule: ProbeConsistency, pairs: list[tuple[int | None, str]]
):
    decision = rule.decide(probed(*pairs))
    assert decision.evidence is not None
    assert 0.0 <= decision.evidence <= 1.0
    if decision.verdict == "terminate":
        counted = pairs
        if rule.hesitation == "omit":
            counted = [pair for pair in pairs if pair[1] != DOUBT]
        last = [answer for answer, _ in counted[-rule.window :]]
        assert last[-1] is not None
        assert len(last) == rule.window
        assert last.count(last[-1]) >= rule.agreement * rule.window - 1e-6
        assert len(pairs) * EVERY >= rule.min_tokens


# Confidence ------------------------------------------------------------------------------------


def sure(*pairs: tuple[int | None, float | None]) -> Progress:
    """A chain that was probed every 64 tokens: answers, and how confident they were."""
    probes = tuple(
        Probe(at=(i + 1) * EVERY, answer=answer, confidence=confidence)
        for i, (answer, confidence) in enumerate(pairs)
    )
    return Progress(knob=len(probes) * EVERY, cap=4096, probes=probes)


NINE = [(0, 0.5)] * 9


@pytest.mark.parametrize(
    ("rule", "progress", "evidence", "stops"),
    [
        pytest.param(ProbeConfidence(), sure(), None, False, id="no-probe-yet"),
        pytest.param(ProbeConfidence(), sure((0, 0.96)), 0.96, True, id="deers-.95"),
        pytest.param(ProbeConfidence(), sure((0, 0.95)), 0.95, True, id="reached-is-enough"),
        pytest.param(ProbeConfidence(), sure((0, 0.94)), 0.94, False, id="below"),
        pytest.param(ProbeConfidence(), sure((0, None)), None, False, id="not-asked-for"),
        pytest.param(ProbeConfidence(), sure((None, 0.99)), 0.0, False, id="sure-of-no-answer"),
        pytest.param(ProbeConfidence(), sure((0, 0.99), (0, 0.4)), 0.4, False, id="newest-counts"),
        pytest.param(ProbeConfidence(), sure((1, None), (0, 0.99)), 0.99, True, id="and-no-other"),
        pytest.param(
            ProbeConfidence(confidence=0.8), sure((0, 0.8)), 0.8, True, id="own-threshold"
        ),
        pytest.param(ProbeConfidence(window=2), sure((0, 0.99)), None, False, id="one-of-two"),
        pytest.param(
            ProbeConfidence(window=2),
            sure((0, 0.97), (0, 0.99)),
            0.97,
            True,
            id="the-least-decides",
        ),
        pytest.param(
            ProbeConfidence(window=2), sure((0, 0.9), (0, 0.99)), 0.9, False, id="both-must-be-sure"
        ),
        pytest.param(
            ProbeConfidence(window=2), sure((1, 0.99), (0, 0.99)), 0.0, False, id="and-agree"
        ),
        pytest.param(
            ProbeConfidence(window=2), sure((None, 1.0), (0, 1.0)), 0.0, False, id="and-both-answer"
        ),
        pytest.param(
            ProbeConfidence(window=2), sure((0, None), (0, 1.0)), None, False, id="one-not-known"
        ),
        pytest.param(ProbeConfidence(min_tokens=100), sure((0, 0.99)), 0.99, False, id="too-early"),
        pytest.param(
            ProbeConfidence(min_tokens=100), sure((0, 0.99), (0, 0.99)), 0.99, True, id="later"
        ),
        pytest.param(PRESETS["deer"], sure(*NINE, (0, 0.96)), 0.96, True, id="deers-tenth-check"),
        pytest.param(
            PRESETS["deer"], sure(*NINE, (0, 0.5), (0, 1.0)), None, False, id="and-no-eleventh"
        ),
        pytest.param(
            ProbeConfidence(), sure(*NINE, (0, 0.5), (0, 1.0)), 1.0, True, id="no-limit-of-checks"
        ),
    ],
)
def test_the_chain_stops_when_the_model_is_confident_of_its_answer(
    rule: ProbeConfidence, progress: Progress, evidence: float | None, stops: bool
):
    decision = rule.decide(progress)

    assert (decision.verdict == "terminate", decision.evidence) == (stops, evidence)
    assert decision.threshold == (None if evidence is None else rule.confidence)


def test_confidence_is_read_beside_the_probes_and_the_rule_survives_json():
    rule = ProbeConfidence(window=2, checks=7)

    assert rule.reads() == {"probes", "confidence"}
    assert read_policy(rule.model_dump(mode="json")) == rule
    assert read_policy("probe-confidence:confidence=0.8,checks=null") == ProbeConfidence(
        confidence=0.8
    )
    assert read_policy("deer") == ProbeConfidence(confidence=0.95, window=1, checks=10)


@given(
    st.builds(
        ProbeConfidence,
        confidence=st.floats(0, 1, exclude_min=True),
        window=st.integers(1, 4),
        min_tokens=st.integers(0, 500),
        checks=st.none() | st.integers(1, 12),
    ),
    st.lists(st.tuples(st.none() | st.integers(0, 2), st.none() | st.floats(0, 1)), max_size=12),
)
def test_it_only_ever_stops_at_an_answer_that_all_newest_probes_are_sure_of(
    rule: ProbeConfidence, pairs: list[tuple[int | None, float | None]]
):
    decision = rule.decide(sure(*pairs))

    assert decision == rule.decide(sure(*pairs))
    if decision.verdict == "terminate":
        newest = pairs[-rule.window :]
        assert len(newest) == rule.window
        assert newest[-1][0] is not None
        for answer, confidence in newest:
            assert answer == newest[-1][0]
            assert confidence is not None
            assert confidence >= rule.confidence
        assert len(pairs) * EVERY >= rule.min_tokens
        assert rule.checks is None or len(pairs) <= rule.checks
