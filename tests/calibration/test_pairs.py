"""Pairs: the threshold that is chosen, what is measured, and what is said to bad files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynasor_graph.answers import Embedding, Judge, read_kind
from dynasor_graph.answers.embedding import Embedded
from dynasor_graph.calibration import Pair, read_pairs, separate
from dynasor_graph.cli import main
from dynasor_graph.errors import ConfigError, InputError


class Plane(Embedding):
    """Answers are degrees: the similarity of two is the cosine of what lies between them."""

    async def form(self, answer: str) -> Embedded | None:
        angle = np.radians(float(answer))
        return Embedded(answer, np.array([np.cos(angle), np.sin(angle)]))


def drawn(same: tuple[int, int], different: tuple[int, int], count: int = 40) -> list[Pair]:
    """Pairs of angles as far apart as these ranges say, most of them at the far ends."""
    draw = random.Random(0)
    ends = {True: (*same, same[0]), False: (*different, different[1])}
    return [
        Pair("0", str(draw.triangular(*ends[label])), label) for label in ends for _ in range(count)
    ]


def test_where_both_labels_lie_apart_the_threshold_lies_in_the_gap_and_nothing_is_wrong():
    found = separate(drawn((0, 20), (60, 90)), Plane())
    assert np.cos(np.radians(60)) < found.kind["threshold"] < np.cos(np.radians(20))
    assert (found.merges.wrong, found.splits.wrong) == (0, 0)
    assert (found.merges.of, found.splits.of, found.fitted) == (20, 20, 40)
    # The rule of three: none of 20 says less than 17 %, exactly.
    assert found.merges.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert found.close == 0


def test_where_they_overlap_both_rates_are_measured_on_pairs_it_was_not_chosen_on():
    pairs = drawn((0, 60), (20, 90), count=800)
    found = separate(pairs, Plane(fragile=0.1))
    threshold = found.kind["threshold"]
    angle = np.degrees(np.arccos(threshold))
    assert found.splits.rate == pytest.approx(((60 - angle) / 60) ** 2, abs=0.05)
    assert found.merges.rate == pytest.approx(((angle - 20) / 70) ** 2, abs=0.05)
    for rate in (found.merges, found.splits):
        assert rate.low < rate.rate < rate.high
    assert found.close > 0.1
    assert separate(pairs, Plane(fragile=0.1)) == found
    assert separate(pairs, Plane(), seed=1).kind != found.kind


def test_the_threshold_that_the_kind_came_with_does_not_matter():
    pairs = drawn((0, 20), (60, 90))
    assert separate(pairs, Plane(threshold=0.1)).kind == separate(pairs, Plane()).kind


def test_a_kind_without_a_threshold_is_measured_on_all_pairs():
    pairs = [Pair("1/2", "0.5", True)] * 9 + [Pair("a", "b", True)] + [Pair("1", "2", False)] * 10
    found = separate(pairs, read_kind("math"))
    assert (found.splits.wrong, found.splits.of, found.merges.wrong, found.fitted) == (1, 10, 0, 0)
    assert found.kind == {"kind": "math"}


def test_what_is_no_answer_equals_nothing():
    found = separate([Pair("x", "x", True)] * 10 + [Pair("1", "x", False)] * 10, read_kind("json"))
    assert (found.splits.rate, found.merges.rate) == (1, 0)


def test_a_judge_has_no_engine_here():
    with pytest.raises(ConfigError, match="a judge asks the engine"):
        separate(drawn((0, 1), (2, 3)), Judge())


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in rows))
    return path


GOOD = [{"a": "1", "b": "1.0", "same": True}, {"a": "1", "b": "2", "same": False}] * 10


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([*GOOD, "{"], r"pairs.jsonl:21: not JSON", id="json"),
        pytest.param([*GOOD, [1]], r":21: not a JSON object, but list", id="object"),
        pytest.param([{"a": "1", "same": True}], r":1: the field 'b' must be a text", id="field"),
        pytest.param([{"a": "1", "b": "2", "same": 1}], r"'same' must be a bool, got 1", id="bool"),
        pytest.param(GOOD[:18], "9 pairs that are the same and 9 that are not", id="too-few"),
    ],
)
def test_a_file_that_holds_no_pairs_says_where_and_what(
    tmp_path: Path, rows: list[Any], message: str
):
    with pytest.raises(InputError, match=message):
        read_pairs(written(tmp_path / "pairs.jsonl", rows))
    with pytest.raises(InputError, match="no such file"):
        read_pairs(tmp_path / "other.jsonl")


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def test_the_command_prints_both_mistakes(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = str(written(tmp_path / "pairs.jsonl", GOOD))
    assert call("equivalence", path, "--answers", "math") == 0
    out, _ = capfd.readouterr()
    assert "math on 20 pairs" in out
    assert "0 of 10" in out
    assert call("equivalence", path, "--answers", "number:tolerance=0.6", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["merges"]["wrong"] == 10
    assert told["kind"] == {"kind": "number", "tolerance": 0.6}
    assert call("equivalence", path, "--answers", "maths") == 2
    assert "did you mean 'math'" in capfd.readouterr().err
