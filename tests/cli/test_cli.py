"""The command line: what it prints, what it writes, and what it says to bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dynasor_graph.calibration import BelongsTo, Bound, PolicyFile
from dynasor_graph.cli import main
from dynasor_graph.policies import Value

QUESTIONS = [
    '{"id": "a", "question": "6 * 7?", "answer": 42}',
    '{"id": "b", "question": "6 * 8?", "answer": "48"}',
]


def call(*arguments: str) -> int:
    """Run the command line in this process; its exit status."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(QUESTIONS) + "\n")
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["-a", "cott"], ["unknown algorithm 'cott'", "'cot'"], id="algorithm"),
        pytest.param(["-p", "betta"], ["unknown policy 'betta'", "'beta'"], id="policy"),
        pytest.param(["-e", "vlm"], ["unknown engine 'vlm'", "'vllm'"], id="engine"),
        pytest.param(["-m", "/nowhere"], ["/nowhere", "abacus-7m"], id="model"),
        pytest.param(["--tokens", "-3"], ["budget.tokens", "-3"], id="negative-budget"),
        pytest.param(["--tokens", "0"], ["budget.tokens", "0"], id="zero-budget"),
        pytest.param(["--seconds", "0"], ["budget.seconds", "0"], id="zero-seconds"),
        pytest.param(["--window", "0"], ["budget.concurrency", "0"], id="zero-window"),
        pytest.param(
            ["-p", "certaindex:threshold=1.5"],
            ["threshold", "1.5", "less than or equal to 1"],
            id="above-1",
        ),
        pytest.param(["-p", "beta:confidence=-1"], ["confidence", "-1"], id="below-0"),
        pytest.param(["-p", "beta:confidence"], ["key=value", "confidence"], id="no-value"),
        pytest.param(["-p", '{"rule": "beta",'], ["JSON"], id="broken-json"),
        pytest.param(["-p", "probe-consistency"], ["probes", "votes"], id="wrong-evidence"),
        pytest.param(["--shadow", "cot-mid"], ["probes", "votes"], id="shadow-evidence"),
        pytest.param(["--shadow", "beta,betta"], ["unknown policy 'betta'"], id="shadow-policy"),
        pytest.param(["--shadow", ","], ["--shadow names no policy"], id="shadow-empty"),
        pytest.param(
            ["--shadow", "sc-math,sc-gsm8k"], ["'sc-gsm8k'", "leave one"], id="shadow-twice"
        ),
        pytest.param(["--set", "colour=red"], ["colour", "'red'"], id="unknown-setting"),
        pytest.param(["--set", "colour"], ["key=value", "colour"], id="set-without-value"),
        pytest.param(["--temperature", "9"], ["sampling.temperature", "9"], id="temperature"),
        pytest.param(["-e", "openai"], ["url"], id="server-without-url"),
        pytest.param(
            ["--engine-arg", "slots"], ["key=value", "slots"], id="argument-without-value"
        ),
        pytest.param(["-e", "fake", "--engine-arg", "slot=3"], ["slot"], id="unknown-argument"),
        pytest.param(["-e", "fake", "--url", "http://x"], ["url"], id="url-too-much"),
        pytest.param(["--url", "ftp://x"], ["http://", "ftp://x"], id="not-http"),
    ],
)
def test_a_wrong_setting_gets_one_line_with_its_name_and_value(
    arguments: list[str], words: list[str], capfd: pytest.CaptureFixture[str]
):
    assert call("solve", "6 * 7?", *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_an_empty_question_is_refused(capfd: pytest.CaptureFixture[str]):
    assert call("solve", "  ", "-e", "fake") == 2
    assert "empty" in capfd.readouterr().err


def test_an_unreachable_server_is_named_with_the_cure(capfd: pytest.CaptureFixture[str]):
    assert call("solve", "6 * 7?", "--url", "http://127.0.0.1:9") == 3
    err = capfd.readouterr().err
    assert "http://127.0.0.1:9" in err
    assert "vllm serve" in err


def test_solve_shows_how_the_answer_settled(capfd: pytest.CaptureFixture[str]):
    assert call("solve", "6 * 7?", "-e", "fake", "-p", "beta") == 0
    out, err = capfd.readouterr()
    assert "42" in out
    assert "certain" in out
    assert "branch   4" in err


def test_solve_as_json_prints_one_object_and_nothing_else(capfd: pytest.CaptureFixture[str]):
    assert call("solve", "6 * 7?", "-e", "fake", "--json") == 0
    result = json.loads(capfd.readouterr().out)
    assert result["answer"] == "42"
    assert result["rows"][0]["branches"] == 5
    assert result["net_tokens"] == sum(
        result["usage"].get(k, 0) for k in ("main", "terminated", "probe", "probe_prefill")
    )


@pytest.mark.parametrize("what", ["algorithms", "policies"])
def test_lists_have_a_line_for_each(what: str, capfd: pytest.CaptureFixture[str]):
    assert call(what, "--json") == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    names = {row[{"algorithms": "algorithm", "policies": "policy"}[what]] for row in rows}
    assert {"algorithms": {"self_consistency", "cot"}, "policies": {"beta", "sc-gsm8k"}}[
        what
    ] <= names
    assert all(row["summary"] for row in rows)
    assert call(what) == 0
    assert names <= set(capfd.readouterr().out.replace("│", " ").split())


def test_run_writes_results_and_a_trace(questions: Path, capfd: pytest.CaptureFixture[str]):
    output = questions.with_name("out.jsonl")
    assert call("run", str(questions), "-e", "fake", "-o", str(output), "--json") == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert {(row["id"], row["correct"]) for row in rows} == {("a", True), ("b", False)}
    assert json.loads(capfd.readouterr().out)["rows"][0]["accuracy"] == 0.5
    events = output.with_suffix(".trace.jsonl").read_text()
    assert events.count('"event":"branch"') == 10


def test_run_shows_what_shadows_would_have_done(questions: Path, capfd: pytest.CaptureFixture[str]):
    output = questions.with_name("out.jsonl")
    command = ["run", str(questions), "-e", "fake", "-o", str(output), "-p", "fixed"]
    command += ["--shadow", "beta:confidence=0.9,start=3, certaindex"]
    assert call(*command) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert "shadows of fixed, 2 questions" in out
    assert "beta:confidence=0.9,start=3 2 50.0 % 100.0 %" in out
    assert call(*command, "--resume", "--json") == 0
    shown = json.loads(capfd.readouterr().out)
    assert [(row["shadow"], row["stopped"], row["share"]) for row in shown["shadows"]] == [
        ("beta:confidence=0.9,start=3", 2, pytest.approx(3 / 20)),
        ("certaindex", 2, pytest.approx(5 / 20)),
    ]
    assert shown["rows"][0]["gross_tokens"] == 2 * 20 * 11


def test_a_run_without_shadows_says_nothing_of_them(
    questions: Path, capfd: pytest.CaptureFixture[str]
):
    output = questions.with_name("out.jsonl")
    command = ["run", str(questions), "-e", "fake", "-o", str(output)]
    assert call(*command) == 0
    assert "shadow" not in capfd.readouterr().out
    assert call(*command, "--resume", "--json") == 0
    assert "shadows" not in json.loads(capfd.readouterr().out)
    assert call(*command, "--resume", "--shadow", "beta") == 2
    assert "belongs to another run" in capfd.readouterr().err


def test_shadows_need_a_trace(questions: Path, capfd: pytest.CaptureFixture[str]):
    output = questions.with_name("out.jsonl")
    command = ["run", str(questions), "-e", "fake", "-o", str(output), "--no-record"]
    assert call(*command, "--shadow", "beta") == 2
    assert "leave out --no-record" in capfd.readouterr().err
    assert not output.exists()


def test_solve_shows_where_shadows_would_have_stopped(capfd: pytest.CaptureFixture[str]):
    settings = ["-p", "fixed", "--shadow", "beta,certaindex", "--set", "branches=8"]
    assert call("solve", "6 * 7?", "-e", "fake", *settings) == 0
    err = capfd.readouterr().err
    assert "beta would stop at 4: 42" in err
    assert "certaindex would stop at 5: 42" in err


def test_arguments_reach_the_engine(questions: Path, capfd: pytest.CaptureFixture[str]):
    output = questions.with_name("out.jsonl")
    small = ["-e", "fake", "--engine-arg", "context=20"]
    assert call("run", str(questions), *small, "-o", str(output)) == 1
    assert "20" in capfd.readouterr().err


def test_a_bundled_set_can_be_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    output = tmp_path / "out.jsonl"
    assert call("run", "abacus-test", "-e", "fake", "-o", str(output), "--json") == 0
    assert json.loads(capfd.readouterr().out)["rows"][0]["questions"] == 600
    first = json.loads(output.read_text().splitlines()[0])
    assert first["id"].startswith(("amounts-s1-", "schedule-s1-"))
    assert first["gold"]


def test_a_file_goes_before_a_bundled_set(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    questions.rename("abacus-test")
    assert call("run", "abacus-test", "-e", "fake", "-o", "out.jsonl") == 0
    assert len(Path("out.jsonl").read_text().splitlines()) == 2


def test_run_without_recording_writes_no_trace(questions: Path):
    output = questions.with_name("out.jsonl")
    assert call("run", str(questions), "-e", "fake", "-o", str(output), "--no-record") == 0
    assert not output.with_suffix(".trace.jsonl").exists()


def test_broken_lines_are_named_and_the_others_run(
    questions: Path, capfd: pytest.CaptureFixture[str]
):
    with questions.open("a") as file:
        file.write('{broken\n{"id": "a", "question": "again?"}\n{"id": "c", "question": ""}\n')
    output = questions.with_name("out.jsonl")
    assert call("run", str(questions), "-e", "fake", "-o", str(output)) == 1
    err = capfd.readouterr().err
    for number, word in ((3, "JSON"), (4, "'a'"), (5, "empty")):
        assert any(f":{number}: " in line and word in line for line in err.splitlines())
    assert len(output.read_text().splitlines()) == 2


def test_a_failing_program_is_reported_and_the_others_run(
    questions: Path, capfd: pytest.CaptureFixture[str]
):
    with questions.open("a") as file:
        file.write(json.dumps({"id": "long", "question": "long " * 3000}) + "\n")
    output = questions.with_name("out.jsonl")
    assert call("run", str(questions), "-e", "fake", "-o", str(output)) == 1
    err = capfd.readouterr().err
    assert "failed: long: PromptTooLong" in err
    assert len(output.read_text().splitlines()) == 3


def test_resume_runs_only_what_is_missing(questions: Path, capfd: pytest.CaptureFixture[str]):
    output = questions.with_name("out.jsonl")
    command = ["run", str(questions), "-e", "fake", "-o", str(output)]
    assert call(*command) == 0
    first = output.read_text().splitlines()[:1]
    output.write_text(first[0] + '\n{"torn')
    assert call(*command) == 2, "an output that is there is not overwritten"
    assert "--resume" in capfd.readouterr().err
    assert call(*command, "--resume") == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == ["a", "b"]
    assert output.read_text().splitlines()[:1] == first


def test_resume_refuses_another_runs_file(questions: Path, capfd: pytest.CaptureFixture[str]):
    output = questions.with_name("out.jsonl")
    command = ["run", str(questions), "-e", "fake", "-o", str(output), "--resume"]
    assert call(*command) == 0
    before = output.read_text()
    assert call(*command, "-p", "beta") == 2
    assert "belongs to another run" in capfd.readouterr().err
    assert output.read_text() == before


def test_a_run_wide_budget_is_kept(questions: Path):
    output = questions.with_name("out.jsonl")
    arguments = ["run", str(questions), "-e", "fake", "-o", str(output), "--total-tokens", "60"]
    assert call(*arguments, "--max-tokens", "11") == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert 0 < sum(row["gross_tokens"] for row in rows) <= 60


def test_a_run_wide_budget_counts_what_was_spent_before(questions: Path):
    output = questions.with_name("out.jsonl")
    command = ["run", str(questions), "-e", "fake", "-o", str(output), "-p", "fixed"]
    assert call(*command, "--branches", "2", "--total-tokens", "30") == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    output.write_text(json.dumps(rows[0]) + "\n")
    assert call(*command, "--branches", "2", "--total-tokens", "30", "--resume") == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert 0 < sum(row["gross_tokens"] for row in rows) <= 30


@pytest.fixture
def worth(tmp_path: Path) -> Path:
    """A value policy that knows what it spends."""
    policy = Value(
        kinds=("lengths",),
        bias=0.0,
        weights=(0.0, 0.0),
        edges=(),
        worth=tuple((0.01 * (9 - n),) for n in range(8)),
        spends=((0.01, 120.0), (0.05, 60.0), (0.09, 12.0)),
    )
    file = tmp_path / "value.json"
    file.write_text(policy.model_dump_json())
    return file


def test_a_budget_is_allocated_to_the_questions(questions: Path, worth: Path):
    output = questions.with_name("out.jsonl")
    command = ["run", str(questions), "-e", "fake", "-o", str(output), "-p", str(worth)]
    count = sum(1 for line in questions.read_text().splitlines() if line.strip())
    assert call(*command, "--allocate", "--total-tokens", str(60 * count)) == 0
    starts = [
        json.loads(line)
        for line in output.with_suffix(".trace.jsonl").read_text().splitlines()
        if '"event":"program"' in line
    ]
    assert len(starts) == count
    assert starts[0]["settings"]["policy"]["price"] == pytest.approx(0.05)
    # A file of allocated programs is no file of programs at one price.
    assert call(*command, "--total-tokens", "600", "--resume") == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--allocate"], "add --total-tokens", id="no budget"),
        pytest.param(
            ["--allocate", "--total-tokens", "600", "-p", "beta"],
            "calibrate FILE --policy value",
            id="another policy",
        ),
    ],
)
def test_what_cannot_be_allocated_is_refused(
    questions: Path, more: list[str], message: str, capfd: pytest.CaptureFixture[str]
):
    output = questions.with_name("out.jsonl")
    assert call("run", str(questions), "-e", "fake", "-o", str(output), *more) == 2
    assert message in " ".join(capfd.readouterr().err.split())
    assert not output.exists()


