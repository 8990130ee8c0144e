"""Recordings: a round trip, what a trace turns into, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

import dynasor_graph as dg
from dynasor_graph.abacus import RECORDED, dataset, recording_path
from dynasor_graph.errors import InputError
from dynasor_graph.recordings import (
    Probed,
    Recorded,
    Sample,
    from_trace,
    read_recording,
    spelled_equally,
    write_recording,
)
from dynasor_graph.runner import Runner
from dynasor_graph.trace import TraceWriter

texts = st.text(max_size=8)
samples = st.builds(
    Sample,
    answer=st.none() | texts,
    tokens=st.integers(0, 10**6),
    correct=st.none() | st.booleans(),
    logprob=st.none() | st.floats(-9, 0).map(lambda value: round(value, 4) + 0.0),
    probes=st.lists(
        st.builds(Probed, st.integers(0, 999), st.none() | texts, st.none() | st.floats(0, 1)),
        max_size=3,
    ).map(tuple),
    reward=st.none() | st.floats(0, 1).map(lambda value: round(value, 4) + 0.0),
    seconds=st.none() | st.floats(0, 99).map(lambda value: round(value, 4) + 0.0),
)
rows = st.lists(
    st.builds(
        Recorded,
        id=st.text(min_size=1, max_size=8),
        samples=st.lists(samples, max_size=4).map(tuple),
        dataset=texts,
        model=texts,
        temperature=st.none() | st.floats(0, 2),
        question=st.none() | texts,
        gold=st.none() | texts,
    ),
    max_size=4,
)


@pytest.fixture(params=["samples.jsonl", "samples.jsonl.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_what_is_written_is_read_back(path: Path) -> None:
    @given(rows)
    def check(some: list[Recorded]) -> None:
        write_recording(path, some)
        assert read_recording(path) == some

    check()


def test_equal_rows_give_equal_bytes(path: Path) -> None:
    some = [Recorded(id="1", samples=(Sample("4", 9, correct=True),))]
    write_recording(path, some)
    first = path.read_bytes()
    write_recording(path, some)
    assert path.read_bytes() == first


def test_what_a_sample_lacks_is_left_out() -> None:
    assert Sample("4", 9).to_json() == {"answer": "4", "tokens": 9, "correct": None}
    assert "-0.0" not in json.dumps(Sample("4", 9, logprob=-1e-9).to_json())


def test_rows_of_other_sources_are_read(path: Path) -> None:
    """The least that a recording of somebody else has: an id, and samples."""
    line = {"id": 7, "samples": [{"answer": None, "tokens": 3, "correct": False, "score": 1}]}
    data = json.dumps(line).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    assert read_recording(path) == [Recorded(id="7", samples=(Sample(None, 3, correct=False),))]


def sample(fields: str) -> str:
    """A line with one sample of these fields."""
    return '{"id": 1, "samples": [{"answer": "4", ' + fields + "}]}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "no question with samples", id="no-json"),
        pytest.param("[]", "no question with samples", id="no-object"),
        pytest.param('{"samples": []}', "field 'id' is missing", id="no-id"),
        pytest.param('{"id": 1, "samples": [{"answer": "4"}]}', "'tokens' is missing", id="tokens"),
        pytest.param('{"id": 1, "samples": 3}', "no question with samples", id="samples"),
        pytest.param(sample('"tokens": -1'), "'tokens' must be a whole number", id="minus"),
        pytest.param(sample('"tokens": "9"'), "'tokens' must be a whole number", id="text"),
        pytest.param(sample('"tokens": 9, "correct": 1'), "'correct' must be true", id="verdict"),
        pytest.param(sample('"tokens": 9, "reward": 7.5'), "'reward' must be in", id="reward"),
        pytest.param(sample('"tokens": 9, "logprob": "x"'), "'logprob' must be a num", id="logp"),
        pytest.param('{"id": 1, "samples": [{"answer": [], "tokens": 1}]}', "'answer'", id="list"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"id": 0, "samples": []}\n' + line + "\n")
    with pytest.raises(InputError, match=rf"r\.jsonl:2: .*{message}"):
        read_recording(path)


@pytest.mark.parametrize("read", [read_recording, lambda path: list(from_trace(path))])
def test_a_missing_file_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: no such file"):
        read(tmp_path / "nowhere.jsonl")


def test_a_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"event": "trace", "schema": 1}\n{"programme": 1}\n')
    with pytest.raises(InputError, match=r"t\.jsonl:2: no event of a trace"):
        list(from_trace(path))


def test_a_torn_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl.gz"
    write_recording(path, [Recorded(id=str(i), samples=()) for i in range(99)])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"r\.jsonl\.gz: not a whole gzip file"):
        read_recording(path)


def test_without_a_verdict_the_answer_is_compared_with_gold(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    samples = [{"answer": answer, "tokens": 9} for answer in (4, "5")]
    path.write_text(json.dumps({"id": 1, "gold": 4, "samples": samples}))
    (row,) = read_recording(path)
    assert [one.correct for one in row.samples] == [True, False]


async def record(path: Path, engine: dg.FakeEngine, algorithm: str, **settings: Any) -> None:
    asked = [dg.Question(id=name, text=f"{name}?", gold="4") for name in ("a", "b")]
    with TraceWriter(path) as trace:
        runner = Runner(algorithm, engine=engine, on_event=trace.write, **settings)
        async for _ in runner.run(asked):
            pass


@pytest.mark.anyio
async def test_branches_become_samples_in_the_order_of_their_launch(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    script = [r"\boxed{4}", r"so \boxed{5}", r"\boxed{4}"]
    async with dg.FakeEngine(script) as engine:
        await record(path, engine, "self_consistency", policy="fixed", branches=3, logprobs=True)
    found = dict(from_trace(path))
    assert read_recording(path) == list(found.values()), "a trace is a recording"
    assert found.keys() == {"a", "b"}
    assert [sample.answer for sample in found["a"].samples] == ["4", "5", "4"]
    assert [sample.correct for sample in found["a"].samples] == [True, False, True]
    assert all(sample.tokens and sample.logprob is not None for sample in found["a"].samples)
    assert (found["a"].question, found["a"].gold) == ("a?", "4")


def test_equal_answers_are_spelled_as_the_first_of_them() -> None:
    told = ["1/2", None, "0.5", "2", "\\frac{1}{2}"]
    assert spelled_equally(told) == ["1/2", None, "1/2", "2", "1/2"]


def test_a_program_that_did_not_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    events: list[dict[str, Any]] = [
        {"event": "trace", "schema": 1},
        {"event": "program", "program": "a", "settings": {"sampling": {"temperature": 1}}},
        {"event": "result", "program": "b", "error": None},
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert list(from_trace(path)) == []


def test_a_chain_is_one_sample_with_its_probes(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    branch = {"event": "branch", "program": "a", "index": 0, "answer": None, "finish": "stop"}
    events: list[dict[str, Any]] = [
        {"event": "trace", "schema": 1},
        {
            "event": "program",
            "program": "a",
            "question": "a?",
            "gold": "4",
            "model": "m",
            "settings": {"sampling": {"temperature": 0.7}},
        },
        {"event": "probe", "program": "a", "at": 64, "answer": None},
        {"event": "probe", "program": "a", "at": 128, "answer": "4.0"},
        {"event": "probe", "program": "a", "at": 192, "answer": "5"},
        {**branch, "tokens": 30, "logprob": -0.1},
        {**branch, "tokens": 10, "logprob": -0.5},
        {
            "event": "result",
            "program": "a",
            "answer": "4",
            "correct": True,
            "usage": {"main": 41},
            "error": None,
        },
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    ((_, found),) = from_trace(path)
    (sample,) = found.samples
    assert (sample.answer, sample.tokens, sample.correct) == ("4", 41, True)
    assert sample.logprob == pytest.approx(-0.2)
    # Equal answers are spelled equally: replay compares them by their spelling.
    assert sample.probes == (Probed(64, None), Probed(128, "4"), Probed(192, "5"))


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in RECORDED.items() for kind in kinds]
)
def test_the_bundled_recordings_fit_their_questions(name: str, kind: str) -> None:
    recorded = read_recording(recording_path(name, kind))
    asked = {question.id: question for question in dataset(name)}
    assert [row.id for row in recorded] == list(asked)[:: 3 if kind == "think-groups" else 1]
    for row in recorded:
        assert (row.question, row.gold) == (asked[row.id].question, asked[row.id].answer)
        assert row.model == "abacus-7m"
        assert row.temperature == 0.7
        for sample in row.samples:
            assert sample.tokens
            assert sample.logprob is not None
            assert sample.correct == (sample.answer == row.gold)
            assert (sample.confidence is not None) == kind.endswith("groups")
            assert bool(sample.probes) <= (kind == "think")
            if kind == "think" and sample.tokens > 128:
                assert sample.probes, "a trace waits for its probes"
                assert all(0 < at < sample.tokens for at, _, _ in sample.probes)
    assert {len(row.samples) for row in recorded} == {40}
