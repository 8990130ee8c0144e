"""`dynasor-graph report`: runs side by side, out of their traces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynasor_graph.cli import main
from dynasor_graph.policies import in_short


def call(*arguments: str) -> int:
    """Run the command line in this process; its exit status."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs over the same questions."""
    monkeypatch.chdir(tmp_path)
    rows = [{"id": name, "question": f"{name}?", "answer": "42"} for name in "abc"]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for policy in ("fixed", "beta"):
        assert call("run", "q.jsonl", "-e", "fake", "-p", policy, "-o", f"{policy}.jsonl") == 0
    return tmp_path


def test_runs_are_compared_and_the_page_is_written(
    apart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call("report", "fixed.trace.jsonl", "beta.trace.jsonl", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["policy"] for row in told["rows"]] == ["fixed", "beta"]
    assert told["rows"][1]["saved"] > 0.5, "four of twenty branches settle it"
    assert told["rows"][1]["accuracy"] == 1.0
    assert (apart / told["report"]).read_text().count("<svg") > 2


@pytest.mark.parametrize(
    ("traces", "message"),
    [
        pytest.param(["nowhere.jsonl"], "nowhere.jsonl: no such file", id="missing"),
        pytest.param(["q.jsonl"], "q.jsonl: not a trace", id="no trace"),
        pytest.param(["open.jsonl"], "not one program came to its end", id="nothing ended"),
        pytest.param(["both.jsonl"], "holds different runs: self_consistency", id="two runs"),
        pytest.param(
            ["fixed.trace.jsonl", "part.jsonl"],
            "not asked the same questions",
            id="other questions",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(
    apart: Path, traces: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed, beta = (
        [json.loads(line) for line in Path(f"{name}.trace.jsonl").read_text().splitlines()]
        for name in ("fixed", "beta")
    )
    renamed = [{**event, "program": f"{event['program']}2"} for event in beta[1:]]
    part = [event for event in beta if event.get("program", "a") == "a"]
    for name, events in (("open", fixed[:2]), ("both", [*fixed, *renamed]), ("part", part)):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert call("report", *traces) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "short"),
    [
        pytest.param("beta", "beta", id="a name stays"),
        pytest.param("sc-math", "sc-math", id="a preset stays"),
        pytest.param({"rule": "beta", "confidence": 0.9}, "beta:confidence=0.9", id="parameters"),
        pytest.param({"rule": "beta", "confidence": 0.95}, "beta", id="defaults are left out"),
        pytest.param(
            {"rule": "skyline", "points": [[0.5, 8]], "at": 4}, "skyline:at=4", id="tables"
        ),
        pytest.param(
            {"rule": "all-of", "policies": [{"rule": "beta"}, {"rule": "esc", "window": 3}]},
            "beta & esc:window=3",
            id="combination",
        ),
    ],
)
def test_a_policy_in_short(spec: str | dict[str, object], short: str) -> None:
    assert in_short(spec) == short