def test_demo_compares_policies_at_the_same_cap(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    arguments = ["demo", "--questions", "4", "-e", "fake", "-o", str(tmp_path), "--json"]
    assert call(*arguments) == 0
    shown = json.loads(capfd.readouterr().out)
    saved = {(row["algorithm"], row["policy"]): row["saved"] for row in shown["rows"]}
    assert saved["self_consistency", "fixed"] == 0
    # The scripted engine always agrees with itself: 5 of 20, and 4 of 20.
    assert saved["self_consistency", "certaindex"] == pytest.approx(0.75)
    assert saved["self_consistency", "beta"] == pytest.approx(0.8)
    assert (tmp_path / "report.html").read_text().startswith("<!")
    assert len(list(tmp_path.glob("*.trace.jsonl"))) == 5


def test_demo_shows_searches_next_to_voting(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    names = "rebase,mcts,best_of_n,beam,dvts,particle_filter"
    arguments = ["demo", "--questions", "3", "-e", "fake", "-o", str(tmp_path), "--json"]
    assert call(*arguments, "--algorithms", names) == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert [row["algorithm"] for row in rows] == [name for name in names.split(",") for _ in "ab"]
    assert "mcts-gsm8k" in {row["policy"] for row in rows}
    assert len(list(tmp_path.glob("*.trace.jsonl"))) == 12


def test_a_search_is_run_and_gone_on_with(questions: Path, capfd: pytest.CaptureFixture[str]):
    output = questions.with_name("out.jsonl")
    command = ["run", str(questions), "-e", "fake", "-o", str(output), "-a", "rebase"]
    assert call(*command, "--total-tokens", "2000") == 0
    assert call(*command, "--resume") == 0
    before = output.read_text()
    assert call(*command, "--resume", "--reward", "another") == 2
    assert "belongs to another run" in capfd.readouterr().err
    assert output.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--reward", "nowhere"], "unknown model (not a folder) 'nowhere'", id="model"),
        pytest.param(["--set", "reward=x"], "use the option --reward instead", id="set"),
        pytest.param(["--set", "width=0"], "width: Input should be greater", id="width"),
        pytest.param(["--set", "vote=loud"], "vote: Input should be 'weighted'", id="vote"),
    ],
)
def test_mistakes_in_a_search_are_named(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
):
    engine = ["--url", "http://127.0.0.1:9"] if "nowhere" in arguments else ["-e", "fake"]
    assert call("solve", "q?", "-a", "rebase", *engine, *arguments) == 2
    assert message in " ".join(capfd.readouterr().err.split())


