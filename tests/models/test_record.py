"""Recording samples: the questions that runs are given, and the recordings made of their traces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dynasor_graph.abacus import DATASETS, dataset
from dynasor_graph.engine import FakeEngine
from dynasor_graph.questions import Question, read_questions
from dynasor_graph.recordings import Probed, Recorded, Sample, read_recording
from dynasor_graph.runner import Runner
from dynasor_graph.trace import TraceWriter
from models.abacus import record

ROOT = Path(__file__).parents[2]
FIRST, SECOND = dataset("abacus-test")[:2]


def asked(path: Path) -> list[Question]:
    questions, _ = read_questions(path)
    return questions


def call(*words: str | Path) -> None:
    args = record.parse([str(word) for word in words])
    args.command(args)


async def run(trace: Path, answers: list[str], *names: str) -> None:
    """Ask the questions of these names with three branches each, answered in turn."""
    known = {f"abacus-test/{one.id}": one for one in dataset("abacus-test")}
    questions = [
        Question(id=name, text=known[name].question, gold=known[name].answer) for name in names
    ]
    engine = FakeEngine([f"The answer is \\boxed{{{answer}}}." for answer in answers])
    with TraceWriter(trace) as writer:
        settings: dict[str, Any] = {"policy": "fixed", "branches": 3}
        runner = Runner("self_consistency", engine=engine, on_event=writer.write, **settings)
        async with aclosing(runner.run(questions)) as results:
            assert [result.error async for result in results] == [None] * len(names)


def write_thoughts(trace: Path, *programs: tuple[str, str | None]) -> None:
    """Reasoning traces by hand: names of programs and what each answered, probed once."""
    with TraceWriter(trace) as writer:
        for program, answer in programs:
            sampling = {"sampling": {"temperature": 0.7}}
            start = {"question": "Q?", "gold": "4", "model": "abacus-7m", "settings": sampling}
            usage = {"usage": {"main": 50}, "correct": answer == "4", "error": None}
            for event in (
                {"event": "program", **start},
                {"event": "probe", "at": 32, "answer": "3"},
                {"event": "result", "answer": answer, **usage},
            ):
                writer.write({**event, "program": program})


# Questions ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "deeper"
    counts = ("--test-traces", "3", "--calibration-traces", "1")
    call("shards", "--out", out, "--parts", "2", "--think-parts", "4", *counts)
    return out


def test_direct_questions_are_dealt_out_once(shards: Path):
    parts = [asked(shards / f"direct-{part}.jsonl") for part in range(2)]

    assert [len(part) for part in parts] == [1300, 1300]
    assert {one.id: (one.text, one.gold) for part in parts for one in part} == {
        f"{name}/{one.id}": (one.question, one.answer) for name in DATASETS for one in dataset(name)
    }


def test_questions_to_think_about_are_dealt_out_in_copies(shards: Path):
    parts = [asked(shards / f"think-{part}.jsonl") for part in range(4)]
    names = [one.id for part in parts for one in part]

    assert [len(part) for part in parts] == [950] * 4, "3 * 600 + 2000 in four parts"
    assert len(set(names)) == len(names)
    assert {f"abacus-test/{FIRST.id}#{copy}" for copy in range(3)} <= set(names)
    copies = Counter(name.partition("#")[0] for name in names)
    assert {count for name, count in copies.items() if name.startswith("abacus-test/")} == {3}
    assert {count for name, count in copies.items() if "calibration" in name} == {1}
    assert not [name for name in names if "calibration" in name and "#" in name]


def test_a_part_that_is_cut_short_has_as_many_copies_of_each(shards: Path):
    head = [one.id for one in asked(shards / "think-0.jsonl")[:150]]

    assert {name.partition("#")[2] for name in head} == {"0"}, "the first copies come first"


# Recordings --------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_samples_of_a_run_become_a_recording(tmp_path: Path):
    right, name = FIRST.answer, f"abacus-test/{FIRST.id}"
    await run(tmp_path / "direct-0.trace.jsonl", [right, "7", "7"], name)

    call("pack", tmp_path / "direct-0.trace.jsonl", "--out", tmp_path / "out")

    (found,) = read_recording(tmp_path / "out" / "abacus-test.direct.jsonl.gz")
    assert (found.id, found.dataset, found.model) == (FIRST.id, "abacus-test", "fake")
    assert (found.question, found.gold) == (FIRST.question, right)
    assert Counter((one.answer, one.correct) for one in found.samples) == {
        (right, True): 1,
        ("7", False): 2,
    }
    assert all(one.tokens for one in found.samples)


@pytest.mark.anyio
async def test_questions_come_in_the_order_of_the_set_whatever_trace_they_are_in(tmp_path: Path):
    names = [f"abacus-test/{one.id}" for one in (FIRST, SECOND)]
    for part, name in enumerate(reversed(names)):
        await run(tmp_path / f"direct-{part}.trace.jsonl", ["7"], name)

    call("pack", *sorted(tmp_path.glob("*.trace.jsonl")), "--out", tmp_path)

    found = read_recording(tmp_path / "abacus-test.direct.jsonl.gz")
    assert [one.id for one in found] == [FIRST.id, SECOND.id]


def test_copies_of_a_question_become_its_samples_by_their_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name = f"abacus-test/{FIRST.id}"
    write_thoughts(tmp_path / "think-0.jsonl", (f"{name}#10", "10"), (f"{name}#2", "2"))
    write_thoughts(tmp_path / "think-1.jsonl", (f"{name}#0", None), (f"{name}#1", "4"))
    write_thoughts(tmp_path / "think-2.jsonl", (f"abacus-test/{SECOND.id}#0", "4"))

    call("pack", *sorted(tmp_path.glob("*.jsonl")), "--out", tmp_path)

    path = tmp_path / "abacus-test.think.jsonl.gz"
    assert read_recording(path) == [
        Recorded(
            id=one.id,
            samples=tuple(
                Sample(answer, 50, answer == "4", None, (Probed(32, "3"),)) for answer in answers
            ),
            dataset="abacus-test",
            model="abacus-7m",
            temperature=0.7,
            question="Q?",
            gold="4",
        )
        for one, answers in ((FIRST, (None, "4", "2", "10")), (SECOND, ("4",)))
    ]
    assert capsys.readouterr().out.startswith(f"{path}: 2 questions, 1 to 4 samples each, ")


def test_kinds_and_sets_are_kept_apart(tmp_path: Path):
    other = dataset("abacus-calibration")[0]
    for kind in ("direct", "think"):
        write_thoughts(
            tmp_path / f"{kind}-0.jsonl",
            (f"abacus-test/{FIRST.id}", "4"),
            (f"abacus-calibration/{other.id}", "4"),
        )

    call("pack", tmp_path / "direct-0.jsonl", tmp_path / "think-0.jsonl", "--out", tmp_path)

    assert {path.name for path in tmp_path.glob("*.gz")} == {
        f"{name}.{kind}.jsonl.gz" for name in DATASETS for kind in ("direct", "think")
    }


def test_the_same_traces_give_the_same_bytes(tmp_path: Path):
    trace = tmp_path / "think-0.jsonl"
    write_thoughts(trace, (f"abacus-test/{FIRST.id}#0", "4"), (f"abacus-test/{SECOND.id}#0", "5"))
    for out in ("a", "b"):
        call("pack", trace, "--out", tmp_path / out)

    one, other = ((tmp_path / out / "abacus-test.think.jsonl.gz").read_bytes() for out in "ab")
    assert one == other


# Errors ------------------------------------------------------------------------------------------


def main(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> str:
    """Run the command; the one line that it ends with."""
    monkeypatch.setattr(sys, "argv", ["record", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        record.main()
    assert isinstance(ended.value.code, str), "a text: Python prints it and exits with status 1"
    assert "\n" not in ended.value.code
    return ended.value.code


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("4", id="of-no-set"),
        pytest.param(f"other/{FIRST.id}", id="of-an-unknown-set"),
        pytest.param("abacus-test/what", id="an-unknown-question"),
        pytest.param(f"abacus-test/{FIRST.id}#x", id="a-copy-without-number"),
        pytest.param(f"abacus-test/{FIRST.id}#-1", id="a-copy-below-0"),
    ],
)
def test_a_trace_of_other_questions_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
):
    trace = tmp_path / "direct-0.jsonl"
    write_thoughts(trace, (f"abacus-test/{SECOND.id}", "4"), (program, "4"))

    said = main(monkeypatch, "pack", trace, "--out", tmp_path / "out")

    assert said == f"error: {trace}: {program} is no question that shards wrote"
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_trace_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    path = tmp_path / "direct-0.jsonl"
    path.write_text(json.dumps({"id": "x", "question": "Q?"}) + "\n")

    assert main(monkeypatch, "pack", path, "--out", tmp_path).startswith(
        f"error: {path}:1: no event of a trace"
    )


def test_questions_cannot_be_written_into_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "taken").write_text("")

    said = main(monkeypatch, "shards", "--out", tmp_path / "taken", "--test-traces", "1")

    assert said.startswith("error: ")
    assert "taken" in said


def test_a_missing_trace_ends_the_command_in_one_line(tmp_path: Path):
    trace = tmp_path / "direct-0.jsonl"

    ended = subprocess.run(
        [sys.executable, "-m", "models.abacus.record", "pack", str(trace), "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert (ended.stdout, ended.stderr) == ("", f"error: {trace}: no such file\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["shards"], "--out", id="no-folder"),
        pytest.param(["shards", "--out", "x", "--parts", "0"], "must be at least 1", id="parts"),
        pytest.param(
            ["shards", "--out", "x", "--test-traces", "-1"], "must be at least 1", id="traces"
        ),
        pytest.param(["pack", "--out", "x"], "traces", id="no-trace"),
        pytest.param([], "shards|pack", id="no-command"),
    ],
)
def test_bad_words_are_refused(capsys: pytest.CaptureFixture[str], words: list[str], message: str):
    with pytest.raises(SystemExit) as ended:
        record.parse(words)

    assert ended.value.code == 2
    assert message in capsys.readouterr().err
