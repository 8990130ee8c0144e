"""Combinations: all of several rules, or any of them."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from dynasor_graph.policies import (
    AllOf,
    AnyOf,
    Beta,
    Certaindex,
    Decision,
    EveryCertaindex,
    Fixed,
    Lossless,
    Probe,
    ProbeConsistency,
    Progress,
    Rule,
)


def voted(*votes: int, cap: int = 20, mean: float = 10.0) -> Progress:
    return Progress(knob=sum(votes), cap=cap, votes=votes, mean_tokens=mean)


@pytest.mark.parametrize(
    ("votes", "all_of", "any_of"),
    [
        pytest.param((3,), "continue", "continue", id="neither"),
        pytest.param((4,), "continue", "terminate", id="beta-alone"),
        pytest.param((8,), "terminate", "terminate", id="beta-and-lossless"),
        pytest.param((7, 6), "continue", "continue", id="a-narrow-lead"),
        pytest.param((8, 6), "continue", "terminate", id="lossless-alone"),
    ],
)
def test_all_of_wants_every_part_at_once_and_any_of_one(
    votes: tuple[int, ...], all_of: str, any_of: str
):
    parts = (Beta(), Lossless())
    progress = voted(*votes, cap=15)
    assert AllOf(policies=parts).decide(progress).verdict == all_of
    assert AnyOf(policies=parts).decide(progress).verdict == any_of


def test_who_wants_to_be_asked_again_first_sets_the_pace():
    both = (Certaindex(at=5), Certaindex(at=8, threshold=0.4))
    progress = voted(2, 1)
    for rule in (AllOf(policies=both), AnyOf(policies=both)):
        decision = rule.decide(progress)
        assert (decision.verdict, decision.width) == ("continue", 5)


def test_a_round_ends_only_when_all_that_go_on_end_it():
    static, every = Certaindex(at=5), EveryCertaindex(every=5)
    progress = voted(3, 2)
    assert AnyOf(policies=(static, static)).decide(progress).verdict == "branch"
    assert AnyOf(policies=(static, every)).decide(progress).verdict == "continue"
    lax = Certaindex(at=5, threshold=0.4)
    # The lax one would stop here; of those that would not, all end the round.
    assert AllOf(policies=(static, lax)).decide(progress).verdict == "branch"


def test_a_combination_carries_the_decisions_of_its_parts_in_order():
    rule = AnyOf(policies=(Fixed(), Beta(), Lossless()))
    decision = rule.decide(voted(4))
    assert [part.rule for part in decision.parts] == ["fixed", "beta", "lossless"]
    assert (decision.rule, decision.evidence, decision.margin) == ("any-of", None, None)
    parts = decision.to_json()["parts"]
    assert [part["verdict"] for part in parts] == ["continue", "terminate", "continue"]


def test_what_a_combination_saves_is_what_its_stopping_part_saves():
    decision = AnyOf(policies=(Fixed(), Beta())).decide(voted(4, cap=20, mean=10))
    assert decision.saved == 160


def test_the_warning_of_a_part_that_stopped_is_passed_on():
    every = EveryCertaindex(threshold=0.7, every=5)
    decision = AnyOf(policies=(Beta(), every)).decide(voted(10, 10, cap=40))
    assert decision.warning == "threshold chosen at knob 5, used at 20"
    silent = AnyOf(policies=(Beta(), Lossless())).decide(voted(4))
    assert silent.warning is None


def test_a_combination_reads_all_that_its_parts_read():
    parts = (Beta(), ProbeConsistency(), Certaindex(threshold=None, reward_threshold=0.5))
    assert AllOf(policies=parts).reads() == {"votes", "probes", "rewards"}
    assert AnyOf(policies=(Fixed(),)).reads() == frozenset()


@pytest.mark.parametrize("combination", [AllOf, AnyOf])
def test_a_combination_of_nothing_is_refused(combination: type[AllOf | AnyOf]):
    with pytest.raises(ValidationError, match="at least 1 item"):
        combination(policies=())


class Says(Rule):
    """Says what it is told to; it has no name, so it does not enter the table of rules."""

    verdict: Literal["branch", "continue", "terminate"]
    width: int

    def decide(self, progress: Progress, /) -> Decision:
        return Decision(verdict=self.verdict, width=self.width, rule="says")


sayings = st.lists(
    st.builds(
        Says, verdict=st.sampled_from(["branch", "continue", "terminate"]), width=st.integers(1, 20)
    ),
    min_size=1,
    max_size=4,
)


@given(sayings)
def test_any_parts_combine_as_logic_says(parts: list[Says]):
    progress = voted(1)
    stops = [part.verdict == "terminate" for part in parts]
    all_of = AllOf(policies=tuple(parts)).decide(progress)
    any_of = AnyOf(policies=tuple(parts)).decide(progress)
    assert (all_of.verdict == "terminate") == all(stops)
    assert (any_of.verdict == "terminate") == any(stops)
    for decision in (all_of, any_of):
        if decision.verdict != "terminate":
            going = [part for part in parts if part.verdict != "terminate"]
            assert decision.width == min(part.width for part in going)
            assert (decision.verdict == "branch") == all(p.verdict == "branch" for p in going)


def test_combinations_nest():
    inner = AllOf(policies=(Beta(), Lossless()))
    outer = AnyOf(policies=(inner, ProbeConsistency(window=2)))
    settled = Progress(
        knob=3, cap=20, votes=(3,), probes=tuple(Probe(at=i, answer=0) for i in (64, 128))
    )
    decision = outer.decide(settled)
    assert decision.verdict == "terminate"
    assert [part.rule for part in decision.parts[0].parts] == ["beta", "lossless"]
