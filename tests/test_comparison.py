"""Comparison: net savings against the first arm, and intervals that are the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dynasor_graph.budget import Usage
from dynasor_graph.comparison import Arm, compare, compare_shadows, paired_bootstrap
from dynasor_graph.errors import InputError
from dynasor_graph.results import Result
from dynasor_graph.trace import TraceWriter
from dynasor_graph.types import StopReason


def arm(
    policy: str,
    *correct: bool | None,
    usage: Usage | None = None,
    algorithm: str = "self_consistency",
    ids: str = "abcdefghij",
    latency: tuple[float, ...] = (),
) -> Arm:
    """One arm: whether each question was answered right, and what each cost."""
    results = [
        Result(
            id=key,
            question=f"{key}?",
            answer="1" if right else "0",
            correct=right,
            gold=None if right is None else "1",
            usage=usage or Usage(main=100),
            latency_s=latency[i] if latency else 1.0,
        )
        for i, (key, right) in enumerate(zip(ids, correct, strict=False))
    ]
    return Arm(algorithm=algorithm, policy=policy, results=results)


def test_saved_is_net_not_gross():
    base = arm("fixed", True, True, usage=Usage(main=1000, prompt=50))
    # Half of the finished branches' tokens, but what was stopped and probed was work, too.
    cheap = arm(
        "beta",
        True,
        True,
        usage=Usage(main=500, terminated=200, probe=60, probe_prefill=30, reward=10, prompt=50),
    )
    _, row = compare([base, cheap])
    assert row["gross_tokens"] == 1000
    assert row["net_tokens"] == 1600
    assert row["saved"] == pytest.approx(0.2)
    assert row["usage"] == {
        "main": 1000,
        "terminated": 400,
        "probe": 120,
        "probe_prefill": 60,
        "reward": 20,
        "prompt": 100,
    }


def test_an_arm_that_costs_more_than_the_baseline_saves_less_than_nothing():
    rows = compare([arm("fixed", True), arm("beta", True, usage=Usage(main=150))])
    assert [row["saved"] for row in rows] == [0.0, pytest.approx(-0.5)]


def test_the_first_arm_of_each_algorithm_is_the_baseline_of_its_others():
    arms = [
        arm("fixed", True, True),
        arm("fixed", True, False, algorithm="cot", usage=Usage(main=400)),
        arm("beta", True, False, usage=Usage(main=50)),
        arm("probes", True, True, algorithm="cot", usage=Usage(main=100)),
    ]
    rows = compare(arms)
    assert [(row["algorithm"], row["policy"]) for row in rows] == [
        ("self_consistency", "fixed"),
        ("cot", "fixed"),
        ("self_consistency", "beta"),
        ("cot", "probes"),
    ]
    assert [row["saved"] for row in rows] == [0.0, 0.0, pytest.approx(0.5), pytest.approx(0.75)]
    assert [row["accuracy_difference"] for row in rows] == [0.0, 0.0, -0.5, 0.5]


def test_a_row_says_how_right_how_alike_and_how_fast():
    base = arm("fixed", True, True, True, False, latency=(1, 2, 3, 4))
    other = arm("beta", True, True, False, False, latency=(1, 1, 1, 11))
    first, second = compare([base, other])
    assert (first["questions"], first["accuracy"], first["agreement"]) == (4, 0.75, 1.0)
    assert (second["accuracy"], second["agreement"]) == (0.5, 0.75)
    assert second["accuracy_difference"] == pytest.approx(-0.25)
    assert second["latency_mean_s"] == pytest.approx(3.5)
    assert second["latency_p90_s"] == pytest.approx(8.0)


def test_results_are_paired_by_question_whatever_their_order():
    base = arm("fixed", True, False, True)
    other = arm("beta", True, False, True)
    turned = Arm(algorithm=other.algorithm, policy="beta", results=other.results[::-1])
    _, row = compare([base, turned])
    assert (row["agreement"], row["accuracy_difference"]) == (1.0, 0.0)
    assert (row["difference_low"], row["difference_high"]) == (0.0, 0.0)


def test_without_gold_nothing_is_said_of_accuracy():
    rows = compare([arm("fixed", None, None), arm("beta", None, None)])
    for row in rows:
        assert row["accuracy"] is None
        assert row["accuracy_difference"] is None
        assert row["difference_low"] is None
        assert row["difference_high"] is None
        assert row["agreement"] == 1.0


def test_questions_without_gold_do_not_count_as_wrong():
    rows = compare([arm("fixed", True, None, False), arm("beta", True, None, True)])
    assert [row["accuracy"] for row in rows] == [0.5, 1.0]
    assert rows[1]["questions"] == 3


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param("abx", id="another"),
        pytest.param("ab", id="one-less"),
        pytest.param("abcd", id="one-more"),
    ],
)
def test_arms_with_different_questions_are_refused(ids: str):
    base = arm("fixed", True, True, True, ids="abc")
    other = arm("beta", *[True] * len(ids), ids=ids)
    with pytest.raises(InputError, match="'beta' and 'fixed' were not asked the same questions"):
        compare([base, other])


def test_different_algorithms_may_have_different_questions():
    rows = compare([arm("fixed", True), arm("fixed", True, True, algorithm="cot")])
    assert [row["questions"] for row in rows] == [1, 2]


def test_an_arm_adds_up_the_usage_of_its_programs():
    assert arm("fixed", True, True, usage=Usage(main=3, probe=2)).usage == Usage(main=6, probe=4)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=40))
@settings(deadline=None, max_examples=50)
def test_the_interval_contains_the_mean_and_is_the_same_every_time(differences: list[float]):
    low, high = paired_bootstrap(differences, resamples=2000)
    mean = sum(differences) / len(differences)
    assert min(differences) <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= max(differences)
    assert paired_bootstrap(differences, resamples=2000) == (low, high)


def test_a_wider_level_gives_a_wider_interval_and_more_questions_a_narrower_one():
    few = [1.0, 0.0, 0.0, -1.0, 1.0]
    low, high = paired_bootstrap(few)
    wide_low, wide_high = paired_bootstrap(few, level=0.99)
    assert wide_low <= low < high <= wide_high
    narrow_low, narrow_high = paired_bootstrap(few * 20)
    assert narrow_high - narrow_low < (high - low) / 2


def test_the_interval_covers_what_a_normal_approximation_covers():
    # 30 better, 10 worse, 60 equal of 100: mean .2, standard error .06.
    low, high = paired_bootstrap([1.0] * 30 + [-1.0] * 10 + [0.0] * 60)
    assert low == pytest.approx(0.2 - 1.96 * 0.06, abs=0.02)
    assert high == pytest.approx(0.2 + 1.96 * 0.06, abs=0.02)


def test_another_seed_gives_another_interval_of_the_same_size():
    differences = [float(i % 7 - 3) / 3 for i in range(97)]
    one, other = paired_bootstrap(differences), paired_bootstrap(differences, seed=1)
    assert one != other
    assert one == pytest.approx(other, abs=0.03)


def test_there_is_no_interval_of_nothing():
    with pytest.raises(ValueError, match="no question has a gold answer"):
        paired_bootstrap([])


def test_an_arm_that_was_asked_nothing_is_refused():
    with pytest.raises(InputError, match="not asked a single question"):
        compare([Arm(algorithm="cot", policy="fixed", results=[])])


# Shadows -----------------------------------------------------------------------------------------


def shadowed(
    path: Path, *stops: dict[str, tuple[int, str | None]], shadow: tuple[Any, ...] = ("a", "b")
) -> Path:
    """A trace: of each question a, b, c, ... at how many tokens a shadow stopped it, with what."""
    with TraceWriter(path) as trace:
        for name, said in zip("abcdefghij", stops, strict=False):
            settings = {"shadow": list(shadow)}
            trace.write({"event": "program", "program": name, "settings": settings})
            for policy, (tokens, answer) in said.items():
                row = {"policy": policy, "knob": 3, "tokens": tokens, "answer": answer}
                trace.write({"event": "shadow", "program": name, **row})
    return path


def with_trace(found: Arm, trace: Path) -> Arm:
    return Arm(algorithm=found.algorithm, policy=found.policy, results=found.results, trace=trace)


def test_a_shadow_is_judged_by_its_own_answer_or_the_programs_where_it_never_stopped(
    tmp_path: Path,
):
    base = arm("fixed", True, True, False, False, usage=Usage(main=100, terminated=20))
    trace = shadowed(
        tmp_path / "t.jsonl",
        {"a": (30, "1")},  # right, as the program is
        {"a": (30, "0"), "b": (60, "1")},  # wrong, where the program is right
        {"a": (40, "1.0")},  # right, spelled otherwise, where the program is wrong
        {},
    )
    first, second = compare_shadows(with_trace(base, trace))
    assert first == {
        "algorithm": "self_consistency",
        "policy": "fixed",
        "shadow": "a",
        "programs": 4,
        "stopped": 3,
        "unknown": 0,
        "accuracy": 0.5,
        "agreement": 0.5,
        "tokens": 30 + 30 + 40 + 120,
        "share": pytest.approx(220 / 400),
    }
    assert (second["shadow"], second["stopped"], second["agreement"]) == ("b", 1, 1.0)
    assert (second["accuracy"], second["tokens"]) == (0.5, 60 + 3 * 120)


def test_a_shadow_without_an_answer_is_wrong_and_agrees_with_none(tmp_path: Path):
    trace = shadowed(tmp_path / "t.jsonl", {"a": (30, None)}, shadow=("a",))
    (row,) = compare_shadows(with_trace(arm("fixed", True), trace))
    assert (row["accuracy"], row["agreement"]) == (0.0, 0.0)


def test_shadows_without_gold_have_no_accuracy(tmp_path: Path):
    trace = shadowed(tmp_path / "t.jsonl", {"a": (30, "0")}, {}, shadow=("a",))
    (row,) = compare_shadows(with_trace(arm("fixed", None, None), trace))
    assert (row["accuracy"], row["agreement"]) == (None, 1.0)


def test_what_the_arm_stopped_itself_is_not_known_of_a_silent_shadow(tmp_path: Path):
    results = [
        Result(id=name, question="q", answer="1", stop_reason=reason, usage=Usage(main=50))
        for name, reason in zip(
            "abc", [StopReason.CERTAIN] * 2 + [StopReason.FINISHED], strict=True
        )
    ]
    trace = shadowed(tmp_path / "t.jsonl", {"a": (30, "1")}, {}, {}, shadow=("a",))
    base = Arm(algorithm="self_consistency", policy="beta", results=results, trace=trace)
    (row,) = compare_shadows(base)
    assert (row["stopped"], row["unknown"]) == (1, 1)


def test_programs_that_failed_or_left_no_trace_are_no_part_of_it(tmp_path: Path):
    failed = Result(id="b", question="q", error="PromptTooLong: 9 tokens")
    results = [*arm("fixed", True).results, failed, *arm("fixed", True, ids="c").results]
    trace = shadowed(tmp_path / "t.jsonl", {"a": (30, "1")}, {}, shadow=("a",))
    base = Arm(algorithm="self_consistency", policy="fixed", results=results, trace=trace)
    (row,) = compare_shadows(base)
    assert (row["programs"], row["stopped"], row["share"]) == (1, 1, 0.3)


def test_shadows_are_named_as_they_were_written(tmp_path: Path):
    policies = ({"rule": "beta", "confidence": 0.9}, "beta")
    trace = shadowed(tmp_path / "t.jsonl", {}, shadow=policies)
    rows = compare_shadows(with_trace(arm("fixed", True), trace))
    assert [row["shadow"] for row in rows] == ['{"rule": "beta", "confidence": 0.9}', "beta"]
    assert [row["stopped"] for row in rows] == [0, 0]


def test_without_a_trace_or_without_shadows_there_are_no_rows(tmp_path: Path):
    base = arm("fixed", True)
    assert compare_shadows(base) == []
    assert compare_shadows(with_trace(base, shadowed(tmp_path / "t", {}, shadow=()))) == []


def test_a_trace_of_shadows_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        compare_shadows(with_trace(arm("fixed", True), tmp_path / "gone.jsonl"))
