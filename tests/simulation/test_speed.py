"""Speed: a value with limits that fit each other, by name or out of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dynasor_graph.errors import InputError, UnknownName
from dynasor_graph.simulation import SPEEDS, Speed, read_speed


def test_a_step_is_the_sum_of_what_is_in_it():
    speed = Speed(
        fixed=1.0,
        per_sequence=0.5,
        per_request=4.0,
        per_prompt_token=0.25,
        per_context_token=0.125,
    )
    assert speed.step(4) == 3.0
    assert speed.step(4, requests=1, prompt_tokens=8, context_tokens=16) == 3 + 4 + 2 + 2


def test_a_step_with_prompt_tokens_takes_longer_for_all_in_it():
    speed = Speed(fixed=1.0, mixed=0.5, per_mixed_sequence=0.25, max_num_seqs=16)
    assert speed.step(4) == 1.0
    assert speed.step(4, prompt_tokens=1) == 1.0 + 0.5 + 4 * 0.25
    assert speed.surcharge == 0.5 + 16 * 0.25


def test_a_file_holds_all_of_it(tmp_path: Path):
    speed = Speed(fixed=0.1, block=8, chunked_prefill=False, source="here")
    speed.write(tmp_path / "speed.json")
    assert read_speed(tmp_path / "speed.json") == speed


@pytest.mark.parametrize("name", SPEEDS)
def test_a_preset_says_where_it_comes_from(name: str):
    assert read_speed(name) == SPEEDS[name]
    assert "vllm" in SPEEDS[name].source.lower()


@pytest.mark.parametrize(
    ("batch", "seconds"),
    [pytest.param(1, 4.56e-3, id="1"), pytest.param(64, 5.06e-3, id="64"),
     pytest.param(256, 8.78e-3, id="256")],
)  # fmt: skip
def test_the_h200_decodes_as_it_was_measured(batch: int, seconds: float):
    # 128-token prompts, 128 new tokens: 192 tokens attended in the middle. Measured in another way than
    # the preset was, and on another day.
    step = SPEEDS["h200-7b"].step(batch, context_tokens=192 * batch)
    assert step == pytest.approx(seconds, rel=0.09)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"fixed": 0}, "takes no time", id="no-time"),
        pytest.param({"fixed": -1}, "fixed", id="negative"),
        pytest.param({"fixed": float("nan")}, "fixed", id="no-number"),
        pytest.param(
            {"fixed": 1, "max_num_batched_tokens": 8, "max_num_seqs": 9},
            "max_num_batched_tokens=8 is less than max_num_seqs=9",
            id="more-seats-than-tokens",
        ),
        pytest.param({"fixed": 1, "kv_tokens": 8, "block": 16}, "kv_tokens=8", id="no-block"),
        pytest.param({"fixed": 1, "seats": 3}, "seats", id="unknown"),
    ],
)
def test_a_speed_that_cannot_be_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Speed(**fields)


@pytest.mark.parametrize(
    ("kv_tokens", "chunked", "context"),
    [
        pytest.param(1000, True, 992, id="what-whole-blocks-hold"),
        pytest.param(10_000, False, 2048, id="what-one-step-computes"),
        pytest.param(1000, False, 992, id="the-less-of-both"),
    ],
)
def test_a_request_is_as_long_as_can_be_computed(kv_tokens: int, chunked: bool, context: int):
    speed = Speed(fixed=1.0, kv_tokens=kv_tokens, block=16, chunked_prefill=chunked)
    assert speed.context == context


def test_what_is_neither_a_preset_nor_a_file_is_named():
    with pytest.raises(UnknownName, match="h200-7b"):
        read_speed("h100")


def test_a_file_that_holds_something_else_is_named(tmp_path: Path):
    path = tmp_path / "speed.json"
    path.write_text('{"fixed": -2}')
    with pytest.raises(InputError, match=r"speed.json.*fixed"):
        read_speed(path)
