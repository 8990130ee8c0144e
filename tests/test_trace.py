"""Trace: what is written is what is read, also after a crash and by older readers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.errors import InputError
from dynasor_graph.trace import SCHEMA, ProgramTrace, TraceWriter, read_trace

HEADER = json.dumps({"event": "trace", "schema": SCHEMA})


def event(kind: str, program: str = "p", **fields: Any) -> dict[str, Any]:
    return {"event": kind, "program": program, **fields}


WHOLE = [
    event("program", question="1+1?", gold="2", algorithm="self_consistency"),
    event("branch", index=1, answer="2", text="é\u2028\x85\n2"),
    event("branch", index=0, answer="3", text=""),
    event("probe", at=64, answer=None, text="}"),
    event("decision", verdict="terminate", rule="beta"),
    event("shadow", policy="esc", knob=5, answer="2"),
    event("answer", text="\\boxed{2}"),
    event("result", answer="2"),
]


def clock(*seconds: float) -> Iterator[float]:
    yield from seconds


def written(path: Path, *events: dict[str, Any]) -> None:
    with TraceWriter(path) as trace:
        for one in events:
            trace.write(one)


def without_t(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "t"}


def test_a_program_is_read_back_as_it_was_written(tmp_path: Path):
    path = tmp_path / "new" / "trace.jsonl"
    written(path, *WHOLE)
    programs = read_trace(path)
    assert list(programs) == ["p"]
    p = programs["p"]
    kinds = (p.branches, p.probes, p.decisions, p.shadows, p.answers)
    read = [p.start, *(row for rows in kinds for row in rows), p.result or {}]
    assert [without_t(row) for row in read] == WHOLE
    assert all(row["t"] >= 0 for row in read)


def test_programs_are_read_in_the_order_in_which_they_began(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    rows = [
        event("program", "b"),
        event("program", "a"),
        event("branch", "a", index=0),
        event("branch", "b", index=0),
        event("result", "a"),
        event("branch", "b", index=1),
    ]
    written(path, *rows)
    programs = read_trace(str(path))
    assert list(programs) == ["b", "a"]
    assert [len(programs[name].branches) for name in ("b", "a")] == [2, 1]
    assert programs["a"].result is not None
    assert programs["b"].result is None


def test_t_is_counted_from_the_beginning_of_each_program(tmp_path: Path):
    seconds = clock(100.0, 101.0, 102.5, 103.0)
    with TraceWriter(tmp_path / "trace.jsonl", clock=lambda: next(seconds)) as trace:
        trace.write(event("program", "a"))
        trace.write(event("program", "b"))
        trace.write(event("branch", "a"))
        trace.write(event("branch", "b"))
    programs = read_trace(tmp_path / "trace.jsonl")
    assert [programs["a"].start["t"], programs["b"].start["t"]] == [0, 0]
    assert programs["a"].branches[0]["t"] == 2.5
    assert programs["b"].branches[0]["t"] == 2.0


def test_every_line_is_on_the_disk_at_once(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    with TraceWriter(path) as trace:
        assert path.read_text(encoding="utf-8").splitlines() == ['{"event":"trace","schema":1}']
        trace.write(event("program"))
        assert len(read_trace(path)) == 1


def test_a_trace_that_is_there_is_continued_under_one_header(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    written(path, event("program", "a"))
    written(path, event("program", "b"))
    assert list(read_trace(path)) == ["a", "b"]
    assert path.read_text(encoding="utf-8").count('"trace"') == 1


def test_a_resumed_program_starts_anew(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    written(path, event("program", "a", run=1), event("branch", "a", index=0), event("result", "a"))
    written(path, event("program", "a", run=2), event("branch", "a", index=7))
    program = read_trace(path)["a"]
    assert program.start["run"] == 2
    assert [branch["index"] for branch in program.branches] == [7]
    assert program.result is None


def test_of_what_a_shadow_said_twice_the_first_counts(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    json_policy = {"rule": "beta"}
    rows = [("esc", 5), (json_policy, 6), ("esc", 8), (json_policy, 9), ("lossless", 9)]
    written(path, *(event("shadow", policy=policy, knob=knob) for policy, knob in rows))
    found = read_trace(path)["p"].shadows
    assert [(row["policy"], row["knob"]) for row in found] == [*rows[:2], rows[-1]]


def test_events_without_a_beginning_are_kept(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    written(path, event("branch", "a", index=0))
    program = read_trace(path)["a"]
    assert program.start == {}
    assert program.branches[0]["t"] == 0


def test_kinds_of_later_versions_are_passed_over(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    written(path, event("program"), event("gossip", about="q"), event("branch", index=0))
    program = read_trace(path)["p"]
    assert program.branches[0]["index"] == 0
    assert program == ProgramTrace("p", start=program.start, branches=program.branches)


@pytest.mark.parametrize("torn", range(1, 102, 5))
def test_a_torn_last_line_is_passed_over_by_readers_and_cut_off_by_writers(
    tmp_path: Path, torn: int
):
    path = tmp_path / "trace.jsonl"
    written(path, event("program"), event("branch", index=0, text="é" * 40))
    whole = path.read_bytes()
    last = len(whole.splitlines()[-1]) + 1
    path.write_bytes(whole[: -last + torn])
    assert read_trace(path)["p"].branches == []
    written(path, event("branch", index=1))
    assert [branch["index"] for branch in read_trace(path)["p"].branches] == [1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param([json.dumps(event("program"))], "not a trace: the first line", id="no-header"),
        pytest.param(
            ['{"event":"trace","schema":99}'], "schema 99; this version reads 1", id="schema"
        ),
        pytest.param(['{"event":"trace"}'], "schema None; this version reads", id="no-schema"),
        pytest.param([HEADER, "{torn", HEADER], "trace.jsonl:2: not JSON", id="torn-in-the-middle"),
        pytest.param([HEADER, "[1]"], "trace.jsonl:2: not a JSON object", id="list"),
        pytest.param(["5"], "trace.jsonl:1: not a JSON object", id="number"),
        pytest.param([HEADER, '{"event":"branch"}'], "trace.jsonl:2: .*'program'", id="no-program"),
        pytest.param([HEADER, '{"program":"p"}'], "trace.jsonl:2: .*'event'", id="no-event"),
        pytest.param(
            [HEADER, '{"event":"branch","program":5}'], "trace.jsonl:2: .*'program'", id="no-name"
        ),
    ],
)
def test_what_is_no_trace_is_refused_with_the_line(tmp_path: Path, lines: list[str], said: str):
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_trace(path)


def test_a_line_in_the_middle_that_is_not_utf_8_is_refused(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(HEADER.encode() + b'\n{"event":"\xff"}\n' + HEADER.encode() + b"\n")
    with pytest.raises(InputError, match=r"trace\.jsonl:2: not JSON"):
        read_trace(path)


def test_a_missing_trace_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.jsonl: no such file"):
        read_trace(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("entered", [False, True], ids=["never-opened", "closed-again"])
def test_nothing_is_written_to_a_closed_trace(tmp_path: Path, entered: bool):
    trace = TraceWriter(tmp_path / "trace.jsonl")
    if entered:
        with trace:
            pass
    with pytest.raises(ValueError, match="the trace is closed: use it inside"):
        trace.write(event("program"))


kinds = st.sampled_from(["branch", "probe", "decision", "answer", "result"])
some_events = st.lists(st.tuples(kinds, st.sampled_from("abc"), st.text()), max_size=20)


@given(some_events)
def test_nothing_is_lost_however_programs_interleave(
    tmp_path_factory: pytest.TempPathFactory, some: list[tuple[str, str, str]]
):
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    rows = [event(kind, program, text=text, n=n) for n, (kind, program, text) in enumerate(some)]
    written(path, *rows)
    read = read_trace(path)
    for name in "abc":
        mine = [row for row in rows if row["program"] == name]
        program = read.get(name, ProgramTrace(name))
        for kind, found in (
            ("branch", program.branches),
            ("probe", program.probes),
            ("decision", program.decisions),
            ("answer", program.answers),
        ):
            assert [without_t(x) for x in found] == [x for x in mine if x["event"] == kind]
        results = [row for row in mine if row["event"] == "result"]
        assert (program.result and without_t(program.result)) == (results[-1] if results else None)
