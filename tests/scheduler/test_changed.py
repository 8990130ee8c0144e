"""Changed: copies with one field of another value."""

from __future__ import annotations

import dataclasses

import pytest

from dynasor_graph.scheduler.changed import with_priority, with_queued
from dynasor_graph.types import Delta, Request

FULL = Request(
    tokens=(1, 2),
    max_tokens=3,
    temperature=0.1,
    top_p=0.2,
    top_k=4,
    stop=("x",),
    stop_token_ids=(5,),
    seed=6,
    chunk=7,
    priority=8,
    logprobs=True,
    program="p",
)


def test_a_request_differs_in_its_priority_alone():
    sent = with_priority(FULL, -9)
    assert dataclasses.asdict(sent) == {**dataclasses.asdict(FULL), "priority": -9}
    assert (type(sent), FULL.priority) == (Request, 8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sent.priority = 1  # type: ignore[misc]


def test_a_delta_differs_in_the_time_it_was_queued_alone():
    last = Delta(token_ids=(1,), text="a", count=2, finish_reason="stop", cached=3, logprob=-0.5)
    assert with_queued(last, 1.5) == dataclasses.replace(last, queued=1.5)
    assert last.queued == 0