def test_demo_names_the_algorithms_it_has(capfd: pytest.CaptureFixture[str]):
    assert call("demo", "--algorithms", "rebas", "-e", "fake") == 2
    assert "rebas" in capfd.readouterr().err


def test_every_command_explains_itself(capfd: pytest.CaptureFixture[str]):
    for command in ("solve", "run", "demo", "algorithms", "policies"):
        assert call(command, "--help") == 0
        assert "Usage" in capfd.readouterr().out


@pytest.mark.vllm
def test_solve_answers_with_the_bundled_model():
    question = "Ada has 7 coins. Ben has 12 more coins than Ada. How many coins does Ben have?"
    done = subprocess.run(
        [sys.executable, "-m", "dynasor_graph", "solve", question, "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    result = json.loads(done.stdout)
    assert result["answer"] == "19"
    assert result["stop_reason"] in {"certain", "finished"}  # one slip of five, and it goes on
    assert "Traceback" not in done.stderr


@pytest.mark.vllm
def test_ctrl_c_keeps_what_was_answered_and_resume_goes_on(tmp_path: Path):
    questions, output = tmp_path / "q.jsonl", tmp_path / "out.jsonl"
    asked = [
        {
            "id": str(i),
            "question": f"Ada has {i + 2} coins. How many coins does Ada have?",
            "answer": i + 2,
        }
        for i in range(400)
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in asked))
    command = [sys.executable, "-m", "dynasor_graph", "run", str(questions), "-o", str(output)]
    command += ["--programs", "4", "-p", "fixed"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background, a shell has them ignore Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    waited = time.monotonic()
    while not (output.exists() and output.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - waited < 180
        os.sched_yield()
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does: the engine's process gets it too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "go on with --resume" in err
    assert "Traceback" not in err
    kept = [json.loads(line)["id"] for line in output.read_text().splitlines()]
    assert 2 <= len(kept) < 400
    questions.write_text("".join(json.dumps(row) + "\n" for row in asked[: len(kept) + 4]))
    again = subprocess.run(
        [*command, "--resume"], capture_output=True, text=True, check=True, timeout=240
    )
    assert "Traceback" not in again.stderr
    ids = [json.loads(line)["id"] for line in output.read_text().splitlines()]
    assert len(ids) == len(set(ids)) >= len(kept)
    assert ids[: len(kept)] == kept


def test_a_policy_file_warns_where_it_was_not_certified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = PolicyFile(
        policy={"rule": "beta", "confidence": 0.8},
        bound=Bound(
            goal="right", max_loss=0.01, confidence=0.95, loss=0.0, spent=0.5, questions=500
        ),
        belongs_to=BelongsTo(
            models=("abacus-7m",),
            datasets=(),
            temperatures=(0.7,),
            algorithm="self_consistency",
            cap=8,
            window=4,
        ),
        evidence=(),
        made="2026-11-23",
    )
    told.write(tmp_path / "policy.json")
    policy = str(tmp_path / "policy.json")
    run = ["solve", "2 + 2?", "-e", "fake", "-p", policy, "--window", "4", "--json"]

    call(*run, "--branches", "8", "-m", "abacus-7m")
    quiet = capsys.readouterr()
    call(*run, "--branches", "9", "-m", "other")
    loud = capsys.readouterr()

    assert "does not hold" not in quiet.err
    assert json.loads(quiet.out)["decision"]["rule"] == "beta"
    assert "model is other, certified for abacus-7m" in loud.err
    assert "branches is 9, certified for 8" in loud.err
