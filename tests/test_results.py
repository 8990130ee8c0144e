"""Results: rows survive the file, and a run goes on where it was cut."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.budget import Usage
from dynasor_graph.errors import InputError, ResumeMismatch
from dynasor_graph.results import Result, ResultsFile, fingerprint
from dynasor_graph.types import StopReason

RUN: dict[str, Any] = {"algorithm": "self_consistency", "model": "m", "policy": "beta", "seed": 1}
OTHER = {**RUN, "policy": "lossless"}

FULL = Result(
    id="q1",
    question="What is 6 x 7?",
    answer="42",
    text="6 x 7 is 42.\nSo \\boxed{42}.\u2028Done\x85",
    certaindex=0.75,
    stop_reason=StopReason.CERTAIN,
    usage=Usage(main=100, terminated=20, probe=3, probe_prefill=4, prompt=50),
    rounds=2,
    branches=6,
    decision={"verdict": "terminate", "rule": "beta", "evidence": 0.969},
    latency_s=1.25,
    gold="42",
    correct=True,
)
FAILED = Result(id="q2", question="?", error="PromptTooLong: too long")


def write(path: Path, *results: Result, run: dict[str, Any] = RUN, resume: bool = False) -> None:
    with ResultsFile(path, run, resume=resume) as file:
        for result in results:
            file.write(result)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("result", [FULL, FAILED], ids=["full", "failed"])
def test_a_result_survives_json(result: Result):
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


usages = st.builds(Usage, **{f.name: st.integers(0, 10**6) for f in fields(Usage)})
results = st.builds(
    Result,
    id=st.text(),
    question=st.text(),
    answer=st.none() | st.text(),
    text=st.text(),
    certaindex=st.integers(0, 1000).map(lambda x: x / 1000),
    stop_reason=st.none() | st.sampled_from(StopReason),
    usage=usages,
    rounds=st.integers(0, 9),
    branches=st.integers(0, 99),
    latency_s=st.integers(0, 10**6).map(lambda x: x / 1000),
    gold=st.none() | st.text(),
    correct=st.none() | st.booleans(),
    error=st.none() | st.text(),
)


@given(results)
def test_any_result_survives_json(result: Result):
    row = json.loads(json.dumps(result.to_json()))
    assert Result.from_json(row) == result
    assert (row["net_tokens"], row["gross_tokens"]) == (result.usage.net, result.usage.gross)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({}, id="empty"),
        pytest.param({"id": "q", "question": "?"}, id="only-the-question"),
    ],
)
def test_what_is_no_result_is_a_key_error(row: dict[str, Any]):
    with pytest.raises(KeyError):
        Result.from_json(row)


def test_equal_settings_have_one_fingerprint_in_any_order():
    assert fingerprint(RUN) == fingerprint(dict(reversed(RUN.items())))
    assert fingerprint(RUN) != fingerprint(OTHER)
    assert fingerprint({"seed": 1}) != fingerprint({"seed": "1"})


def test_a_new_file_starts_empty_and_its_folder_is_made(tmp_path: Path):
    path = tmp_path / "a" / "b" / "results.jsonl"
    with ResultsFile(path, RUN) as file:
        assert file.done == []
        file.write(FULL)
        # Flushed at once: a crash now would lose nothing.
        assert [row["id"] for row in rows_of(path)] == ["q1"]


def test_every_row_names_its_run(tmp_path: Path):
    write(tmp_path / "r.jsonl", FULL, FAILED)
    assert [row["run"] for row in rows_of(tmp_path / "r.jsonl")] == [fingerprint(RUN)] * 2


def test_a_resumed_file_knows_what_is_done_and_goes_on_below_it(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    write(path, FULL)
    with ResultsFile(path, RUN, resume=True) as file:
        assert file.done == [FULL]
        file.write(replace(FULL, id="q3"))
    assert [result.id for result in ResultsFile(path, RUN, resume=True).done] == ["q1", "q3"]


def test_a_failed_question_is_asked_again_and_its_later_row_counts(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    write(path, FAILED, FULL)
    with ResultsFile(path, RUN, resume=True) as file:
        assert [result.id for result in file.done] == ["q1"]
        file.write(replace(FAILED, error=None, answer="7"))
    done = {result.id: result for result in ResultsFile(path, RUN, resume=True).done}
    assert done.keys() == {"q1", "q2"}
    assert done["q2"].answer == "7"


def test_a_question_that_failed_later_is_asked_again(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    write(path, FULL, replace(FULL, error="EngineError: gone"))
    assert ResultsFile(path, RUN, resume=True).done == []


def test_a_file_that_is_there_is_not_overwritten_by_accident(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    write(path, FULL)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"r\.jsonl is there already: .*--resume"):
        ResultsFile(path, RUN)
    assert path.read_bytes() == before


@pytest.mark.parametrize("resume", [True, False])
def test_an_empty_file_is_as_good_as_none(tmp_path: Path, resume: bool):
    path = tmp_path / "r.jsonl"
    path.touch()
    write(path, FULL, resume=resume)
    assert ResultsFile(path, RUN, resume=True).done == [FULL]


def test_resuming_a_file_that_is_not_there_starts_it(tmp_path: Path):
    write(tmp_path / "r.jsonl", FULL, resume=True)
    assert ResultsFile(tmp_path / "r.jsonl", RUN, resume=True).done == [FULL]


def test_the_file_of_another_run_is_refused_and_the_message_names_both(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    write(path, FULL)
    before = path.read_bytes()
    with pytest.raises(ResumeMismatch) as caught:
        ResultsFile(path, OTHER, resume=True)
    message = str(caught.value)
    assert fingerprint(RUN) in message
    assert fingerprint(OTHER) in message
    assert "algorithm self_consistency, model m, policy lossless" in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 2, 10, 60], ids=lambda n: f"{n}-bytes-lost")
def test_a_torn_last_line_is_cut_off_and_its_question_asked_again(tmp_path: Path, cut: int):
    path = tmp_path / "r.jsonl"
    write(path, FULL, replace(FULL, id="q2", text="torn é"))
    path.write_bytes(path.read_bytes()[:-cut])
    with ResultsFile(path, RUN, resume=True) as file:
        assert file.done == [FULL]
        file.write(replace(FULL, id="q3"))
    assert [result.id for result in ResultsFile(path, RUN, resume=True).done] == ["q1", "q3"]


def test_a_character_torn_in_two_is_cut_off_too(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    write(path, FULL)
    with path.open("ab") as file:
        file.write('{"id": "é'.encode()[:-1])
    assert ResultsFile(path, RUN, resume=True).done == [FULL]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"not json", id="text"),
        pytest.param(b"5", id="number"),
        pytest.param(b'{"id": "q"}', id="no-result"),
        pytest.param(b'{"event": "trace", "schema": 1}', id="a-trace"),
        pytest.param(b"\xff\xfe", id="not-utf-8"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_with_the_line(tmp_path: Path, line: bytes):
    path = tmp_path / "r.jsonl"
    write(path, FULL)
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(InputError, match=r"r\.jsonl:2: not a result of a run"):
        ResultsFile(path, RUN, resume=True)


def test_a_stop_reason_that_nobody_knows_is_no_result(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    row = {"run": fingerprint(RUN), **FULL.to_json(), "stop_reason": "bored"}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a result of a run"):
        ResultsFile(path, RUN, resume=True)


@pytest.mark.parametrize("entered", [False, True], ids=["never-opened", "closed-again"])
def test_nothing_is_written_to_a_closed_file(tmp_path: Path, entered: bool):
    file = ResultsFile(tmp_path / "r.jsonl", RUN)
    if entered:
        with file:
            pass
    with pytest.raises(ValueError, match="the file is closed: use it inside `with`"):
        file.write(FULL)
