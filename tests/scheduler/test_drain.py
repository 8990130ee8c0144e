"""Drain: a rate with a fading memory."""

from __future__ import annotations

import pytest

from dynasor_graph.scheduler.drain import MEMORY, Drain


@pytest.mark.parametrize("seconds", [5, 30, 300])
@pytest.mark.parametrize("rate", [2, 50])
def test_a_steady_rate_is_found_however_long_it_lasted(rate: int, seconds: int):
    drain = Drain()
    for i in range(rate * seconds):
        drain.count(100 + i / rate)
    assert drain.rate(100.0 + seconds) == pytest.approx(rate, rel=0.1)


def test_nothing_is_known_before_time_has_passed():
    drain = Drain()
    assert drain.rate(5.0) == 0
    drain.count(5.0)
    assert drain.rate(5.0) == 0


def test_what_was_long_ago_fades():
    drain = Drain()
    for i in range(100):
        drain.count(i / 10)
    assert drain.rate(10.0 + 5 * MEMORY) < 0.05
