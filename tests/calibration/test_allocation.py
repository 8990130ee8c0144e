"""Curves of allocation: by hand, and that they harm no program that they were fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.calibration import curves, fit_pareto, fit_skyline
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import Fixed, Rule
from dynasor_graph.recordings import Recorded, Sample
from dynasor_graph.replay import Ballot, Decider, replay_votes
from dynasor_graph.replay.study import orders


def recorded(answers: str, tokens: int = 10, gold: str | None = "A", name: str = "") -> Recorded:
    """A question with a sample for each letter; a dot is a sample without an answer."""
    return Recorded(
        id=name or answers,
        gold=gold,
        samples=tuple(
            Sample(
                answer=None if letter == "." else letter,
                tokens=tokens,
                correct=None if gold is None else letter == gold,
            )
            for letter in answers
        ),
    )


@pytest.mark.parametrize(
    ("answers", "how", "points"),
    [
        pytest.param(["AAAAAA"], {}, ((1.0, 2),), id="sure and settled: the first knob is enough"),
        pytest.param(
            ["AAAAAA", "BCAAAA"],
            {},
            ((0.0, 4), (1.0, 2)),
            id="BC leads until AA is two ahead at the fourth",
        ),
        pytest.param(
            ["AAAAAA", "BBAAAA"], {}, ((1.0, 5),), id="one that is sure too early holds for all"
        ),
        pytest.param(
            ["BCAAAA", "BBAAAA"],
            {},
            ((0.0, 5),),
            id="who is less certain gets no less",
        ),
        pytest.param(
            ["BBBAAA", "AAAAAA"], {}, ((1.0, 2),), id="not solvable: B is the full budget's"
        ),
        pytest.param(["..AAAA"], {}, ((0.0, 3),), id="no answer yet is no answer that stays"),
        pytest.param(
            ["BCAAAA"],
            {"every": 1},
            ((0.0, 4), (0.25, 2)),
            id="measured again: BC and BCA lead wrongly, BCAA is enough",
        ),
        pytest.param(
            ["BBAAAA"],
            {"every": 1},
            ((0.420619, 5), (0.581834, 3)),
            id="BB needs a third branch, BBA a fourth, BBAA a fifth",
        ),
        pytest.param(
            ["BBAAAA"],
            {"every": 1, "needed": "whole"},
            ((0.420619, 5),),
            id="the whole way counts at every measurement",
        ),
        pytest.param(
            ["BBAAAA"],
            {"every": 3},
            ((0.420619, 6), (0.644754, 3)),
            id="to the next measurement: at 2, 3 and 6",
        ),
        pytest.param(
            ["AAAAAA"] * 9 + ["BBAAAA"],
            {"quantile": 0.9},
            ((1.0, 2),),
            id="one in ten may be harmed",
        ),
        pytest.param(
            ["AAAAAA"] * 9 + ["BBAAAA"],
            {"quantile": 0.91},
            ((1.0, 5),),
            id="not one in ten",
        ),
    ],
)
def test_skyline_by_hand(answers: list[str], how: dict[str, Any], points: Any) -> None:
    rows = [recorded(text, name=str(i)) for i, text in enumerate(answers)]
    assert fit_skyline(rows, at=2, shuffles=0, **how).points == points


@pytest.mark.parametrize(
    ("answers", "how", "points"),
    [
        pytest.param("AAAAAA", {}, ((1.0, 0),), id="nothing is needed after the first knob"),
        pytest.param("BCAAAA", {}, ((0.0, 10), (0.25, 0)), id="a mean branch while B leads"),
        pytest.param("BBAAAA", {"needed": "whole"}, ((0.420619, 30),), id="three branches from BB"),
    ],
)
def test_pareto_by_hand(answers: str, how: dict[str, Any], points: Any) -> None:
    assert fit_pareto([recorded(answers)], at=2, shuffles=0, **how).points == points


def test_without_gold_every_answer_is_to_be_kept() -> None:
    rows = [recorded("BBBAAA", gold=None), recorded("AAAAAA", gold=None)]
    assert fit_skyline(rows, at=2, shuffles=0).points == ((1.0, 2),)
    wrong = [recorded("AABBBB", gold=None)]
    assert fit_skyline(wrong, at=2, shuffles=0).points == ((1.0, 5),)


def test_a_curve_has_few_steps_however_many_values_there_are() -> None:
    rng = np.random.default_rng(0)
    rows = [recorded("".join(rng.choice(list("AABCD"), 24)), name=str(i)) for i in range(60)]
    curve = fit_skyline(rows, at=2, every=1)
    assert 1 < len(curve.points) <= 33


@pytest.mark.parametrize(
    ("how", "error"),
    [
        pytest.param({"at": 1}, ConfigError, id="one branch says nothing"),
        pytest.param({"at": 7}, ConfigError, id="beyond the cap"),
        pytest.param({"cap": 7}, InputError, id="more branches than samples"),
        pytest.param({"quantile": 0.0}, ConfigError, id="nobody"),
        pytest.param({"quantile": 1.1}, ConfigError, id="more than all"),
        pytest.param({"every": -1}, ConfigError, id="backwards"),
    ],
)
def test_out_of_range(how: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        fit_skyline([recorded("AAAAAA")], **{"at": 2, **how})
    if "every" not in how:
        with pytest.raises(error):
            fit_pareto([recorded("AAAAAA")], **{"at": 2, **how})


@pytest.mark.parametrize(
    "rows",
    [[], [recorded("BBBBBB")], [recorded("......", gold=None)]],
    ids=["none", "wrong", "dumb"],
)
def test_nothing_to_keep(rows: list[Recorded]) -> None:
    for fit in (fit_skyline, fit_pareto):
        with pytest.raises(InputError):
            fit(rows, at=2)


questions = st.lists(
    st.lists(
        st.tuples(st.sampled_from([None, "A", "A", "B", "C"]), st.integers(0, 40)),
        min_size=8,
        max_size=10,
    ),
    min_size=1,
    max_size=5,
)


@given(
    drawn=questions,
    at=st.integers(2, 5),
    every=st.sampled_from([None, 0, 1, 2, 3, 5]),
    needed=st.sampled_from(["next", "whole"]),
    gold=st.booleans(),
    seed=st.integers(0, 3),
)
@settings(max_examples=120, deadline=None)
def test_no_solvable_program_that_was_fitted_changes_its_answer(
    drawn: list[list[tuple[str | None, int]]],
    at: int,
    every: int | None,
    needed: Any,
    gold: bool,
    seed: int,
) -> None:
    cap, shuffles = 8, 3
    rows = [
        Recorded(
            id=str(i),
            gold="A" if gold else None,
            samples=tuple(Sample(a, t, a == "A" if gold else None) for a, t in samples),
        )
        for i, samples in enumerate(drawn)
    ]
    how: dict[str, Any] = {"at": at, "cap": cap, "shuffles": shuffles, "seed": seed}
    try:
        rule: Rule = (
            fit_pareto(rows, **how, needed=needed)
            if every is None
            else fit_skyline(rows, every=every, **how, needed=needed)
        )
    except InputError:
        return  # none is solvable
    rng = np.random.default_rng(seed)
    whole = Decider(Fixed(), cap)
    for ballot in map(Ballot.of, rows):
        for order in orders(len(ballot.classes), cap, shuffles, rng):
            full = replay_votes(ballot, order, whole).answer
            if full >= 0 and (ballot.right is None or ballot.right[full]):
                assert replay_votes(ballot, order, Decider(rule, cap)).answer == full


# Candidates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "fit"),
    [
        pytest.param(
            "skyline", lambda rows, q: fit_skyline(rows, every=1, quantile=q), id="dynamic"
        ),
        pytest.param(
            "skyline:at=3,every=0",
            lambda rows, q: fit_skyline(rows, at=3, every=0, quantile=q),
            id="initial step",
        ),
        pytest.param(
            "pareto:at=2,needed=whole",
            lambda rows, q: fit_pareto(rows, at=2, needed="whole", quantile=q),
            id="pareto",
        ),
    ],
)
def test_a_curve_for_each_quantile(spec: str, fit: Any) -> None:
    rows = [recorded("AAAAAA"), recorded("BBAAAA"), recorded("BCAAAA"), recorded("ABABAA")]
    found = curves(rows, spec, [1.0, 0.5])
    name = spec.partition(":")[0]
    assert [*found] == [f"{name}:quantile=1", f"{name}:quantile=0.5"]
    assert [value for value, _ in found.values()] == [1.0, 0.5]
    assert [rule for _, rule in found.values()] == [fit(rows, 1.0), fit(rows, 0.5)]
    assert len(curves(rows, spec)) == 13


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param("beta", "a fitted curve is", id="no curve"),
        pytest.param("pareto:every=1", "a fitted curve is", id="not of this curve"),
        pytest.param("skyline:points=3", "a fitted curve is", id="what is fitted"),
        pytest.param("skyline:at=x", "at must be a whole number, got 'x'", id="no number"),
        pytest.param("skyline:needed=all", "next or whole, got 'all'", id="needed"),
        pytest.param("skyline:at=9", "2 to 6 branches", id="beyond the cap"),
    ],
)
def test_a_curve_that_cannot_be_fitted(spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        curves([recorded("AAAAAA")], spec)
