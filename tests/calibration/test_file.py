"""Policy files: written and read back, and where their bound does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from dynasor_graph.calibration import BelongsTo, Bound, PolicyFile, read_policy_file
from dynasor_graph.errors import InputError
from dynasor_graph.policies import Beta, read_policy

BOUND = Bound(goal="right", max_loss=0.01, confidence=0.95, loss=0.002, spent=0.4, questions=500)
BELONGS = BelongsTo(
    models=("abacus-7m",),
    datasets=("abacus-test",),
    temperatures=(0.7,),
    algorithm="self_consistency",
    cap=8,
    window=4,
)
EVIDENCE = {"policy": "beta:confidence=0.9", "parameter": 0.9, "loss": -0.01, "p_value": 0.001}


def told(**more: Any) -> PolicyFile:
    return PolicyFile(
        policy=Beta(confidence=0.9).model_dump(mode="json"),
        bound=BOUND,
        belongs_to=BELONGS.model_copy(update=more),
        evidence=(EVIDENCE,),
        made="2026-11-23",
    )


def test_a_file_is_read_back_and_names_a_policy(tmp_path: Path) -> None:
    path = tmp_path / "of" / "mine" / "policy.json"
    told().write(path)
    assert read_policy_file(path) == told()
    assert read_policy(str(path)) == Beta(confidence=0.9)
    assert [file.name for file in path.parent.iterdir()] == ["policy.json"]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text("x" * 10_000)
    told().write(path)
    told(cap=9).write(path)
    assert read_policy_file(path).belongs_to.cap == 9


def test_equal_files_have_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    told().write(one)
    read_policy_file(one).write(two)
    assert one.read_bytes() == two.read_bytes()


shares = st.floats(0, 1)
files = st.builds(
    PolicyFile,
    policy=st.just({"rule": "beta"}) | st.dictionaries(st.text(), st.integers() | st.text()),
    bound=st.builds(
        Bound,
        goal=st.sampled_from(["right", "same"]),
        max_loss=shares,
        confidence=shares,
        loss=st.floats(-1, 1),
        spent=shares,
        questions=st.integers(1, 9999),
    ),
    belongs_to=st.builds(
        BelongsTo,
        models=st.lists(st.text(), max_size=2).map(tuple),
        datasets=st.lists(st.text(), max_size=2).map(tuple),
        temperatures=st.lists(st.floats(0, 2), max_size=2).map(tuple),
        algorithm=st.text(),
        cap=st.none() | st.integers(1, 99),
        window=st.none() | st.integers(1, 99),
    ),
    evidence=st.lists(st.just(EVIDENCE), max_size=2).map(tuple),
    made=st.text(),
)


@given(files)
def test_every_file_survives_writing(
    tmp_path_factory: pytest.TempPathFactory, file: PolicyFile
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    file.write(path)
    assert read_policy_file(path) == file


RUN: dict[str, Any] = {
    "model": "abacus-7m",
    "algorithm": "self_consistency",
    "temperature": 0.7,
    "cap": 8,
    "window": 4,
}


@pytest.mark.parametrize(
    ("belongs", "run", "said"),
    [
        pytest.param({}, {}, [], id="as certified"),
        pytest.param({}, {"model": "x"}, ["model is x, certified for abacus-7m"], id="model"),
        pytest.param(
            {"models": ("a", "b")}, {"model": "c"}, ["model is c, certified for a, b"], id="models"
        ),
        pytest.param({"models": ("a", "b")}, {"model": "b"}, [], id="one of its models"),
        pytest.param({"models": ()}, {"model": "x"}, [], id="model not recorded"),
        pytest.param(
            {},
            {"algorithm": "rebase"},
            ["algorithm is rebase, certified for self_consistency"],
            id="algorithm",
        ),
        pytest.param(
            {}, {"temperature": 1.0}, ["temperature is 1.0, certified for 0.7"], id="temperature"
        ),
        pytest.param({"temperatures": ()}, {"temperature": 1.0}, [], id="temperature unknown"),
        pytest.param(
            {"temperatures": (0.0,)},
            {"temperature": 0.7},
            ["temperature is 0.7, certified for 0.0"],
            id="temperature 0 is known",
        ),
        pytest.param({}, {"cap": 9}, ["branches is 9, certified for 8"], id="cap"),
        pytest.param({}, {"cap": None}, [], id="the run has no cap"),
        pytest.param({"cap": None}, {"cap": 9}, [], id="certified without a cap"),
        pytest.param({}, {"window": 1}, ["window is 1, certified for 4"], id="window"),
        pytest.param({}, {"window": None}, [], id="the run has no window"),
        pytest.param({"window": None}, {"window": 9}, [], id="certified without a window"),
        pytest.param(
            {},
            {"window": 5, "cap": 9, "model": "x"},
            [
                "model is x, certified for abacus-7m",
                "branches is 9, certified for 8",
                "window is 5, certified for 4",
            ],
            id="all of them",
        ),
    ],
)
def test_where_the_bound_does_not_hold(
    belongs: dict[str, Any], run: dict[str, Any], said: list[str]
) -> None:
    assert told(**belongs).mismatches(**RUN | run) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "no such file", id="missing"),
        pytest.param("{broken", "no policy file", id="broken-json"),
        pytest.param("", "no policy file", id="empty"),
        pytest.param("[]", "policy file: .*got \\[\\]", id="a-list"),
        pytest.param('{"rule": "beta"}', "policy: Field required; bound: Field", id="bare-rule"),
        pytest.param('{"more": 1}', "more: Extra inputs are not permitted", id="a-field-too-many"),
        pytest.param(
            '{"policy": {}, "bound": {"goal": 5}}', "bound.goal: .*string, got 5", id="inside"
        ),
    ],
)
def test_what_is_no_policy_file_is_an_input_error(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"x.json: .*{said}"):
        read_policy_file(path)


def test_bytes_that_are_no_text_and_folders_are_input_errors(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "x.json", tmp_path):
        with pytest.raises(InputError, match="no policy file"):
            read_policy_file(path)


def test_a_file_is_a_value() -> None:
    assert told() == told()
    assert told() != told(cap=9)
    with pytest.raises(ValidationError, match="frozen"):
        told().made = "today"  # type: ignore[misc]
