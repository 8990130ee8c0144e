"""`dynasor-graph replay`: what it reads, prints and writes, and what it says to bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dynasor_graph.cli import main
from dynasor_graph.recordings import Probed, Recorded, Sample, write_recording


def call(*arguments: str) -> int:
    """Run the command line in this process; its exit status."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def question(name: str, answers: str, *, gold: str | None = "A", **more: Any) -> Recorded:
    """A question with a sample for each letter, each of 10 tokens."""
    samples = tuple(
        Sample(letter, 10, None if gold is None else letter == gold) for letter in answers
    )
    return Recorded(name, samples, gold=gold, **more)


VOTES = [
    question("easy", "AAAAAAAA"),
    question("hard", "BAAABAAA"),
    question("wrong", "BBBBBBBB"),
]
CHAINS = [
    Recorded(
        name,
        (
            Sample(
                "A", 266, True, probes=tuple(Probed(64 * (i + 1), x) for i, x in enumerate(probed))
            ),
        ),
        gold="A",
    )
    for name, probed in (("a", "BAAA"), ("b", "AAAA"), ("c", "BBBB"), ("d", "ABCD"))
]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, with a recording of votes and one of chains."""
    monkeypatch.chdir(tmp_path)
    write_recording("votes.jsonl", VOTES)
    write_recording("chains.jsonl.gz", CHAINS)


def rows(capfd: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """The lines of the table, as JSON."""
    capfd.readouterr()
    assert call("replay", *arguments, "--json", "--no-report") == 0
    found: list[dict[str, Any]] = json.loads(capfd.readouterr().out)["rows"]
    return found


# --- what it prints and writes


def test_as_json_it_prints_one_object_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("replay", "votes.jsonl", "-p", "even:at=2", "--shuffles", "0", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["report"] == "replay.html"
    fixed, even = told["rows"]
    assert (fixed["policy"], fixed["tokens"], fixed["accuracy"]) == ("fixed", 80, 2 / 3)
    assert (even["policy"], even["tokens"], even["spent"]) == ("even:at=2", 20, 0.25)
    assert (even["accuracy"], even["difference"]) == (1 / 3, pytest.approx(-1 / 3))
    assert even["difference_low"] <= even["difference"] <= even["difference_high"]
    assert {row["group"] for row in told["rows"]} == {None}


def test_the_table_has_a_line_for_each_policy_and_window(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert call("replay", "votes.jsonl", "-p", "beta,lossless", "-w", "1,8") == 0
    out, err = capfd.readouterr()
    lines = [line.split()[:2] for line in out.splitlines() if line.count(" % ") > 1]
    assert lines == [[name, k] for k in "18" for name in ("fixed", "beta", "lossless")]
    assert "3 questions, majority" in out
    assert "report: replay.html" in err


def test_the_page_needs_no_other_file(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("replay", "votes.jsonl", "-p", "beta,esc", "-w", "1,4", "-o", "pages/p.html") == 0
    page = Path("pages/p.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert not re.search(r"<(script|link|img|iframe)\b", page)
    assert not re.search(r"url\((?!#)|@import", page)
    assert all(link.startswith("#") for link in re.findall(r'(?:href|src)="([^"]*)"', page))
    for word in ("beta", "esc", "votes.jsonl", "1 in flight", "4 in flight"):
        assert word in page
    assert "report: pages/p.html" in capfd.readouterr().err


def test_equal_input_gives_an_equal_page() -> None:
    pages = []
    for name in ("one.html", "two.html"):
        assert call("replay", "votes.jsonl", "-p", "beta", "-o", name) == 0
        pages.append(Path(name).read_text())
    assert pages[0] == pages[1]


def test_without_a_report_no_page_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("replay", "votes.jsonl", "--no-report", "--json") == 0
    assert json.loads(capfd.readouterr().out)["report"] is None
    assert not Path("replay.html").exists()


@pytest.mark.parametrize("gold", ["A", None], ids=["gold", "no-gold"])
def test_a_page_is_written_with_and_without_gold(
    gold: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    write_recording("r.jsonl", [question(str(i), "AABAAB", gold=gold) for i in range(4)])
    assert call("replay", "r.jsonl", "--json") == 0
    told = json.loads(capfd.readouterr().out)["rows"]
    assert {row["accuracy"] is None for row in told} == {gold is None}
    assert ("accuracy (%)" in Path("replay.html").read_text()) == (gold is not None)


def test_sets_and_models_have_lines_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    write_recording("one.jsonl", [question("a", "AAAA", dataset="d", model="m")])
    write_recording("two.jsonl", [question("a", "BBBB", dataset="d", model="n")])
    found = rows(capfd, "one.jsonl", "two.jsonl", "-p", "beta")
    assert [(row["group"], row["policy"], row["accuracy"]) for row in found] == [
        (None, "fixed", 0.5),
        (None, "beta", 0.5),
        ("d · m", "fixed", 1),
        ("d · m", "beta", 1),
        ("d · n", "fixed", 0),
        ("d · n", "beta", 0),
    ]


# --- policies, windows, orders


@pytest.mark.parametrize(
    ("written", "names"),
    [
        pytest.param("beta", ["beta"], id="one"),
        pytest.param("beta,esc", ["beta", "esc"], id="two"),
        pytest.param(
            "beta:confidence=0.9,start=3,esc", ["beta:confidence=0.9,start=3", "esc"], id="comma"
        ),
        pytest.param(
            "certaindex:threshold=0.4, at=7 , beta",
            ["certaindex:threshold=0.4, at=7", "beta"],
            id="spaces",
        ),
        pytest.param(
            "beta & lossless,beta | esc:window=2",
            ["beta & lossless", "beta | esc:window=2"],
            id="signs",
        ),
        pytest.param("beta,beta", ["beta"], id="twice"),
        pytest.param(",beta,,", ["beta"], id="empty-places"),
        pytest.param(
            '{"rule": "beta", "confidence": 0.9}',
            ['{"rule": "beta", "confidence": 0.9}'],
            id="json",
        ),
        pytest.param("own.json,beta", ["own.json", "beta"], id="a-file"),
    ],
)
def test_commas_inside_parameters_belong_to_them(
    written: str, names: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("own.json").write_text('{"policy": {"rule": "lossless"}}')
    found = rows(capfd, "votes.jsonl", "-p", written)
    assert [row["policy"] for row in found] == ["fixed", *names]


def test_fixed_may_be_named_and_comes_first(capfd: pytest.CaptureFixture[str]) -> None:
    found = rows(capfd, "votes.jsonl", "-p", "beta,fixed", "-w", "2")
    assert [row["policy"] for row in found] == ["fixed", "beta"]


def test_each_window_has_its_own_full_budget(capfd: pytest.CaptureFixture[str]) -> None:
    found = rows(capfd, "votes.jsonl", "-p", "beta", "-w", "1, 8", "--shuffles", "0")
    assert [(row["policy"], row["window"]) for row in found] == [
        ("fixed", 1),
        ("beta", 1),
        ("fixed", 8),
        ("beta", 8),
    ]
    assert [row["slowdown"] for row in found[::2]] == [8, 1]
    assert found[1]["spent"] < 1 == found[3]["spent"]


def test_the_seed_and_the_shuffles_say_which_orders(capfd: pytest.CaptureFixture[str]) -> None:
    how = ["votes.jsonl", "-p", "even:at=1"]
    seeds = [rows(capfd, *how, "--seed", seed)[1]["accuracy"] for seed in "00123"]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) > 1
    assert rows(capfd, *how, "--shuffles", "0")[1]["accuracy"] == 1 / 3


def test_the_cap_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    assert rows(capfd, "votes.jsonl", "--branches", "5")[0]["samples"] == 5


def test_votes_may_be_weighted_or_the_best_taken(capfd: pytest.CaptureFixture[str]) -> None:
    samples = [Sample("B", 10, False, -3.0, reward=0.1)] * 2
    samples += [Sample("A", 10, True, -0.1, reward=0.9)]
    write_recording("r.jsonl", [Recorded("q", tuple(samples), gold="A")])
    found = {
        vote: rows(capfd, "r.jsonl", "-p", "fixed", "--vote", vote)[0]
        for vote in ("majority", "confidence", "best")
    }
    assert {vote: row["accuracy"] for vote, row in found.items()} == {
        "majority": 0,
        "confidence": 1,
        "best": 1,
    }
    assert found["best"]["tokens"] == 3 * (10 + 35), "judging is charged"


# --- chains


def test_chains_are_replayed_on_their_probes(capfd: pytest.CaptureFixture[str]) -> None:
    command = ["replay", "chains.jsonl.gz", "-p", "cot-mid,fixed", "--json"]
    assert call(*command, "--probe-cost", "10", "--answer-cost", "6") == 0
    fixed, mid = json.loads(capfd.readouterr().out)["rows"]
    assert (fixed["tokens"], fixed["accuracy"], fixed["samples"]) == (266, 1, 0)
    ends = (256 + 6 + 40, 192 + 6 + 30, 192 + 6 + 30, 266 + 40)
    assert mid["tokens"] == sum(ends) / 4
    assert (mid["accuracy"], mid["samples"]) == (0.75, (4 + 3 + 3 + 4) / 4)
    assert "Chains of thought" in Path("replay.html").read_text()
    assert call("replay", "chains.jsonl.gz", "-p", "cot-mid") == 0
    assert "4 questions, chains" in capfd.readouterr().out


def test_chains_may_be_ended_first_and_then_vote(capfd: pytest.CaptureFixture[str]) -> None:
    samples = CHAINS[1].samples * 8
    write_recording("r.jsonl", [Recorded("q", samples, gold="A")])
    found = rows(capfd, "r.jsonl", "--chain-policy", "cot-mid", "-p", "beta", "--probe-cost", "10")
    assert [row["tokens"] for row in found] == [8 * (192 + 12 + 30), 4 * (192 + 12 + 30)]
    whole = rows(capfd, "r.jsonl", "--chain-policy", "fixed", "-p", "beta")
    assert [row["tokens"] for row in whole] == [8 * 266, 4 * 266]


# --- what it reads


def test_questions_that_cannot_be_replayed_are_left_out_with_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_recording(
        "r.jsonl",
        [
            *VOTES,
            Recorded("bare", ()),
            Recorded("untold", (Sample("A", 10, True), Sample("A", None, True))),
            Recorded("untold too", (Sample("A", None, True),) * 8),
        ],
    )
    assert call("replay", "r.jsonl", "-p", "beta", "--json") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["rows"][0]["questions"] == 3
    assert "left out: 1 questions without samples" in err
    assert "left out: 2 questions with samples whose tokens are not known" in err


def test_whole_recordings_are_read_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("replay", "votes.jsonl", "-p", "beta", "--json") == 0
    assert "left out" not in capfd.readouterr().err


def test_a_trace_of_a_run_is_replayed(capfd: pytest.CaptureFixture[str]) -> None:
    Path("q.jsonl").write_text('{"id": "a", "question": "6 * 7?", "answer": 42}\n')
    run = ["run", "q.jsonl", "-e", "fake", "-p", "fixed", "--branches", "8", "-o", "out.jsonl"]
    assert call(*run) == 0
    fixed, beta = rows(capfd, "out.trace.jsonl", "-p", "beta")
    assert (fixed["samples"], beta["samples"]) == (8, 4)
    assert fixed["accuracy"] == beta["accuracy"] == 1


@pytest.mark.parametrize("name", ["abacus-test.direct", "abacus-test.think"])
def test_a_bundled_recording_can_be_named(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    (fixed,) = rows(capfd, name, "-p", "fixed", "--shuffles", "0", "--branches", "3")
    assert (fixed["questions"], fixed["samples"]) == (600, 3)


def test_a_file_goes_before_a_bundled_recording(capfd: pytest.CaptureFixture[str]) -> None:
    Path("votes.jsonl").rename("abacus-test.direct")
    assert rows(capfd, "abacus-test.direct")[0]["questions"] == 3


# --- what it refuses


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            ["votes.jsonl", "-p", "betta"], ["unknown policy 'betta'", "'beta'"], id="name"
        ),
        pytest.param(["votes.jsonl", "-p", ","], ["--policy names no policy"], id="no-policy"),
        pytest.param(["votes.jsonl", "-p", "no.json"], ["no.json: no such file"], id="no-file"),
        pytest.param(["votes.jsonl", "-p", "beta:confidence=2"], ["confidence", "2"], id="value"),
        pytest.param(["votes.jsonl", "-w", "1,x"], ["--window", "'1,x'"], id="window-a-word"),
        pytest.param(["votes.jsonl", "-w", ""], ["--window", "''"], id="window-empty"),
        pytest.param(["votes.jsonl", "-w", "4,0"], ["window", "at least 1, got 0"], id="window-0"),
        pytest.param(["votes.jsonl", "--vote", "loud"], ["--vote", "'loud'"], id="vote"),
        pytest.param(["votes.jsonl", "--branches", "0"], ["at least 1, got 0"], id="cap-0"),
        pytest.param(["votes.jsonl", "--branches", "9"], ["easy: 8 samples", "9"], id="cap"),
        pytest.param(
            ["votes.jsonl", "-p", "rebase-gsm8k"], ["looks at rewards", "easy"], id="rewards"
        ),
        pytest.param(["votes.jsonl", "--vote", "best"], ["vote 'best'", "easy"], id="best"),
        pytest.param(
            ["votes.jsonl", "--vote", "confidence"], ["vote 'confidence'", "logprobs"], id="sure"
        ),
        pytest.param(
            ["votes.jsonl", "-p", "cot-mid"], ["cot-mid looks at probes", "none"], id="probes"
        ),
        pytest.param(
            ["chains.jsonl.gz", "-p", "beta,cot-mid"], ["beta looks at votes", "itself"], id="mixed"
        ),
        pytest.param(
            ["chains.jsonl.gz", "-p", "beta & cot-mid"], ["looks at votes"], id="mixed-in-one"
        ),
        pytest.param(["chains.jsonl.gz", "-p", "deer"], ["confidence of probes"], id="confidence"),
        pytest.param(
            ["votes.jsonl", "--chain-policy", "cot-mid"], ["looks at probes", "none"], id="no-chain"
        ),
        pytest.param(
            ["chains.jsonl.gz", "--chain-policy", "beta"],
            ["beta looks at votes"],
            id="no-chain-policy",
        ),
        pytest.param(["empty.jsonl"], ["no question to replay"], id="empty"),
        pytest.param(["empty.jsonl", "-p", "cot-mid"], ["no chain to replay"], id="no-chains"),
        pytest.param(["nowhere.jsonl"], ["nowhere.jsonl: no such file"], id="missing"),
        pytest.param(["abacus-test.loud"], ["abacus-test.loud: no such file"], id="not-bundled"),
        pytest.param(["broken.jsonl"], ["broken.jsonl:2:", "'samples'"], id="broken"),
        pytest.param(["."], [".: no such file"], id="folder"),
    ],
)
def test_a_mistake_gets_one_line_and_no_page(
    arguments: list[str], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("empty.jsonl").touch()
    Path("broken.jsonl").write_text('{"id": "a", "samples": []}\n{"id": "b"}\n')
    assert call("replay", *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not Path("replay.html").exists()


def test_a_recording_without_tokens_leaves_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    write_recording("r.jsonl", [Recorded("q", (Sample("A", None, True),))])
    assert call("replay", "r.jsonl") == 2
    err = capfd.readouterr().err
    assert "left out: 1 questions with samples whose tokens are not known" in err
    assert "no question to replay" in err
