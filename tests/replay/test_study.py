"""Study: policies on the same samples in the same orders, and the lines of its table by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import Field

from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import (
    Beta,
    Certaindex,
    Decision,
    Even,
    Fixed,
    Progress,
    Rule,
    read_policy,
)
from dynasor_graph.policies.base import go_on
from dynasor_graph.recordings import Probed, Recorded, Sample
from dynasor_graph.replay import Ballot, Decider, Replayed, Study, replay_votes, study
from dynasor_graph.replay.study import REWARD_COST, group_of, orders


def recorded(
    answers: str, *, gold: str | None = "A", tokens: tuple[int, ...] = (), **more: Any
) -> Recorded:
    """A question with a sample for each letter; a dot is a sample without an answer."""
    lengths = tokens or (10,) * len(answers)
    values = {key: more.pop(key) for key in ("logprob", "reward") if key in more}
    return Recorded(
        id=more.pop("id", answers),
        gold=gold,
        samples=tuple(
            Sample(
                answer=None if letter == "." else letter,
                tokens=length,
                correct=None if gold is None else letter == gold,
                **values,
            )
            for letter, length in zip(answers, lengths, strict=True)
        ),
        **more,
    )


def arm(found: Study, policy: str, window: int = 1) -> Replayed:
    (one,) = [a for a in found.arms if (a.policy, a.window) == (policy, window)]
    return one


class Watching(Fixed):
    """Spends everything, and notes the lengths that it saw at the end of each program."""

    ends: list[tuple[int, ...]] = Field(default_factory=list)

    def reads(self) -> frozenset[str]:
        return frozenset({"order"})

    def decide(self, progress: Progress, /) -> Decision:
        if progress.knob == progress.cap:
            self.ends.append(progress.lengths)
        return go_on(self.rule, progress)


# --- the same orders for all


def test_every_policy_and_window_sees_the_same_orders() -> None:
    rows = [recorded("AABBCC", tokens=(1, 2, 3, 4, 5, 6), id=name) for name in "xy"]
    first, second = Watching(), Watching()
    study(rows, {"one": first, "two": second}, shuffles=3)
    assert len(first.ends) == 2 * 3
    assert first.ends == second.ends
    assert len(set(first.ends)) > 1, "shuffled, and each question for itself"
    assert all(sorted(end) == [1, 2, 3, 4, 5, 6] for end in first.ends)


def test_a_policy_comes_to_the_same_in_any_company() -> None:
    rows = [recorded("AABABC"), recorded("BBABAA")]
    alone = arm(study(rows, {"beta": Beta()}), "beta")
    others: dict[str, Rule] = {
        "even": Even(at=2),
        "beta": Beta(),
        "lossless": read_policy("lossless"),
    }
    among = arm(study(rows, others, windows=(4, 1)), "beta")
    for column in ("right", "agrees", "tokens", "samples", "latency"):
        assert getattr(alone, column).tolist() == getattr(among, column).tolist()


@given(
    answers=st.lists(st.text("AB.", min_size=4, max_size=6), min_size=1, max_size=4),
    policy=st.sampled_from(["beta:confidence=0.8", "esc:window=2", "lossless", "certaindex:at=3"]),
    window=st.sampled_from([1, 2, 5]),
    shuffles=st.integers(0, 3),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_a_column_is_the_mean_over_the_orders(
    answers: list[str], policy: str, window: int, shuffles: int, seed: int
) -> None:
    rows = [
        recorded(one, id=str(i), tokens=tuple(range(1, len(one) + 1)))
        for i, one in enumerate(answers)
    ]
    rule = read_policy(policy)
    found = study(rows, {"p": rule}, windows=(window,), cap=4, shuffles=shuffles, seed=seed)
    rng = np.random.default_rng(seed)
    for i, row in enumerate(rows):
        ballot = Ballot.of(row)
        drawn = orders(len(row.samples), 4, shuffles, rng)
        base, own = (
            [replay_votes(ballot, order, Decider(one, 4), window=window) for order in drawn]
            for one in (Fixed(), rule)
        )
        right = ballot.right or ()
        one = arm(found, "p", window)
        assert one.right[i] == np.mean([o.answer >= 0 and right[o.answer] for o in own])
        assert one.agrees[i] == np.mean(
            [o.answer == b.answer for o, b in zip(own, base, strict=True)]
        )
        assert one.tokens[i] == np.mean([o.tokens for o in own])
        assert one.samples[i] == np.mean([o.finished for o in own])
        assert one.latency[i] == np.mean([o.latency for o in own])
        longest = [max(ballot.tokens[k] for k in order) for order in drawn]
        assert found.parallel[i] == np.mean(longest)


@given(st.integers(1, 8), st.integers(0, 4), st.data())
def test_orders_draw_without_replacement(count: int, shuffles: int, data: st.DataObject) -> None:
    cap = data.draw(st.integers(1, count))
    drawn = orders(count, cap, shuffles, np.random.default_rng(0))
    assert len(drawn) == max(1, shuffles)
    for order in drawn:
        assert len(order) == len(set(order)) == cap
        assert set(order) <= set(range(count))


def test_without_shuffles_the_samples_are_as_recorded() -> None:
    watching = Watching()
    rows = [recorded("AABB", tokens=(4, 3, 2, 1))]
    study(rows, {"watching": watching}, shuffles=0)
    study(rows, {"watching": watching}, shuffles=0, cap=2, seed=5)
    assert watching.ends == [(4, 3, 2, 1), (4, 3)]


def test_the_seed_alone_decides() -> None:
    rows = [recorded("AABBCCDD", id=name) for name in "xyz"]

    def rights(seed: int) -> list[float]:
        found = study(rows, {"even": Even(at=3)}, seed=seed)
        return [float(share) for share in arm(found, "even").right]

    assert rights(1) == rights(1)
    assert rights(1) != rights(2)


# --- the arms


def test_the_full_budget_comes_first_in_each_window() -> None:
    done: list[tuple[str, int]] = []
    found = study(
        [recorded("AAAA")],
        {"beta": Beta(), "all of it": Fixed()},
        windows=(2, 1),
        on_arm=lambda arm: done.append((arm.policy, arm.window)),
    )
    told = [(a.policy, a.window) for a in found.arms]
    assert told == [("all of it", 2), ("beta", 2), ("all of it", 1), ("beta", 1)]
    assert done == told


def test_the_full_budget_is_added_where_it_is_missing() -> None:
    found = study([recorded("AAAA")], {"beta": Beta()})
    assert [a.policy for a in found.arms] == ["fixed", "beta"]
    assert [a.policy for a in study([recorded("A")], {}).arms] == ["fixed"]


def test_columns_by_hand() -> None:
    rows = [recorded("BAAA", tokens=(1, 2, 3, 4), id="late"), recorded("CBBB", id="wrong")]
    one = arm(study(rows, {"one": Even(at=1)}, shuffles=0), "one")
    assert one.right.tolist() == [0, 0]
    assert one.agrees.tolist() == [0, 0]
    assert one.tokens.tolist() == [1, 10]
    assert one.samples.tolist() == [1, 1]
    two = arm(study(rows, {"two": Even(at=2)}, windows=(2,), shuffles=0, cap=3), "two", 2)
    assert two.tokens.tolist() == [3, 20]
    assert two.latency.tolist() == [2, 10], "two at once"
    full = arm(study(rows, {}, shuffles=0), "fixed")
    assert (full.right.tolist(), full.agrees.tolist()) == ([1, 0], [1, 1])


# --- the lines of the table


def test_rows_by_hand() -> None:
    rows = [
        recorded("BAAA", tokens=(10, 20, 30, 40), id="late"),
        recorded("AAAA", tokens=(10, 10, 10, 10), id="easy"),
        recorded("BBBB", tokens=(60, 60, 60, 60), id="wrong"),
    ]
    fixed, one = study(rows, {"one": Even(at=1)}, shuffles=0).rows()
    assert (fixed["policy"], fixed["window"], fixed["questions"]) == ("fixed", 1, 3)
    assert (fixed["accuracy"], one["accuracy"]) == pytest.approx((2 / 3, 1 / 3))
    assert (fixed["difference"], fixed["difference_low"], fixed["difference_high"]) == (0, 0, 0)
    assert one["difference"] == pytest.approx(-1 / 3)
    assert (one["difference_low"], one["difference_high"]) == (-1, 0)
    assert one["agreement"] == pytest.approx(2 / 3)
    assert (one["samples"], one["tokens"]) == pytest.approx((1, 80 / 3))
    assert (fixed["spent"], one["spent"]) == pytest.approx((1, 80 / 380)), "of all their tokens"
    assert (fixed["latency"], one["latency"]) == pytest.approx((380 / 3, 80 / 3))
    parallel = (40 + 10 + 60) / 3
    assert fixed["slowdown"] == pytest.approx(380 / 3 / parallel)


@given(
    answers=st.lists(st.text("ABC.", min_size=5, max_size=5), min_size=1, max_size=8),
    policy=st.sampled_from(["beta:confidence=0.8", "majority-share", "even:at=2"]),
    window=st.sampled_from([1, 3]),
)
@settings(max_examples=30, deadline=None)
def test_what_holds_of_every_row(answers: list[str], policy: str, window: int) -> None:
    rows = [recorded(one, id=str(i)) for i, one in enumerate(answers)]
    policies = {policy: read_policy(policy)}
    fixed, own = study(rows, policies, windows=(window,), shuffles=2).rows()
    for row in (fixed, own):
        assert row["difference_low"] is not None
        assert row["difference_high"] is not None
        assert row["difference"] is not None
        assert row["difference_low"] - 1e-12 <= row["difference"] <= row["difference_high"] + 1e-12
        assert row["accuracy"] is not None
        assert row["accuracy"] - (fixed["accuracy"] or 0) == pytest.approx(row["difference"])
        assert 0 < row["spent"] <= 1
        assert 0 <= row["agreement"] <= 1
        assert row["slowdown"] >= 1 or row is own
    assert fixed["spent"] == fixed["agreement"] == 1
    assert own["latency"] <= fixed["latency"]


def test_all_branches_at_once_is_no_slowdown() -> None:
    rows = [recorded("AABBC", tokens=(1, 9, 3, 7, 5)), recorded("ABABA", tokens=(2, 2, 8, 1, 1))]
    found = study(rows, {}, windows=(1, 2, 5, 9)).rows()
    slowdowns = [row["slowdown"] for row in found]
    assert slowdowns[2:] == [1, 1]
    assert slowdowns == sorted(slowdowns, reverse=True)
    assert slowdowns[0] == pytest.approx((25 + 14) / (9 + 8))


def test_each_window_is_compared_with_its_own_full_budget() -> None:
    rows = [recorded("AAAAAA"), recorded("AABBBB")]
    found = study(rows, {"two": Even(at=2)}, windows=(1, 6), shuffles=0).rows()
    assert [(row["policy"], row["window"]) for row in found] == [
        ("fixed", 1),
        ("two", 1),
        ("fixed", 6),
        ("two", 6),
    ]
    assert [row["spent"] for row in found] == pytest.approx([1, 2 / 6, 1, 2 / 6])


def test_rows_of_a_group_are_those_of_its_questions_alone() -> None:
    easy = recorded("AAAA", dataset="easy", model="m")
    hard = recorded("BAAA", dataset="hard", model="m", tokens=(10, 20, 30, 40))
    policies: dict[str, Rule] = {"one": Even(at=1)}
    found = study([easy, hard], policies, shuffles=0)
    assert found.groups == ["easy · m", "hard · m"]
    assert found.questions == ["AAAA", "BAAA"]
    assert found.rows("easy · m") == study([easy], policies, shuffles=0).rows()
    assert found.rows("hard · m") == study([hard], policies, shuffles=0).rows()
    assert found.rows()[1]["questions"] == 2


@pytest.mark.parametrize(
    ("names", "group"),
    [
        pytest.param({}, "", id="neither"),
        pytest.param({"dataset": "d"}, "d", id="set"),
        pytest.param({"model": "m"}, "m", id="model"),
        pytest.param({"dataset": "d", "model": "m"}, "d · m", id="both"),
    ],
)
def test_a_group_is_a_set_and_a_model(names: dict[str, Any], group: str) -> None:
    assert group_of(recorded("A", **names)) == group


def test_without_gold_there_is_no_accuracy_but_agreement() -> None:
    rows = [recorded("BAAA", gold=None, id="x"), recorded("AAAA", gold=None, id="y")]
    for row in study(rows, {"one": Even(at=1)}, shuffles=0).rows():
        assert (row["accuracy"], row["difference"]) == (None, None)
        assert (row["difference_low"], row["difference_high"]) == (None, None)
        assert row["agreement"] == (0.5 if row["policy"] == "one" else 1)


def test_accuracy_is_of_the_questions_with_gold() -> None:
    rows = [recorded("BAAA"), recorded("BBBB"), recorded("CBBB", gold=None)]
    fixed, one = study(rows, {"one": Even(at=1)}, shuffles=0).rows()
    assert (fixed["accuracy"], one["accuracy"], one["difference"]) == (0.5, 0, -0.5)
    assert one["questions"] == 3
    assert one["agreement"] == pytest.approx(1 / 3)


# --- rewards cost


@pytest.mark.parametrize(
    ("rule", "vote", "charged"),
    [
        pytest.param(Even(at=2), "majority", [False, False], id="nobody judges"),
        pytest.param(
            Certaindex(threshold=None, reward_threshold=1.0, at=2),
            "majority",
            [False, True],
            id="the policy judges",
        ),
        pytest.param(Even(at=2), "best", [True, True], id="the vote judges"),
    ],
)
def test_judging_is_charged_where_rewards_are_read(
    rule: Rule, vote: Any, charged: list[bool]
) -> None:
    rows = [recorded("AAAA", reward=0.5)]
    found = study(rows, {"p": rule}, vote=vote, reward_cost=7)
    for one, judged in zip(found.arms, charged, strict=True):
        assert one.tokens[0] == one.samples[0] * (10 + 7 * judged)
    usual = arm(study(rows, {}, vote="best"), "fixed")
    assert usual.tokens[0] == 4 * (10 + REWARD_COST)


# --- what is refused


@pytest.mark.parametrize(
    ("rows", "how", "error", "said"),
    [
        pytest.param([], {}, InputError, "no question to replay", id="nothing"),
        pytest.param([recorded("", id="q0")], {}, InputError, "q0: .* no samples", id="no samples"),
        pytest.param(
            [recorded("AAA"), recorded("AA", id="q7")],
            {"cap": 3},
            InputError,
            "q7: 2 samples, and a cap of 3: lower the cap to 2",
            id="a cap above what there is",
        ),
        pytest.param([recorded("AA")], {"cap": 0}, ConfigError, "at least 1, got 0", id="cap 0"),
        pytest.param([recorded("AA")], {"cap": -1}, ConfigError, "got -1", id="cap below 0"),
        pytest.param(
            [recorded("AA")], {"windows": (1, 0)}, ConfigError, "window .* got 0", id="window 0"
        ),
        pytest.param(
            [Recorded("q7", (Sample("A", None),))], {}, InputError, "q7: .*tokens", id="no tokens"
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    rows: list[Recorded], how: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        study(rows, {"beta": Beta()}, **how)


def test_the_cap_is_by_default_what_every_question_has() -> None:
    found = study([recorded("AAAA"), recorded("AA"), recorded("AAA")], {})
    assert arm(found, "fixed").samples.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("rule", "vote", "row", "said"),
    [
        pytest.param(
            "rebase-gsm8k", "majority", recorded("AA"), "p looks at rewards, .* AA", id="rewards"
        ),
        pytest.param("beta", "best", recorded("AA"), "vote 'best' .* rewards", id="best"),
        pytest.param(
            "beta", "confidence", recorded("AA"), "vote 'confidence' .*logprobs=true", id="sure"
        ),
        pytest.param(
            "cot-mid", "majority", recorded("AA"), "p looks at probes of a chain", id="probes"
        ),
        pytest.param(
            "beta & deer", "majority", recorded("AA"), "p looks at probes", id="in a combination"
        ),
        pytest.param(
            "rebase-gsm8k",
            "majority",
            Recorded("half", (Sample("A", 1, reward=0.5), Sample("A", 1))),
            "half has samples without",
            id="one reward is missing",
        ),
        pytest.param(
            "beta",
            "confidence",
            Recorded("half", (Sample("A", 1, logprob=-0.5), Sample("A", 1))),
            "half has samples without",
            id="one log-probability is missing",
        ),
    ],
)
def test_signals_that_were_not_recorded_are_named_with_the_cure(
    rule: str, vote: Any, row: Recorded, said: str
) -> None:
    known = recorded("AA", id="known", reward=0.5, logprob=-0.5)
    policies = {"fine": read_policy("fixed"), "p": read_policy(rule)}
    with pytest.raises(InputError, match=said):
        study([known, row], policies, vote=vote)


def test_probes_of_branches_are_passed_over() -> None:
    row = Recorded("q", (Sample("A", 100, True, probes=(Probed(64, "B"),)),) * 4, gold="A")
    assert arm(study([row], {"beta": Beta()}), "beta").right.tolist() == [1]
