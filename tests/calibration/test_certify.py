"""Certify: halves, candidates in their order, and a loss that is above the bound only by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import binom

from dynasor_graph.calibration import (
    SWEEPS,
    Certificate,
    candidates_of,
    certify,
    fit_value,
    losses,
    split,
)
from dynasor_graph.confidence import Confidence
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import RULES, Beta, Even, Fixed, Rule, Value, read_policy
from dynasor_graph.recordings import Probed, Recorded, Sample
from dynasor_graph.replay import Replayed, Study, study, study_chains

Columns = Mapping[str, tuple[Sequence[float], float]]
"""Of each policy its share of right answers on each question, and the tokens of each."""


def questions(count: int, start: int = 0) -> list[Recorded]:
    return [Recorded(f"q{i}", (Sample("A", 1, True),)) for i in range(start, start + count)]


def column(
    policy: str, right: Sequence[float], tokens: float = 100.0, agrees: Sequence[float] = ()
) -> Replayed:
    values = np.asarray(right, dtype=float)
    return Replayed(
        policy=policy,
        window=1,
        right=values,
        agrees=np.asarray(agrees, dtype=float) if len(agrees) else values,
        tokens=np.full(len(values), tokens),
        samples=np.ones(len(values)),
        latency=np.ones(len(values)),
    )


@dataclass
class Lab:
    """Replays by table: what came of the fit half, and of the half that certifies.

    Attributes:
        fit: Right answers and tokens of each candidate there.
        test: The same where it certifies.
        calls: The questions and the policies of each replay.
    """

    fit: Columns
    test: Columns
    calls: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def __call__(self, rows: Sequence[Recorded], policies: dict[str, Rule]) -> Study:
        table = self.test if self.calls else self.fit
        self.calls.append(([row.id for row in rows], list(policies)))
        full = column("fixed", [1.0] * len(rows))
        arms = [column(name, *table[name]) for name in policies]
        return Study(questions=[], groups=[], arms=[full, *arms], parallel=np.ones(len(rows)))


def lost(count: int, share: float = 0.0) -> list[float]:
    """So many questions, the first of which are answered wrong."""
    wrong = round(share * count)
    return [0.0] * wrong + [1.0] * (count - wrong)


RULE: dict[str, tuple[Any, Rule]] = {
    "mild": (0.99, Beta(confidence=0.99)),
    "bold": (0.9, Beta(confidence=0.9)),
    "rash": (0.6, Beta(confidence=0.6)),
}
TOKENS = {"mild": 80.0, "bold": 50.0, "rash": 20.0}


def certified(
    shares: Mapping[str, float],
    *,
    count: int = 300,
    tokens: Mapping[str, float] = TOKENS,
    max_loss: float = 0.05,
    **how: Any,
) -> tuple[Certificate, Lab]:
    """What comes of candidates that lose these shares on the half that certifies."""
    lab = Lab(
        fit={name: (lost(50), spent) for name, spent in tokens.items()},
        test={name: (lost(count, share), tokens[name]) for name, share in shares.items()},
    )
    named = {name: RULE[name] for name in shares}
    halves = questions(50), questions(count, start=50)
    return certify(lab, *halves, named, max_loss=max_loss, **how), lab


# --- the halves


@given(st.integers(40, 200), st.integers(0, 9))
def test_halves_are_apart_and_all(count: int, seed: int) -> None:
    rows = questions(count)
    fit, test = split(rows, seed)
    assert len(fit) == count // 2
    ids = [row.id for row in (*fit, *test)]
    assert len(set(ids)) == count
    assert set(ids) == {row.id for row in rows}
    assert split(rows, seed) == (fit, test)


def test_another_seed_deals_other_halves() -> None:
    assert split(questions(100), 0) != split(questions(100), 1)


def test_halves_are_dealt_at_random() -> None:
    fit, _ = split(questions(400), 0)
    assert 60 < sum(int(row.id[1:]) < 200 for row in fit) < 140


@pytest.mark.parametrize("count", [0, 1, 39])
def test_too_few_questions_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"{count} questions are too few: .*about 700"):
        split(questions(count), 0)


# --- the candidates

VALUE = fit_value(
    [
        Recorded(
            f"q{i}",
            tuple(Sample("AB"[(i + k) % 3 == 0], 100, (i + k) % 3 != 0) for k in range(6)),
        )
        for i in range(20)
    ],
    ("votes",),
)


def base_of(name: str) -> Rule:
    return VALUE if name == "value" else read_policy(name)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_of_a_rule_that_is_there_and_each_value_is_one_of_its(name: str) -> None:
    sweep, base = SWEEPS[name], base_of(name)
    assert sweep.parameter in RULES[name].model_fields
    assert len(set(sweep.values)) == len(sweep.values) >= 8
    found = candidates_of(base)
    assert [value for value, _ in found.values()] == list(sweep.values)
    for written, (value, rule) in found.items():
        assert rule == base.model_copy(update={sweep.parameter: value})
        assert written == f"{name}:{sweep.parameter}={value}"
        if not isinstance(rule, Value):
            assert read_policy(written) == rule, "what is shown can be written"


def _sample(answer: str, rng: np.random.Generator) -> Sample:
    """Ten tokens; after half of them it is as unsure as it ever gets, and surer if it is right."""
    least = float(rng.uniform(1, 10)) + 2 * (answer == "A")
    confidence = Confidence(least + 1, least + 1, least, least, ((5, least),))
    return Sample(answer, 10, answer == "A", confidence=confidence)


def test_each_sweep_goes_from_careful_to_daring() -> None:
    rng = np.random.default_rng(0)
    votes, thoughts = [], []
    for i in range(15):
        chance = (0.5, 0.7, 0.9)[i % 3]
        answers = ["A" if rng.random() < chance else rng.choice(["B", "C"]) for _ in range(40)]
        votes.append(Recorded(f"q{i}", tuple(_sample(answer, rng) for answer in answers)))
        probes = [
            Probed(64 * (k + 1), answer, round(float(rng.beta(9, 1)), 4))
            for k, answer in enumerate(answers)
        ]
        thoughts.append(Recorded(f"q{i}", (Sample("A", 3000, True, probes=tuple(probes)),)))
    for name in SWEEPS:
        if name == "value":
            continue  # only its price changes: see test_fit
        rules = {written: rule for written, (_, rule) in candidates_of(base_of(name)).items()}
        chains = name.startswith("probe")
        found = study_chains(thoughts, rules) if chains else study(votes, rules, shuffles=1)
        spent = [row["spent"] for row in found.rows()[1:]]
        assert spent == sorted(spent, reverse=True), name
        assert spent[-1] < spent[0], name


@pytest.mark.parametrize(
    ("base", "parameter", "values", "found"),
    [
        pytest.param("beta", "start", [2, 5], [Beta(), Beta(start=5)], id="another-parameter"),
        pytest.param(
            "beta", "confidence", [0.9], [Beta(confidence=0.9)], id="its-own-with-other-values"
        ),
        pytest.param(
            "beta:start=3", None, [0.9], [Beta(confidence=0.9, start=3)], id="other-values"
        ),
        pytest.param("lossless & beta", "policies", [["fixed"]], None, id="a-combination"),
        pytest.param("sc-gsm8k", "at", [3, 4], None, id="a-preset"),
    ],
)
def test_candidates_differ_in_one_parameter(
    base: str, parameter: str | None, values: list[Any], found: list[Rule] | None
) -> None:
    rules = candidates_of(read_policy(base), parameter, values)
    assert [value for value, _ in rules.values()] == values
    if found is not None:
        assert [rule for _, rule in rules.values()] == found


def test_its_own_parameter_may_be_named_without_values() -> None:
    assert candidates_of(Beta(), "confidence") == candidates_of(Beta())


@pytest.mark.parametrize(
    ("base", "parameter", "values", "said"),
    [
        pytest.param(Fixed(), None, [], "say which --parameter", id="nothing-to-try"),
        pytest.param(Fixed(), None, [0.5], "say which --parameter", id="values-of-what"),
        pytest.param(Beta(), "start", [], "with which --values", id="no-values"),
        pytest.param(Beta(), "begin", [1], "no parameter 'begin'", id="no-such-parameter"),
        pytest.param(Beta(), None, [0.9, 2], "confidence: .*got 2", id="out-of-range"),
        pytest.param(Even(at=3), "at", ["many"], "at: .*'many'", id="no-number"),
    ],
)
def test_what_cannot_be_tried_is_said(
    base: Rule, parameter: str | None, values: list[Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        candidates_of(base, parameter, values)


# --- the losses


def test_losses_by_hand() -> None:
    base = column("fixed", [1.0, 0.5, 0.0, 1.0])
    arm = column("p", [1.0, 0.0, 1.0, 0.25], agrees=[1.0, 0.5, 0.0, 0.25])
    assert losses(base, arm, "right").tolist() == [0, 0.5, -1, 0.75]
    assert losses(base, arm, "same").tolist() == [0, 0.5, 1, 0.75]


def test_without_gold_only_agreement_can_be_lost() -> None:
    arm = column("p", [1.0, float("nan"), float("nan")], agrees=[1.0, 1.0, 0.0])
    with pytest.raises(InputError, match=r"2 questions have no gold: .*--goal same"):
        losses(arm, arm, "right")
    assert losses(arm, arm, "same").tolist() == [0, 0, 1]


# --- the tests in their order


def test_candidates_are_tested_from_the_dearest_on_the_fit_half() -> None:
    tokens = {"rash": 20.0, "bold": 70.0, "mild": 60.0}
    found, lab = certified({"rash": 0.0, "mild": 0.0, "bold": 0.0}, tokens=tokens)
    assert [row["policy"] for row in found.candidates] == ["bold", "mild", "rash"]
    assert [row["parameter"] for row in found.candidates] == [0.9, 0.99, 0.6]
    fit, test = (ids for ids, _ in lab.calls)
    assert not set(fit) & set(test)
    assert [names for _, names in lab.calls] == [["rash", "mild", "bold"], ["bold", "mild", "rash"]]


@pytest.mark.parametrize(
    ("shares", "chosen", "passed"),
    [
        pytest.param({"mild": 0, "bold": 0, "rash": 0}, "rash", 3, id="all"),
        pytest.param({"mild": 0, "bold": 0, "rash": 0.2}, "bold", 2, id="the-last-fails"),
        pytest.param({"mild": 0, "bold": 0.2, "rash": 0}, "mild", 1, id="none-after-a-failure"),
        pytest.param({"mild": 0.2, "bold": 0, "rash": 0}, None, 0, id="the-first-fails"),
        pytest.param({"mild": 0.01, "bold": 0.05, "rash": 0}, "mild", 1, id="at-the-bound"),
        pytest.param({"mild": 0}, "mild", 1, id="one-candidate"),
    ],
)
def test_the_cheapest_before_the_first_that_fails_is_chosen(
    shares: dict[str, float], chosen: str | None, passed: int
) -> None:
    found, _ = certified(shares)
    assert found.rule == (RULE[chosen][1] if chosen else None)
    assert (found.certified, found.questions) == (passed, 300)
    assert len(found.candidates) == len(shares), "all are shown"
    for i, row in enumerate(found.candidates):
        share = shares[row["policy"]]
        assert row["loss"] == pytest.approx(share)
        assert row["fit_loss"] == 0
        assert row["spent"] == row["fit_spent"] == TOKENS[row["policy"]] / 100
        assert (row["p_value"] <= 0.05) == (share < 0.05)
        assert i >= passed or row["p_value"] <= 0.05
    shown = shares[chosen or "mild"]
    assert found.losses.tolist() == [1 - right for right in lost(300, shown)]


@pytest.mark.parametrize(
    ("share", "count", "needed"),
    [
        pytest.param(0.0, 300, None, id="certified"),
        pytest.param(0.0, 40, (41, 80), id="none-lost-too-few-questions"),
        pytest.param(0.025, 40, (60, 500), id="some-lost"),
        pytest.param(0.05, 40, None, id="as-much-as-is-allowed"),
        pytest.param(0.5, 40, None, id="far-more"),
    ],
)
def test_how_many_questions_the_most_careful_would_need(
    share: float, count: int, needed: tuple[int, int] | None
) -> None:
    found, _ = certified({"mild": share, "bold": 0.5}, count=count)
    if needed is None:
        assert found.needed is None
        return
    assert found.rule is None
    assert found.needed is not None
    low, high = needed
    assert low <= found.needed <= high
    again, _ = certified({"mild": share, "bold": 0.5}, count=4 * found.needed)
    assert again.certified == 1


def test_a_gain_makes_up_for_a_loss_unless_the_answer_is_to_stay() -> None:
    count = 400
    right = [0.0] * 20 + [1.0] * (count - 20)
    moved = [1.0] * 20 + [0.0] * 20 + [1.0] * (count - 40)

    def replayed(rows: Sequence[Recorded], policies: dict[str, Rule]) -> Study:
        same = [0.0] * 40 + [1.0] * (count - 40)
        arms = [column("fixed", right), column("mild", moved, 80, agrees=same)]
        return Study(questions=[], groups=[], arms=arms, parallel=np.ones(count))

    rows, named = questions(count), {"mild": RULE["mild"]}
    found = [
        certify(replayed, rows, rows, named, max_loss=0.08, goal=goal).candidates[0]["loss"]
        for goal in ("right", "same")
    ]
    assert found == pytest.approx([0, 0.1])
    assert certify(replayed, rows, rows, named, max_loss=0.08, goal="right").rule is not None
    assert certify(replayed, rows, rows, named, max_loss=0.08, goal="same").rule is None


def test_less_confidence_certifies_more() -> None:
    sure, less = (
        certified({"mild": 0.01}, count=100, confidence=confidence)[0].certified
        for confidence in (0.999, 0.6)
    )
    assert (sure, less) == (0, 1)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param({"max_loss": 0.0}, "above 0 and below 100 points, got 0", id="nothing"),
        pytest.param({"max_loss": 1.0}, "got 1", id="everything"),
        pytest.param({"max_loss": float("nan")}, "got nan", id="no-number"),
        pytest.param({"confidence": 1.0}, r"in \(0, 1\), got 1", id="certainty"),
        pytest.param({"confidence": 0.0}, "got 0", id="no-confidence"),
    ],
)
def test_bounds_out_of_range_are_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        certified({"mild": 0.0}, **how)


# --- what the guarantee is


@pytest.mark.parametrize("goal", ["right", "same"])
def test_a_loss_above_the_bound_is_certified_no_more_often_than_the_level(goal: Any) -> None:
    runs, count, bound = 400, 200, 0.05
    rng = np.random.default_rng(1)
    means = {"mild": 0.0, "bold": bound, "rash": 2 * bound}
    wrong = useful = 0
    for _ in range(runs):
        test: dict[str, tuple[Sequence[float], float]] = {}
        for name, mean in means.items():
            # Some are lost, and unless the answer is to stay some are won.
            won = 0.0 if goal == "same" else 0.005
            drawn = rng.choice([0.0, 1.0, 2.0], count, p=[mean + won, 1 - mean - 2 * won, won])
            test[name] = (drawn.tolist(), TOKENS[name])
        lab = Lab(fit={name: (lost(50), spent) for name, spent in TOKENS.items()}, test=test)
        found = certify(lab, questions(50), questions(count), RULE, max_loss=bound, goal=goal)
        wrong += found.certified > 1
        useful += found.certified > 0
    assert wrong <= binom.ppf(0.999, runs, 0.05)
    assert useful >= 0.9 * runs, "and what loses nothing is certified"


def test_the_order_is_set_before_the_half_that_certifies_is_seen() -> None:
    # There the daring one looks dear; its place was given by the fit half.
    lab = Lab(
        fit={"mild": (lost(50), 80.0), "rash": (lost(50), 20.0)},
        test={"mild": (lost(300), 30.0), "rash": (lost(300, 0.2), 90.0)},
    )
    named = {name: RULE[name] for name in ("rash", "mild")}
    found = certify(lab, questions(50), questions(300), named, max_loss=0.05)
    assert [row["policy"] for row in found.candidates] == ["mild", "rash"]
    assert [(row["fit_spent"], row["spent"]) for row in found.candidates] == [
        (0.8, 0.3),
        (0.2, 0.9),
    ]
    assert found.rule == RULE["mild"][1]


def test_a_question_that_is_there_twice_is_refused() -> None:
    rows = [Recorded(id=str(i % 39), samples=(Sample("A", 1, correct=True),)) for i in range(40)]
    with pytest.raises(InputError, match=r"0 is there twice: .*one model and one run at a time"):
        split(rows, 0)
