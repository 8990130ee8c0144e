"""Following: the limit that follows from an engine's load, on a clock that jumps."""

from __future__ import annotations

import asyncio

import pytest

from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.scheduler import Scheduled, order_named
from tests.scheduler.batch import BatchEngine, ask, waiting


def test_the_limit_finds_the_seats_of_the_engine_and_keeps_the_queue():
    async def main() -> None:
        batch = BatchEngine(seats=200)
        engine = Scheduled(batch)
        async with waiting(engine, *(ask(tokens=10) for _ in range(2000))):
            await asyncio.sleep(5)
            load = await batch.load()
            assert load.running == 200
            await asyncio.sleep(25)
            load = await batch.load()
            assert load.running == 200
            assert 1 <= load.waiting <= 13
            assert 200 < engine.counts.limit <= 213
            assert (await engine.load()).waiting == load.waiting + engine.counts.waiting
        # 100 s of work, 5 readings a second at the most, none when nothing waits any more.
        assert batch.loads < 520
        before = batch.loads
        await asyncio.sleep(100)
        assert batch.loads == before

    run_virtual(main())


def test_an_engine_that_says_how_many_fit_is_full_from_the_first_moment():
    class Seated(BatchEngine):
        seats = 200

    async def main() -> int:
        batch = Seated(seats=200)
        engine = Scheduled(batch)
        async with waiting(engine, *(ask(tokens=10) for _ in range(2000))):
            return (await batch.load()).running

    assert run_virtual(main()) == 200


@pytest.mark.parametrize(
    ("limit", "blind", "kv_usage", "most"),
    [
        pytest.param(5, False, 0.0, 5, id="fixed"),
        pytest.param(None, True, 0.0, 64, id="no-load-reported"),
        pytest.param(None, False, 0.93, 64, id="cache-short"),
    ],
)
def test_the_limit_stays_where_the_load_gives_no_reason(
    limit: int | None, blind: bool, kv_usage: float, most: int
):
    async def main() -> int:
        batch = BatchEngine(seats=1000)
        batch.blind, batch.kv_usage = blind, kv_usage
        engine = Scheduled(batch, limit=limit)
        async with waiting(engine, *(ask(tokens=2) for _ in range(300))):
            pass
        return batch.most

    assert run_virtual(main()) == most


def test_when_the_cache_is_short_programs_that_have_begun_go_first():
    async def main() -> list[str]:
        batch = BatchEngine(seats=1)
        batch.kv_usage = 0.95
        engine = Scheduled(batch, order_named("sjf", phi=None), limit=1)
        engine.tell("long", remaining=50, mean_tokens=100)
        engine.tell("short", remaining=1, mean_tokens=2)
        async with (
            waiting(engine, *(ask("long", 2) for _ in range(3))),
            waiting(engine, ask("short", 2)),
        ):
            pass
        return [request.program for request in batch.served]

    assert run_virtual(main()) == ["long", "long", "long", "short"]
