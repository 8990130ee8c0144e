"""Reliability: paths equal to the replay, oracle tokens and bins by hand, and its part of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest

from dynasor_graph.certaindex import entropy_certaindex
from dynasor_graph.cli import main
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import Even, Fixed, Rule
from dynasor_graph.recordings import Recorded, Sample, write_recording
from dynasor_graph.replay import (
    Ballot,
    Bin,
    Decider,
    correlations,
    paths_of,
    reliability,
    replay_votes,
    study,
)
from dynasor_graph.replay.reliability import wilson
from dynasor_graph.report import write_fronts


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


@given(
    classes=st.lists(st.integers(-1, 3), min_size=1, max_size=12),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_paths_are_what_the_replay_comes_to_at_every_knob(
    classes: list[int], data: st.DataObject
) -> None:
    count = len(classes)
    tokens = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    order = data.draw(st.permutations(range(count)))
    numbers = {c: i for i, c in enumerate(dict.fromkeys(c for c in classes if c >= 0))}
    one = Ballot(classes=tuple(numbers.get(c, -1) for c in classes), tokens=tuple(tokens))
    paths = paths_of(one, [order])
    for knob in range(1, count + 1):
        rule: Rule = Even(at=knob) if knob < count else Fixed()
        found = replay_votes(one, order, Decider(rule, count))
        first = [one.classes[i] for i in order[:knob]]
        votes = [first.count(c) for c in set(first) - {-1}]
        assert paths.leaders[0, knob - 1] == found.answer
        assert paths.tokens[0, knob - 1] == found.tokens
        expected = entropy_certaindex(votes, first.count(-1))
        assert paths.certaindex[0, knob - 1] == pytest.approx(expected, abs=1e-12)
    settled = int(paths.settled[0])
    assert (paths.leaders[0, settled - 1 :] == paths.leaders[0, -1]).all()
    assert settled == 1 or paths.leaders[0, settled - 2] != paths.leaders[0, -1]
    assert paths.required[0] == paths.tokens[0, settled - 1]


@pytest.mark.parametrize(
    ("answers", "settled", "required", "solvable"),
    [
        pytest.param("AAAA", 1, 1, True, id="one answer from the first branch on"),
        pytest.param("BAAA", 3, 6, True, id="a tie belongs to the answer seen first"),
        pytest.param("ABBA", 4, 10, True, id="of equals at the end too"),
        pytest.param("ABBB", 3, 6, False, id="settled on a wrong answer"),
        pytest.param("..AB", 3, 6, True, id="no leader before the first answer"),
        pytest.param("ABBBAAA", 6, 21, True, id="left and came back: only the last time counts"),
        pytest.param("....", 1, 1, False, id="no answer at all"),
    ],
)
def test_what_an_oracle_needs(answers: str, settled: int, required: int, solvable: bool) -> None:
    one = recorded(answers, tokens=tuple(range(1, len(answers) + 1)))
    paths = paths_of(Ballot.of(one), [range(len(answers))])
    assert (paths.settled[0], paths.required[0], paths.solvable[0]) == (
        settled,
        required,
        solvable,
    )


@pytest.mark.parametrize(
    ("good", "count"), [(0, 5), (5, 5), (1, 3), (37, 40)], ids=["none", "all", "a third", "most"]
)
def test_wilson_is_scipys(good: int, count: int) -> None:
    expected = binomtest(good, count).proportion_ci(method="wilson")
    assert wilson(good / count, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_bins_by_hand() -> None:
    rows = [
        recorded("AABBB", id="tied at two, wrong at the end"),
        recorded("AAAAA", id="sure and right"),
        recorded("BBBBB", id="sure and wrong"),
        recorded("ABAAA", id="open at two, leads right"),
    ]
    found = reliability(rows, at=2, shuffles=0)
    assert (found.at, found.cap, found.measure) == (2, 5, "right")
    open_, sure = found.bins
    low, high = wilson(1.0, 1)
    assert open_ == Bin(certaindex=0, count=1, questions=1, share=1, low=low, high=high)
    assert (sure.certaindex, sure.count) == (1, 3)
    assert sure.share == pytest.approx(2 / 3)
    assert (sure.low, sure.high) == wilson(2 / 3, 3)


def test_orders_of_a_question_count_as_one() -> None:
    found = reliability([recorded("AAAAA"), recorded("AAAAAA")], at=3, shuffles=10)
    (only,) = found.bins
    assert (only.count, only.questions) == (20, 2)
    assert (only.low, only.high) == wilson(1.0, 2)


def test_without_gold_good_is_the_answer_of_the_full_budget() -> None:
    rows = [recorded("AABBB", gold=None), recorded("AAAAA", gold=None)]
    found = reliability(rows, at=2, shuffles=0)
    assert (found.measure, found.bins[-1].share) == ("same", 0.5)
    mixed = reliability([*rows, recorded("AAAAA")], at=2, shuffles=0)
    assert (mixed.measure, mixed.bins[-1].count) == ("right", 1), "those without gold are left out"


@pytest.mark.parametrize(
    ("how", "error"),
    [
        pytest.param({"at": 1}, ConfigError, id="one branch says nothing"),
        pytest.param({"at": 6}, ConfigError, id="beyond the cap"),
        pytest.param({"cap": 9}, InputError, id="more branches than samples"),
        pytest.param({"cap": 0}, ConfigError, id="no branch"),
    ],
)
def test_out_of_range(how: dict[str, int], error: type[Exception]) -> None:
    for measure in (reliability, correlations):
        with pytest.raises(error):
            measure([recorded("AAAAA")], **how)
        with pytest.raises(InputError):
            measure([])


def several(count: int = 6, **more: Any) -> list[Recorded]:
    """Questions in pairs: settled at once, and late."""
    return [
        one
        for i in range(count)
        for one in (
            recorded("AAAAAA", id=f"easy {i}", dataset="set", **more),
            recorded("BCAAAA", id=f"hard {i}", dataset="set", **more),
        )
    ]


def test_correlations_by_hand() -> None:
    (certain, length) = correlations(several(), at=3, shuffles=0)
    assert (certain.signal, length.signal) == ("certaindex", "length")
    assert (certain.group, certain.questions) == ("set", 12)
    needs = (certain.tokens, certain.tokens_rank, certain.branches, certain.branches_rank)
    assert needs == pytest.approx((-1, -1, -1, -1)), "the surer, the less is needed"
    assert (length.tokens, length.branches_rank) == (None, None), "all are equally long"


@pytest.mark.parametrize(
    ("rows", "signals"),
    [
        pytest.param(
            several(logprob=-0.5, reward=0.5),
            ["certaindex", "log-probability", "length", "reward"],
            id="everything was recorded",
        ),
        pytest.param(
            [*several(logprob=-0.5), *several(1)], ["certaindex", "length"], id="not throughout"
        ),
        pytest.param(several(4), [], id="too few questions"),
        pytest.param([recorded("BBBBBB", id=str(i)) for i in range(20)], [], id="none is solvable"),
    ],
)
def test_signals_that_are_known(rows: list[Recorded], signals: list[str]) -> None:
    assert [one.signal for one in correlations(rows, at=3)] == signals


def page(path: Path, rows: list[Recorded], **more: Any) -> str:
    write_fronts(path / "page.html", study(rows, {}, shuffles=0), title="t", about={}, **more)
    return (path / "page.html").read_text()


@pytest.mark.parametrize("gold", ["A", None], ids=["with gold", "without"])
def test_the_page_has_a_part_on_certaindex(tmp_path: Path, gold: str | None) -> None:
    rows = several(gold=gold)
    found = reliability(rows, at=3, shuffles=0)
    html = page(
        tmp_path, rows, reliability=found, correlations=correlations(rows, at=3, shuffles=0)
    )
    assert ("Is the leading answer right?" in html) == (gold is not None)
    assert "after 3 branches" in html
    assert 'aria-label="Share of leading answers' in html
    assert "\N{MINUS SIGN}1.00" in html
    assert "sets and models" not in html, "there is one"


def test_the_page_names_the_range_over_groups(tmp_path: Path) -> None:
    rows = [*several(), *(r for r in several(model="m"))]
    measured = correlations(rows, at=3, shuffles=0)
    found = reliability(rows, at=3, shuffles=0)
    html = page(tmp_path, rows, reliability=found, correlations=measured)
    assert "Means over 2 sets and models" in html
    assert "\N{MINUS SIGN}1.00 [\N{MINUS SIGN}1.00, \N{MINUS SIGN}1.00]" in html


def test_the_page_without_it(tmp_path: Path) -> None:
    assert 'id="reliability"' not in page(tmp_path, several())


def test_a_page_of_many_policies_names_no_point_over_another(tmp_path: Path) -> None:
    rows = several()
    many: dict[str, Rule] = {f"policy {i}": Even(at=1 + i % 6) for i in range(14)}
    write_fronts(tmp_path / "p.html", study(rows, many), title="t", about={})
    html = (tmp_path / "p.html").read_text()
    assert "no room for a name" in html
    assert html.count('class="sign"') == 15, "the table has them all"


@pytest.mark.parametrize(
    ("options", "gold", "shown"),
    [
        pytest.param([], "A", True, id="votes"),
        pytest.param(["--branches", "3"], "A", True, id="measured at the cap, with gold"),
        pytest.param(["--branches", "2"], "A", False, id="too few branches"),
        pytest.param(["--branches", "3"], None, False, id="at the cap, without gold"),
        pytest.param(["--vote", "best"], "A", False, id="another vote than Certaindex is about"),
    ],
)
def test_the_command_shows_it_where_it_says_something(
    tmp_path: Path, options: list[str], gold: str | None, shown: bool
) -> None:
    write_recording(tmp_path / "r.jsonl", several(gold=gold, reward=0.5))
    command = ["replay", str(tmp_path / "r.jsonl"), "-p", "beta", "-o", str(tmp_path / "p.html")]
    with pytest.raises(SystemExit) as ended:
        main([*command, *options])
    assert ended.value.code == 0
    assert ('id="reliability"' in (tmp_path / "p.html").read_text()) == shown
