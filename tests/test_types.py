"""The plain values: what they allow, and how deltas add up to a completion."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from dynasor_graph.types import Completion, Delta, Load, Request, Sampling, StopReason


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"temperature": 0}, id="greedy"),
        pytest.param({"temperature": 2}, id="hottest"),
        pytest.param({"top_p": 1}, id="all-of-the-mass"),
        pytest.param({"top_k": 0}, id="all-tokens"),
        pytest.param({"max_tokens": 1}, id="one-token"),
        pytest.param({"stop": ["\n\n", "."], "seed": 0}, id="stop-and-seed"),
    ],
)
def test_sampling_allows_the_ends_of_its_ranges(settings: dict[str, Any]):
    assert Sampling(**settings).model_dump(include=set(settings)) == {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("temperature", -0.1, id="negative-temperature"),
        pytest.param("temperature", 2.1, id="too-hot"),
        pytest.param("temperature", float("nan"), id="nan"),
        pytest.param("top_p", 0, id="no-mass"),
        pytest.param("top_p", 1.01, id="more-than-all"),
        pytest.param("top_k", -1, id="negative-top-k"),
        pytest.param("max_tokens", 0, id="no-tokens"),
        pytest.param("best_of", 3, id="unknown-field"),
    ],
)
def test_sampling_refuses_what_no_engine_takes(field: str, value: float):
    with pytest.raises(ValidationError, match=field):
        Sampling(**{field: value})


def test_sampling_is_a_value():
    assert Sampling(seed=1) == Sampling(seed=1)
    with pytest.raises(ValidationError, match="frozen"):
        Sampling().temperature = 1.0  # type: ignore[misc]


def test_requests_are_told_apart_by_identity():
    one, other = (Request(tokens=(1, 2), max_tokens=3) for _ in range(2))
    assert one != other
    assert len({one, other}) == 2


def test_a_load_is_a_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Load().running = 1  # type: ignore[misc]


deltas = st.lists(
    st.builds(
        Delta,
        token_ids=st.lists(st.integers(0, 99), max_size=4).map(tuple),
        text=st.text(max_size=4),
        count=st.integers(0, 5),
    )
)


@given(deltas)
def test_a_completion_is_all_its_deltas_and_terminated_until_one_says_otherwise(parts: list[Delta]):
    whole = Completion()
    for part in parts:
        whole.add(part)
    assert whole.token_ids == [token for part in parts for token in part.token_ids]
    assert whole.text == "".join(part.text for part in parts)
    assert whole.tokens == sum(part.count for part in parts)
    assert whole.finish_reason == "terminated"
    whole.add(Delta(count=1, finish_reason="stop", cached=7, logprob=-1.5))
    assert (whole.finish_reason, whole.cached, whole.logprob) == ("stop", 7, -1.5)
    assert whole.tokens == sum(part.count for part in parts) + 1


def test_two_completions_share_nothing():
    one, other = Completion(), Completion()
    one.add(Delta(token_ids=(1,)))
    assert other.token_ids == []


def test_a_stop_reason_is_written_as_its_word():
    assert [f"{reason}" for reason in StopReason] == [
        "certain",
        "finished",
        "tokens",
        "deadline",
        "rounds",
        "stopped",
    ]
    assert StopReason("deadline") is StopReason.DEADLINE
