"""How much a key may have at a time, and how often it may ask."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dynasor_graph.server import Limits
from dynasor_graph.server.limits import Turnstile
from dynasor_graph.server.refusal import Refusal


def test_programs_at_a_time_are_counted_by_key_and_given_back():
    gate = Turnstile(Limits(concurrency=3))
    with gate.admit("ada", 2):
        with pytest.raises(Refusal) as refused, gate.admit("ada", 2):
            pass
        assert (refused.value.status, refused.value.retry_after) == (429, 1)
        with gate.admit("ada", 1), gate.admit("ben", 3):
            pass
    with pytest.raises(ZeroDivisionError), gate.admit("ada", 3):
        raise ZeroDivisionError
    with gate.admit("ada", 3):
        pass


def test_the_rate_is_a_minutes_worth_that_fills_up_again():
    now = 0.0
    gate = Turnstile(Limits(rate=60), clock=lambda: now)
    for _ in range(60):
        with gate.admit("ada", 1):
            pass
    with pytest.raises(Refusal) as refused, gate.admit("ada", 1):
        pass
    assert (refused.value.code, refused.value.retry_after) == ("rate_limit_exceeded", 1)
    now = 1.5
    with gate.admit("ada", 1):
        pass
    with pytest.raises(Refusal) as refused, gate.admit("ada", 1):
        pass
    assert refused.value.retry_after == pytest.approx(0.5)
    now = 10_000
    for _ in range(60):  # and no more than a minute's worth after a pause
        with gate.admit("ada", 1):
            pass
    with pytest.raises(Refusal), gate.admit("ada", 1):
        pass


@pytest.mark.parametrize("limits", [{"rate": 0}, {"seconds": 0}, {"choices": -1}, {"foo": 1}])
def test_limits_that_are_none_are_refused(limits):
    with pytest.raises(ValidationError):
        Limits.model_validate(limits)
