"""`dynasor-graph calibrate`: what it certifies, writes and checks, and what it says to bad input."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dynasor_graph.calibration import BelongsTo, Bound, PolicyFile, read_policy_file
from dynasor_graph.cli import main
from dynasor_graph.policies import (
    Beta,
    Even,
    Pareto,
    ProbeConsistency,
    Rule,
    Skyline,
    Value,
    read_policy,
)
from dynasor_graph.recordings import Probed, Recorded, Sample, write_recording

HOW = ["--max-loss", "15", "--window", "1"]
"""What 60 questions can certify, in points; and with all branches at once nothing is saved."""


def call(*arguments: str) -> int:
    """Run the command line in this process; its exit status."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def question(name: str, answers: Sequence[str], *, gold: str | None = "A", **more: Any) -> Recorded:
    """A question with a sample for each letter."""
    samples = tuple(
        Sample(letter, 10, None if gold is None else letter == gold, logprob=-0.1, reward=0.5)
        for letter in answers
    )
    told: dict[str, Any] = {"dataset": "coins", "model": "abacus", "temperature": 0.7}
    return Recorded(name, samples, gold=gold, **told | more)


def asked(count: int = 120, *, seed: int = 0, samples: int = 8, **more: Any) -> list[Recorded]:
    """Questions that most samples agree on."""
    draw = random.Random(seed)
    return [
        question(f"q{i}", ["A" if draw.random() < 0.95 else "B" for _ in range(samples)], **more)
        for i in range(count)
    ]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, with a recording that is easy to certify on."""
    monkeypatch.chdir(tmp_path)
    write_recording("r.jsonl", asked())


def told(capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    """What the command prints as JSON."""
    capfd.readouterr()
    assert call("calibrate", *arguments, "--json") == status
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


# --- what it certifies and writes


def test_a_certified_policy_is_written_and_read_by_its_file(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert call("calibrate", "r.jsonl", *HOW, "-w", "2") == 0
    out, err = capfd.readouterr()
    assert "60 questions, loss of at most 15 points" in out
    assert "certified" in out
    assert "loses at most 15 points with 95% confidence" in err
    assert err.rstrip().endswith("policy.json")
    rule = read_policy("policy.json")
    assert isinstance(rule, Beta)
    file = read_policy_file(Path("policy.json"))
    assert file.policy == rule.model_dump(mode="json")
    assert file.belongs_to == BelongsTo(
        models=("abacus",),
        datasets=("coins",),
        temperatures=(0.7,),
        algorithm="self_consistency",
        cap=8,
        window=2,
    )
    assert (file.bound.goal, file.bound.max_loss, file.bound.confidence) == ("right", 0.15, 0.95)
    assert file.bound.questions == 60
    assert file.bound.loss <= 0.15
    assert 0 < file.bound.spent < 1
    assert file.evidence[0]["policy"] == "beta:confidence=0.999", "the dearest first"
    assert sorted(path.name for path in Path().iterdir()) == ["policy.json", "r.jsonl"]


def test_as_json_it_prints_one_object_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    found = told(capfd, "r.jsonl", *HOW, "-o", "of/mine.json")
    assert found["file"] == "of/mine.json"
    assert read_policy(found["policy"]) == read_policy("of/mine.json")
    assert found["needed"] is None
    spent = [row["fit_spent"] for row in found["candidates"]]
    assert spent == sorted(spent, reverse=True)
    chosen = found["policy"]["confidence"]
    (row,) = [row for row in found["candidates"] if row["parameter"] == chosen]
    assert row["p_value"] <= 0.05
    assert read_policy_file(Path("of/mine.json")).evidence == tuple(found["candidates"])


def test_equal_recordings_make_an_equal_file() -> None:
    for name in ("one.json", "two.json"):
        assert call("calibrate", "r.jsonl", *HOW, "-o", name) == 0
    one, two = (read_policy_file(Path(name)) for name in ("one.json", "two.json"))
    assert one.model_copy(update={"made": ""}) == two.model_copy(update={"made": ""})


def test_the_cap_of_the_file_is_that_of_all_questions() -> None:
    # One question alone has fewer samples: whichever half it is in, the other has that cap too.
    rows = asked()
    for seed in range(3):
        for shorter in (0, 60, 119):
            mixed = [
                question(row.id, [s.answer or "" for s in row.samples[:6]]) if i == shorter else row
                for i, row in enumerate(rows)
            ]
            write_recording("mixed.jsonl", mixed)
            command = ["calibrate", "mixed.jsonl", *HOW, "--policy", "even", "--values", "6,3"]
            assert call(*command, "--seed", str(seed), "--shuffles", "1") == 0
            file = read_policy_file(Path("policy.json"))
            assert file.belongs_to.cap == 6
            assert file.evidence[0]["spent"] == 1, "six of six"
            assert file.policy == Even(at=3).model_dump(mode="json")


def test_branches_may_be_fewer_than_were_recorded(capfd: pytest.CaptureFixture[str]) -> None:
    told(capfd, "r.jsonl", *HOW, "--branches", "5")
    assert read_policy_file(Path("policy.json")).belongs_to.cap == 5


@pytest.mark.parametrize(
    ("options", "tried"),
    [
        pytest.param(["-p", "beta", "--values", "0.99,0.9"], [0.99, 0.9], id="values"),
        pytest.param(
            ["-p", "beta", "--parameter", "start", "--values", "6,4"], [6, 4], id="parameter"
        ),
        pytest.param(["-p", "esc:window=9", "--values", "4,2"], [4, 2], id="another-rule"),
        pytest.param(
            ["-p", "certaindex-every:every=1", "--values", "0.9"], [0.9], id="with-parameters"
        ),
    ],
)
def test_what_is_tried_can_be_said(
    options: list[str], tried: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    found = told(capfd, "r.jsonl", *HOW, *options)
    assert [row["parameter"] for row in found["candidates"]] == tried


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        pytest.param([], ("votes", "logprobs", "lengths"), id="usual-kinds"),
        pytest.param(["--kinds", "votes , rewards"], ("votes", "rewards"), id="kinds"),
        pytest.param(["--kinds", "rewards", "--vote", "best"], ("rewards",), id="best"),
    ],
)
def test_the_value_policy_is_fitted_whole(
    options: list[str], kinds: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    found = told(capfd, "r.jsonl", *HOW, "-p", "value", *options, "--values", "0.01,0.3,9")
    rule = read_policy("policy.json")
    assert isinstance(rule, Value)
    assert (rule.kinds, len(rule.worth)) == (kinds, 8)
    assert rule.price == found["policy"]["price"] in (0.01, 0.3, 9)


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        pytest.param("skyline:at=2", Skyline, id="skyline"),
        pytest.param("pareto:at=2", Pareto, id="pareto"),
    ],
)
def test_a_curve_is_fitted_whole(
    policy: str, kind: type[Rule], capfd: pytest.CaptureFixture[str]
) -> None:
    found = told(capfd, "r.jsonl", *HOW, "-p", policy, "--values", "1,0.9")
    assert [row["policy"].partition(":")[2] for row in found["candidates"]] in (
        ["quantile=1", "quantile=0.9"],
        ["quantile=0.9", "quantile=1"],
    )
    assert isinstance(read_policy("policy.json"), kind)


def test_agreement_can_be_certified_without_gold(capfd: pytest.CaptureFixture[str]) -> None:
    write_recording("r.jsonl", asked(gold=None))
    told(capfd, "r.jsonl", *HOW, "--goal", "same")
    assert read_policy_file(Path("policy.json")).bound.goal == "same"


def test_a_chain_has_neither_branches_nor_a_window(capfd: pytest.CaptureFixture[str]) -> None:
    probes = tuple(Probed(64 * (i + 1), "A") for i in range(15))
    rows = [
        Recorded(f"q{i}", (Sample("A", 1000, True, probes=probes),), gold="A") for i in range(60)
    ]
    write_recording("r.jsonl", rows)
    told(capfd, "r.jsonl", "--max-loss", "20", "-p", "probe-consistency", "-w", "3")
    file = read_policy_file(Path("policy.json"))
    mine = file.belongs_to
    assert (mine.algorithm, mine.cap, mine.window) == ("cot", None, None)
    assert isinstance(read_policy("policy.json"), ProbeConsistency)
    assert told(capfd, "r.jsonl", "--check", "policy.json")["verdict"] == "holds"


# --- what it cannot certify


def test_too_small_a_loss_says_how_many_questions_it_takes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = ["r.jsonl", "--max-loss", "0.5", "--goal", "same", "--values", "0.999"]
    assert call("calibrate", *command) == 1
    err = capfd.readouterr().err
    assert "not even beta:confidence=0.999 can be certified: about " in err
    assert "questions in the half that certifies would do" in err
    found = told(capfd, *command, status=1)
    assert (found["policy"], found["file"]) == (None, None)
    assert 600 <= found["needed"] <= 700
    assert not Path("policy.json").exists()


def test_a_policy_that_loses_more_needs_no_more_questions(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_recording("r.jsonl", [question(f"q{i}", "BAAAAAAA") for i in range(60)])
    command = ["r.jsonl", "-p", "even", "--values", "1", "--max-loss", "5"]
    assert call("calibrate", *command) == 1
    assert "no number of questions like these would do" in capfd.readouterr().err
    assert told(capfd, *command, status=1)["needed"] is None
    assert not Path("policy.json").exists()


def test_a_policy_that_saves_nothing_is_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["r.jsonl", *HOW, "-p", "even", "--values", "8"]
    assert call("calibrate", *command) == 1
    assert "costs less than the full budget: do not stop" in capfd.readouterr().err
    found = told(capfd, *command, status=1)
    assert (found["policy"], found["file"]) == (None, None)
    assert not Path("policy.json").exists()


# --- does it still hold?


def stopped_early(**more: Any) -> None:
    """A file with a policy that takes the first answer."""
    bound = {"goal": "right", "max_loss": 0.15, "confidence": 0.95, "loss": 0.0}
    mine = {"models": ("abacus",), "cap": 8, "window": 1}
    PolicyFile(
        policy=Even(at=1).model_dump(mode="json"),
        bound=Bound(**bound | {"spent": 0.2, "questions": 60} | more.pop("bound", {})),
        belongs_to=BelongsTo(
            **mine | {"datasets": (), "temperatures": (), "algorithm": "self_consistency"} | more
        ),
        evidence=(),
        made="2026-11-23",
    ).write(Path("policy.json"))


def split_on(count: int, of: int) -> list[Recorded]:
    """Questions, so many of which a first answer gets wrong in three orders of eight."""
    return [question(f"q{i}", "BBBAAAAA" if i < count else "AAAAAAAA") for i in range(of)]


@pytest.mark.parametrize(
    ("rows", "verdict", "said"),
    [
        pytest.param(split_on(0, of=100), "holds", "the bound holds: loss +0.00", id="holds"),
        pytest.param(split_on(100, of=100), "broken", "is broken: calibrate anew", id="broken"),
        pytest.param(split_on(0, of=10), "open", "neither confirm nor refute", id="too-few"),
        pytest.param(split_on(40, of=100), "open", "neither confirm nor refute", id="close"),
    ],
)
def test_a_bound_is_checked_on_other_samples(
    rows: list[Recorded], verdict: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stopped_early()
    write_recording("new.jsonl", rows)
    status = 0 if verdict == "holds" else 1
    found = told(capfd, "new.jsonl", "--check", "policy.json", status=status)
    assert (found["verdict"], found["questions"]) == (verdict, len(rows))
    assert found["max_loss"] == 0.15
    assert found["loss"] <= found["upper_bound"]
    assert (found["upper_bound"] <= 0.15) == (verdict == "holds")
    assert call("calibrate", "new.jsonl", "--check", "policy.json") == status
    err = capfd.readouterr().err
    assert said in err
    assert f"on {len(rows)} questions" in err
    assert "certified 15" in err
    assert sorted(path.name for path in Path().iterdir()) == ["new.jsonl", "policy.json", "r.jsonl"]


def test_what_was_certified_holds_where_it_was_certified(
    capfd: pytest.CaptureFixture[str],
) -> None:
    told(capfd, "r.jsonl", *HOW)
    assert told(capfd, "r.jsonl", "--check", "policy.json")["verdict"] == "holds"


def test_agreement_is_checked_where_agreement_was_certified(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_recording("new.jsonl", asked(gold=None))
    stopped_early(bound={"goal": "same"})
    assert told(capfd, "new.jsonl", "--check", "policy.json")["verdict"] == "holds"
    stopped_early()
    assert call("calibrate", "new.jsonl", "--check", "policy.json") == 2
    assert "have no gold" in capfd.readouterr().err


def test_only_so_many_branches_are_checked_as_were_certified(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stopped_early(cap=1)
    write_recording("new.jsonl", split_on(100, of=100))
    assert told(capfd, "new.jsonl", "--check", "policy.json")["loss"] == 0, "one of one"


def test_another_model_is_pointed_out(capfd: pytest.CaptureFixture[str]) -> None:
    stopped_early(models=("one", "two"))
    assert call("calibrate", "r.jsonl", "--check", "policy.json") == 0
    assert "abacus: the policy was certified for one, two" in capfd.readouterr().err
    stopped_early()
    assert call("calibrate", "r.jsonl", "--check", "policy.json") == 0
    assert "the policy was certified for" not in capfd.readouterr().err


# --- what it refuses


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["few.jsonl"], ["39 questions are too few", "about 700"], id="too-few"),
        pytest.param(["empty.jsonl"], ["0 questions are too few"], id="none"),
        pytest.param(["open.jsonl"], ["have no gold", "--goal same"], id="no-gold"),
        pytest.param(["open.jsonl", "-p", "value"], ["no gold", "'same'"], id="no-gold-to-fit"),
        pytest.param(["r.jsonl", "--goal", "wrong"], ["--goal", "'wrong'"], id="goal"),
        pytest.param(["r.jsonl", "--vote", "loud"], ["--vote", "'loud'"], id="vote"),
        pytest.param(["r.jsonl", "--max-loss", "0"], ["above 0", "got 0"], id="no-loss"),
        pytest.param(["r.jsonl", "--max-loss", "100"], ["below 100", "got 1"], id="any-loss"),
        pytest.param(["r.jsonl", "-p", "betta"], ["unknown policy 'betta'"], id="policy"),
        pytest.param(["r.jsonl", "-p", "fixed"], ["--parameter", "--values"], id="no-sweep"),
        pytest.param(["r.jsonl", "--parameter", "start"], ["--values"], id="no-values"),
        pytest.param(
            ["r.jsonl", "--parameter", "begin", "--values", "1"], ["'begin'"], id="parameter"
        ),
        pytest.param(["r.jsonl", "--values", "0.9,high"], ["--values", "'0.9,high'"], id="values"),
        pytest.param(["r.jsonl", "--values", "0.9,7"], ["confidence", "got 7"], id="out-of-range"),
        pytest.param(["r.jsonl", "--branches", "9"], ["8 samples", "cap of 9"], id="cap"),
        pytest.param(
            ["r.jsonl", "--branches", "9", "-p", "value"], ["8 samples", "cap of 9"], id="value-cap"
        ),
        pytest.param(
            ["bare.jsonl", "-p", "value", "--kinds", "rewards"], ["rewards", "q"], id="no-rewards"
        ),
        pytest.param(
            ["bare.jsonl", "-p", "value"], ["log-probabilities", "logprobs=true"], id="no-logprobs"
        ),
        pytest.param(
            ["r.jsonl", "-p", "value", "--kinds", "vote"], ["'vote' is none of"], id="kind"
        ),
        pytest.param(["r.jsonl", "-p", "value", "--kinds", " , "], ["kinds"], id="no-kinds"),
        pytest.param(
            ["r.jsonl", "-p", "value", "--vote", "best"], ["'best' needs 'rewards'"], id="best"
        ),
        pytest.param(
            ["r.jsonl", "-p", "value", "--vote", "confidence"], ["majority or best"], id="sure"
        ),
        pytest.param(["r.jsonl", "-p", "skyline:at=x"], ["at", "'x'"], id="curve"),
        pytest.param(["r.jsonl", "-p", "cot-mid"], ["probes", "none"], id="no-probes"),
        pytest.param(["r.jsonl", "--check", "no.json"], ["no.json: no such file"], id="no-file"),
        pytest.param(["r.jsonl", "--check", "."], ["no policy file"], id="a-folder"),
        pytest.param(["r.jsonl", "--check", "r.jsonl"], ["no policy file"], id="a-recording"),
        pytest.param(["empty.jsonl", "--check", "old.json"], ["no question"], id="nothing-new"),
        pytest.param(
            ["short.jsonl", "--check", "old.json"], ["certified with 8 branches"], id="too-short"
        ),
    ],
)
def test_a_mistake_gets_one_line_and_no_file(
    arguments: list[str], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("empty.jsonl").touch()
    write_recording("few.jsonl", asked(39))
    write_recording("open.jsonl", asked(40, gold=None))
    write_recording("short.jsonl", asked(40, samples=7))
    bare = [Recorded(f"q{i}", (Sample("A", 10, True),) * 4, gold="A") for i in range(40)]
    write_recording("bare.jsonl", bare)
    stopped_early()
    Path("policy.json").rename("old.json")
    assert call("calibrate", *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not Path("policy.json").exists()


def test_questions_that_cannot_be_replayed_are_left_out_with_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_recording("more.jsonl", [Recorded("bare", ()), Recorded("q", (Sample("A", None),))])
    assert call("calibrate", "r.jsonl", "more.jsonl", *HOW, "--values", "0.9", "--json") == 0
    out, err = capfd.readouterr()
    assert "left out: 1 questions without samples" in err
    assert "left out: 1 questions with samples whose tokens are not known" in err
    assert json.loads(out)["policy"]["confidence"] == 0.9
    assert read_policy_file(Path("policy.json")).bound.questions == 60
