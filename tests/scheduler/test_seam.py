"""The seam: programs tell whoever orders the requests, or nobody."""

from __future__ import annotations

import pytest

from dynasor_graph.engine import Engine, FakeEngine
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.errors import ConfigError
from dynasor_graph.scheduler import UNSCHEDULED, Scheduled, Scheduler, scheduler_of


def test_a_scheduled_engine_is_told_and_another_is_not():
    scheduled = Scheduled(FakeEngine())
    assert isinstance(scheduled, Engine)
    assert isinstance(scheduled, Scheduler)
    assert scheduler_of(scheduled) is scheduled
    assert scheduler_of(FakeEngine()) is UNSCHEDULED


def test_who_is_not_scheduled_is_told_in_vain():
    UNSCHEDULED.tell("p", algorithm="cot", remaining=3, deadline=9.0)
    UNSCHEDULED.forget("p")
    assert scheduler_of(FakeEngine()) is UNSCHEDULED


def test_a_scheduled_engine_keeps_what_it_is_told_until_it_is_to_forget():
    async def main() -> None:
        scheduled = Scheduled(FakeEngine())
        scheduled.tell("p", algorithm="cot", remaining=3)
        assert scheduled.counts.programs == 1
        with pytest.raises(ConfigError, match="remaining"):
            scheduled.tell("p", remaining=-3)
        scheduled.forget("p")
        assert scheduled.counts.programs == 0

    run_virtual(main())
