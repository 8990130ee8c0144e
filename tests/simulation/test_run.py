"""Run: a machine on a virtual clock, and the replay engine on it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from dynasor_graph.engine import complete
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.errors import ConfigError, EngineError, PromptTooLong
from dynasor_graph.questions import Question
from dynasor_graph.recordings import Recorded, Sample, synthetic
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.runner import Runner
from dynasor_graph.simulation import Speed
from dynasor_graph.types import Completion, Delta, Load, Request

T = TypeVar("T")
SPEED = Speed(fixed=1.0, max_num_seqs=2, block=4)


def engine(*tokens: int, speed: Speed = SPEED) -> ReplayEngine:
    """One question with a sample for each number of tokens."""
    samples = tuple(Sample("1", n) for n in tokens)
    return ReplayEngine([Recorded("q", samples)], machine=speed)


async def request(one: ReplayEngine, **more: Any) -> Request:
    tokens = tuple(await one.encode("q"))
    settings: dict[str, Any] = {"tokens": tokens, "max_tokens": 100} | more
    return Request(**settings)


async def timed(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """What it came to, and when."""
    return await work, asyncio.get_running_loop().time()


async def deltas_of(one: ReplayEngine, asked: Request) -> list[tuple[float, Delta]]:
    clock = asyncio.get_running_loop().time
    async with aclosing(one.stream(asked)) as deltas:
        return [(clock(), delta) async for delta in deltas]


def test_requests_of_one_moment_share_their_steps_and_the_others_wait_for_seats():
    async def main() -> list[float]:
        one = engine(3, 5, 4)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(timed(complete(one, await request(one)))) for _ in range(3)]
            await asyncio.sleep(1.5)
            load = await one.load()
            assert (load.running, load.waiting, load.generated) == (2, 1, 2)
        assert (await one.load()).running == 0
        return [task.result()[1] for task in tasks]

    assert run_virtual(main()) == pytest.approx([3.0, 5.0, 7.0])


def test_the_lower_priority_number_gets_the_next_seat():
    async def main() -> list[int]:
        one = engine(3, 3, 3, 3, speed=SPEED.model_copy(update={"max_num_seqs": 1}))
        ended: list[int] = []

        async def ask(priority: int) -> None:
            await complete(one, await request(one, priority=priority))
            ended.append(priority)

        async with asyncio.TaskGroup() as group:
            for priority in (7, 5, 6, -1):
                group.create_task(ask(priority))
        return ended

    assert run_virtual(main()) == [-1, 5, 6, 7]


def test_deltas_come_by_the_chunk_at_the_ends_of_steps():
    async def main() -> list[tuple[float, int]]:
        one = engine(10)
        found = await deltas_of(one, await request(one, chunk=4))
        assert [delta.finish_reason for _, delta in found] == [None, None, "stop"]
        return [(round(at, 6), delta.count) for at, delta in found]

    assert run_virtual(main()) == [(4.0, 4), (8.0, 4), (10.0, 2)]


@pytest.mark.parametrize("chunk", [0, 4])
@pytest.mark.parametrize(("at", "tokens"), [(0.5, 0), (6.0, 6), (6.5, 6)])
def test_an_aborted_request_keeps_what_was_made(at: float, tokens: int, chunk: int):
    async def main() -> tuple[Completion, Load]:
        one = engine(10)
        asked = await request(one, chunk=chunk)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(complete(one, asked))
            await asyncio.sleep(at)
            await one.abort(asked)
        return reading.result(), await one.load()

    whole, load = run_virtual(main())
    assert (whole.tokens, whole.finish_reason) == (tokens, "terminated")
    assert (load.generated, load.running) == (tokens, 0)


def test_a_reader_that_leaves_gives_its_seat_to_the_next():
    async def main() -> float:
        one = engine(50, 50, 3)
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(complete(one, await request(one)))
            staying = group.create_task(complete(one, await request(one)))
            last = group.create_task(timed(complete(one, await request(one))))
            await asyncio.sleep(2.5)
            leaving.cancel()
        assert staying.result().tokens == 50
        return last.result()[1]

    assert run_virtual(main()) == pytest.approx(6.0)


def test_the_prefix_cache_finds_whole_blocks_of_the_prompt():
    async def main() -> list[int]:
        one = ReplayEngine([Recorded("q" * 40, (Sample("1", 3), Sample("1", 3)))], machine=SPEED)
        tokens = tuple(await one.encode("q" * 40))
        assert len(tokens) == 10
        assert one.block == 4
        asked = [Request(tokens=tokens, max_tokens=9) for _ in range(2)]
        found = [(await complete(one, each)).cached for each in asked]
        assert (await one.load()).prompt_computed == 12
        return found

    assert run_virtual(main()) == [0, 8]


def test_what_the_kv_cache_cannot_hold_is_refused():
    async def main() -> None:
        one = engine(10, speed=Speed(fixed=1.0, kv_tokens=64))
        assert one.context == 64
        with pytest.raises(PromptTooLong):
            await complete(one, await request(one))

    run_virtual(main())


def test_two_timings_are_refused():
    with pytest.raises(ConfigError, match="seconds=True and machine"):
        ReplayEngine([], seconds=True, machine=SPEED)


def test_a_second_event_loop_is_refused():
    one = engine(3, 3)

    async def main() -> None:
        await complete(one, await request(one))

    run_virtual(main())
    with pytest.raises(EngineError, match="one event loop"):
        run_virtual(main())


# Programs --------------------------------------------------------------------------------------


def latencies(speed: Speed | None, policy: str = "fixed") -> tuple[list[float], Load]:
    """Of programs of 8 branches, all at once."""
    recorded = synthetic(6, samples=8, tokens=40, seed=2)

    async def main() -> tuple[list[float], Load]:
        one = ReplayEngine(recorded, tokens_per_second=1.0, machine=speed)
        runner = Runner(
            engine=one,
            policy=policy,
            branches=8,
            budget={"concurrency": 4},
            sampling={"max_tokens": one.longest},
        )
        asked = [Question(id=row.id, text=row.question or "") for row in recorded]
        async with aclosing(runner.run(asked)) as results:
            found = {result.id: result async for result in results}
        assert not any(result.error for result in found.values())
        load = await one.load()
        assert load.generated == sum(result.usage.generated for result in found.values())
        assert load.running == load.waiting == 0
        return [found[row.id].latency_s for row in recorded], load

    return run_virtual(main())


def test_with_seats_for_all_it_is_as_fast_as_one_speed_for_each():
    alone, _ = latencies(None)
    together, _ = latencies(Speed(fixed=1.0))
    assert together == pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize("policy", ["fixed", "beta:confidence=0.8"])
def test_programs_end_later_with_fewer_seats_and_less_room(policy: str):
    free, _ = latencies(Speed(fixed=1.0), policy)
    seats, _ = latencies(Speed(fixed=1.0, max_num_seqs=6), policy)
    room, load = latencies(Speed(fixed=1.0, kv_tokens=480), policy)
    assert sum(seats) > 1.5 * sum(free)
    assert sum(room) > 1.2 * sum(free)
    assert load.kv_usage == 0


def test_a_run_repeats_itself():
    speed = Speed(fixed=1.0, per_sequence=0.1, max_num_seqs=6, kv_tokens=480)
    assert latencies(speed) == latencies(speed)
