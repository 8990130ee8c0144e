"""Scheduled: an engine in front of an engine, on a clock that jumps."""

from __future__ import annotations

import asyncio
import math
import random
import statistics
from collections.abc import Callable, Mapping
from contextlib import aclosing

import pytest

from dynasor_graph.engine import FakeEngine, complete
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.errors import ConfigError, EngineDied, EngineError, Overloaded, PromptTooLong
from dynasor_graph.scheduler import Admission, Order, Scheduled, Standing, order_named
from dynasor_graph.types import Completion, Request
from tests.scheduler.batch import BatchEngine, ask, now, waiting

# The paper's example -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "mean"),
    [
        pytest.param("gang", 6.5, id="gang"),
        pytest.param("program-fifo", 6.5, id="program-fifo"),
        pytest.param("sjf", 6.5, id="sjf"),
        pytest.param("fcfs", 9.0, id="interleaved"),
    ],
)
def test_two_programs_of_two_requests_in_a_batch_of_two(order: str, mean: float):
    """Appendix D.3.1: P1 takes 4 ms a request, P2 5 ms; mean latency 6.5 ms in gangs, else 9 ms."""

    async def main() -> float:
        engine = Scheduled(BatchEngine(seats=2), order, limit=2)
        ends: dict[str, float] = {}

        async def one(program: str, tokens: int) -> None:
            await complete(engine, ask(program, tokens))
            ends[program] = now()

        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(one("P1", 4))
                group.create_task(one("P2", 5))
        return statistics.mean(ends.values())

    assert run_virtual(main()) == pytest.approx(mean)


# Programs on a batch -----------------------------------------------------------------------------


Work = list[tuple[float, str, str, int, int]]
"""Programs: when each comes, its name, its tenant, how many requests at once, tokens of each."""


def served(
    order: str | Order,
    work: Work,
    *,
    seats: int = 8,
    shares: dict[str, float] | None = None,
    within: Mapping[str, float] | None = None,
) -> dict[str, tuple[float, float]]:
    """Latency in seconds and phi in seconds/token of each program; a token takes 10 ms.

    Args:
        order: Of the scheduler.
        work: What comes.
        seats: Of the engine.
        shares: Of tenants.
        within: Seconds in which programs are to be answered, for those that have a deadline.
    """

    async def main() -> dict[str, tuple[float, float]]:
        engine = Scheduled(BatchEngine(seats, pace=0.01), order, limit=seats, shares=shares)
        found: dict[str, tuple[float, float]] = {}

        async def one(at: float, name: str, tenant: str, branches: int, tokens: int) -> None:
            await asyncio.sleep(at)
            due = now() + within[name] if within else None
            engine.tell(name, tenant=tenant, deadline=due, remaining=branches, mean_tokens=tokens)
            left = branches
            async with asyncio.TaskGroup() as group:
                for _ in range(branches):
                    task = group.create_task(complete(engine, ask(name, tokens)))

                    def ended(_: object) -> None:
                        nonlocal left
                        left -= 1
                        engine.tell(name, remaining=left)

                    task.add_done_callback(ended)
            engine.forget(name)
            found[name] = (now() - at, (now() - at) / (branches * tokens))

        async with asyncio.TaskGroup() as group:
            for row in work:
                group.create_task(one(*row))
        assert engine.counts.programs == engine.counts.inside == 0
        return found

    return run_virtual(main())


def mixed(programs: int, load: float, seed: int, seats: int = 8) -> Work:
    """Programs of 8 branches, lengths log-normal; `load` of 1 is all that the seats can do."""
    draw = random.Random(seed)
    work: Work = []
    at = 0.0
    for number in range(programs):
        tokens = min(1500, max(10, round(draw.lognormvariate(4.5, 1.0))))
        work.append((at, f"p{number}", "", 8, tokens))
        at += draw.expovariate(1) * 8 * 148 * 0.01 / seats / load  # e^(4.5 + 1/2) = 148 tokens
    return work


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def test_shortest_first_halves_the_mean_latency_of_a_busy_engine():
    work = mixed(200, 0.95, seed=1)
    means = {
        order: statistics.mean(latency for latency, _ in served(order, work).values())
        for order in ("fcfs", "program-fifo", "gang", "sjf")
    }
    assert means["sjf"] < 0.6 * means["gang"]
    assert means["gang"] <= means["fcfs"]


@pytest.mark.parametrize("load", [0.7, 0.95, 1.3])
def test_fairness_at_the_99th_percentile_is_no_worse_than_first_come(load: float):
    work = mixed(200, load, seed=2)
    worst = {
        order: quantile([phi for _, phi in served(order, work).values()], 0.99)
        for order in ("fcfs", "sjf")
    }
    assert worst["sjf"] <= 1.1 * worst["fcfs"]


@pytest.mark.parametrize(
    ("order", "starves"),
    [
        pytest.param(order_named("sjf", ageing=0, phi=None), True, id="neither"),
        pytest.param(order_named("sjf", ageing=20, phi=None), False, id="ageing"),
        pytest.param(order_named("sjf", ageing=0, phi=0.05), False, id="escalation"),
    ],
)
def test_a_long_program_under_an_endless_stream_of_short_ones_ends_in_time(
    order: Order, starves: bool
):
    """It is passed by who arrives within W / ageing = W x phi = 100 s, and no longer."""
    seconds, load = 400, 1.25
    stream: Work = [(i / load, f"s{i}", "", 2, 100) for i in range(round(load * seconds))]
    latency, _ = served(order, [*stream, (1.0, "long", "", 2, 1000)], seats=2)["long"]
    before, own, request = 2.0, 10.0, 1.0
    if starves:
        assert latency > seconds
    else:
        assert latency <= before + load * 100 + request + own


@pytest.mark.parametrize("order", ["sjf", "edf"])
@pytest.mark.parametrize("load", [0.95, 1.3])
def test_more_deadlines_are_kept_if_lost_ones_are_put_off(order: str, load: float):
    class Unknowing(type(order_named(order))):  # type: ignore[misc]
        def lapses(self, standing: Standing) -> float:
            return math.inf

    work = mixed(400, load, seed=4)
    draw = random.Random(5)
    within = {name: draw.uniform(5, 20) for _, name, *_ in work}
    kept = [
        sum(
            latency <= within[name]
            for name, (latency, _) in served(one, work, within=within).items()
        )
        for one in (Unknowing(), order_named(order))
    ]
    assert kept[0] < kept[1]


@pytest.mark.parametrize("order", ["program-fifo", "sjf", "edf"])
def test_a_tenant_that_floods_hardly_delays_the_others(order: str):
    draw = random.Random(3)
    calm: Work = []
    at = 5.0
    for number in range(150):
        calm.append((at, f"calm{number}", "calm", 4, draw.randint(50, 150)))
        at += draw.expovariate(1) * 0.5  # 8 requests a second; 32 seats do 32
    flood: Work = [(1.0, f"flood{n}", "flood", 8, draw.randint(50, 150)) for n in range(400)]
    alone = served(order, calm, seats=32)
    beside = served(order, [*calm, *flood], seats=32)
    p90 = [
        quantile([latency for name, (latency, _) in found.items() if name in alone], 0.9)
        for found in (alone, beside)
    ]
    assert p90[1] <= 1.2 * p90[0]


def test_a_weight_is_a_share_of_the_tokens():
    work: Work = [
        (0.0, f"{tenant}{n}", tenant, 4, 100) for n in range(60) for tenant in ("gold", "free")
    ]
    found = served("program-fifo", work, shares={"gold": 3.0})
    halfway = max(latency for latency, _ in found.values()) / 2
    done = {
        tenant: sum(
            latency <= halfway for name, (latency, _) in found.items() if name.startswith(tenant)
        )
        for tenant in ("gold", "free")
    }
    assert done["gold"] == pytest.approx(3 * done["free"], abs=8)


# One request's way -------------------------------------------------------------------------------


def test_the_time_in_the_queue_is_on_the_last_delta():
    async def main() -> list[float]:
        engine = Scheduled(BatchEngine(seats=1), limit=1)
        async with waiting(engine, ask(tokens=3), ask(tokens=2), ask(tokens=1)) as tasks:
            pass
        return [task.result().queued for task in tasks]

    assert run_virtual(main()) == pytest.approx([0.0, 3.0, 5.0])


def test_an_aborted_request_that_waits_ends_at_once_without_a_token():
    async def main() -> tuple[Completion, float, list[Request]]:
        batch = BatchEngine(seats=1)
        engine = Scheduled(batch, limit=1)
        first, second, third = (ask(tokens=5) for _ in range(3))
        async with waiting(engine, first, second, third) as tasks:
            await asyncio.sleep(1.0)
            await engine.abort(second)
            async with aclosing(engine.stream(second)) as again:
                got = await tasks[1]
                when = now()
                await engine.abort(second)  # the one that is open now, though it has not begun
                del again
        assert engine.counts.inside == engine.counts.waiting == 0
        return got, when, batch.served

    got, when, seen = run_virtual(main())
    assert (got.finish_reason, got.tokens) == ("terminated", 0)
    assert when == pytest.approx(1.01)
    assert got.queued == pytest.approx(1.01)
    assert len(seen) == 2


def test_an_abort_between_admission_and_start_is_not_lost():
    async def main() -> tuple[Completion, int]:
        batch = BatchEngine(seats=1)
        engine = Scheduled(batch, limit=1)
        first, second = ask(tokens=5), ask(tokens=5)
        async with waiting(engine, first, second) as tasks:

            def at_the_turn(_: object) -> None:
                # The place is free, the second has it, and its task has not come around yet.
                group.append(asyncio.ensure_future(engine.abort(second)))

            group: list[asyncio.Future[None]] = []
            tasks[0].add_done_callback(at_the_turn)
        return tasks[1].result(), len(batch.served)

    got, served_ = run_virtual(main())
    assert got.finish_reason == "terminated"
    assert got.tokens == 0
    assert served_ <= 2


def test_a_running_request_bears_its_place_in_line_and_is_aborted_in_the_engine():
    async def main() -> Completion:
        batch = BatchEngine(seats=1)
        engine = Scheduled(batch)
        request = ask("p", tokens=50)
        async with waiting(engine, request) as (task,):
            assert batch.served == [request]
            assert request.priority > 3
            await engine.abort(request)
        assert request.priority == 0
        return task.result()

    assert run_virtual(main()).finish_reason == "terminated"


@pytest.mark.parametrize("stage", ["waiting", "admitted", "running"])
def test_a_cancelled_request_gives_its_place_back(stage: str):
    async def main() -> None:
        batch = BatchEngine(seats=1)
        engine = Scheduled(batch, limit=1)
        first, second, third = (ask(tokens=2) for _ in range(3))
        async with waiting(engine, first, third) as tasks:
            victim = asyncio.ensure_future(complete(engine, second))
            await asyncio.sleep(0.0)
            if stage == "admitted":
                tasks[1].cancel()
                tasks[0].add_done_callback(lambda _: victim.cancel())
            elif stage == "running":
                await asyncio.sleep(4.5)
                victim.cancel()
            else:
                victim.cancel()
            await asyncio.wait([victim])
            assert victim.cancelled()
        assert (engine.counts.waiting, engine.counts.inside) == (0, 0)
        assert (await complete(engine, ask(tokens=1))).tokens == 1

    run_virtual(main())


def test_a_reader_that_stops_at_the_last_delta_holds_no_place():
    async def main() -> None:
        engine = Scheduled(BatchEngine(seats=1), limit=1)
        deltas = engine.stream(ask())
        assert (await anext(deltas)).finish_reason == "length"
        async with asyncio.timeout(5):
            await complete(engine, ask())
        await deltas.aclose()
        assert engine.counts.inside == 0

    run_virtual(main())


def test_a_prompt_that_does_not_fit_is_refused_before_it_waits():
    async def main() -> None:
        engine = Scheduled(BatchEngine(seats=1), limit=1)
        async with waiting(engine, ask(tokens=5)):
            with pytest.raises(PromptTooLong):
                await complete(engine, ask(tokens=engine.context))
            assert now() < 1

    run_virtual(main())


def test_a_full_queue_refuses_at_once():
    async def main() -> None:
        engine = Scheduled(BatchEngine(seats=1), limit=1, bound=2)
        async with waiting(engine, *(ask(tokens=5) for _ in range(3))):
            with pytest.raises(Overloaded) as refusal:
                await complete(engine, ask())
        assert refusal.value.retry_after >= 1
        assert (await complete(engine, ask())).tokens == 1

    run_virtual(main())


# An engine in trouble ----------------------------------------------------------------------------


def test_an_engine_that_dies_takes_all_that_waits_with_it_and_may_come_back():
    async def main() -> None:
        batch = BatchEngine(seats=1)
        engine = Scheduled(batch, limit=1)
        tasks = [asyncio.ensure_future(complete(engine, ask("p", tokens=5))) for _ in range(4)]
        await asyncio.sleep(1)
        batch.kill()
        await asyncio.wait(tasks)
        errors = [task.exception() for task in tasks]
        assert {type(error) for error in errors} == {EngineDied}
        assert {str(error) for error in errors} == {"the batch was killed"}
        assert len({id(error) for error in errors}) == 4  # tracebacks grow apart
        assert now() < 1.1
        assert (engine.counts.waiting, engine.counts.inside) == (0, 0)
        batch.revive()
        assert (await complete(engine, ask("p", tokens=2))).tokens == 2

    run_virtual(main())


def test_an_engine_found_dead_when_asked_for_its_load_fails_what_waits():
    async def main() -> None:
        batch = BatchEngine(seats=1)
        engine = Scheduled(batch, limit=1)
        batch.goes.clear()
        tasks = [asyncio.ensure_future(complete(engine, ask(tokens=1))) for _ in range(2)]
        await asyncio.sleep(0.1)
        batch.kill()
        await asyncio.wait(tasks, timeout=5)
        assert all(isinstance(task.exception(), EngineDied) for task in tasks)

    run_virtual(main())


def test_an_ordinary_error_belongs_to_its_own_request():
    async def main() -> None:
        batch = BatchEngine(seats=1)
        batch.refuses = {"bad"}
        engine = Scheduled(batch, limit=1)
        tasks = [
            asyncio.ensure_future(complete(engine, ask(name))) for name in ("a", "bad", "bad", "b")
        ]
        await asyncio.wait(tasks)
        found = [task.exception() for task in tasks]
        assert [type(error) for error in found] == [
            type(None),
            EngineError,
            EngineError,
            type(None),
        ]
        assert (engine.counts.waiting, engine.counts.inside) == (0, 0)

    run_virtual(main())


def test_an_engine_that_stalls_and_goes_on_loses_nothing():
    async def main() -> None:
        batch = BatchEngine(seats=2)
        engine = Scheduled(batch, limit=2)
        requests = [ask(f"p{number % 3}") for number in range(9)]
        async with waiting(engine, *requests) as tasks:
            batch.goes.clear()
            await asyncio.sleep(1000)
            assert not any(task.done() for task in tasks)
            await engine.abort(requests[8])
            assert (await tasks[8]).finish_reason == "terminated"
            batch.goes.set()
        assert [task.result().tokens for task in tasks] == [1] * 8 + [0]
        assert len(batch.served) == 8

    run_virtual(main())


def test_closing_the_engine_fails_what_waits():
    async def main() -> None:
        batch = BatchEngine(seats=1)
        async with Scheduled(batch, limit=1) as engine:
            tasks = [asyncio.ensure_future(complete(engine, ask(tokens=5))) for _ in range(2)]
            await asyncio.sleep(1)
        with pytest.raises(EngineDied, match="closed"):
            await tasks[1]
        await tasks[0]

    run_virtual(main())


# Event loops and settings ------------------------------------------------------------------------


def test_another_event_loop_may_follow_but_not_join():
    batch = BatchEngine(seats=1)
    engine = Scheduled(batch, limit=1)

    async def one() -> None:
        await complete(engine, ask())

    async def two() -> None:
        async with waiting(engine, ask(tokens=3), ask(tokens=3)):
            with pytest.raises(EngineError, match="one event loop at a time"):
                await asyncio.to_thread(run_virtual, one())

    run_virtual(one())
    run_virtual(two())
    run_virtual(one())
    assert len(batch.served) == 4


def test_a_loop_that_was_left_in_the_middle_leaves_no_places_taken():
    batch = BatchEngine(seats=1)
    engine = Scheduled(batch, limit=1)
    loops: list[object] = []

    async def leave() -> None:
        loops.extend(asyncio.ensure_future(complete(engine, ask(tokens=5))) for _ in range(3))
        await asyncio.sleep(1)

    async def come() -> int:
        return (await complete(engine, ask())).tokens

    run_virtual(leave())
    assert run_virtual(come()) == 1
    assert engine.counts.inside == engine.counts.waiting == 0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        pytest.param(lambda: Scheduled(FakeEngine(), limit=0), "limit", id="no-place"),
        pytest.param(lambda: Scheduled(FakeEngine(), bound=0), "bound", id="no-queue"),
        pytest.param(lambda: Scheduled(FakeEngine(), burst=-1), "burst", id="negative-burst"),
        pytest.param(lambda: Scheduled(FakeEngine(), gather=9.0), "gather", id="gathers-for-ever"),
        pytest.param(lambda: Scheduled(FakeEngine(), shares={"a": 0}), "'a'", id="no-weight"),
        pytest.param(lambda: Scheduled(FakeEngine(), "fifo"), "order 'fifo'", id="no-such-order"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(make: Callable[[], Scheduled], field: str):
    with pytest.raises(ConfigError, match=field):
        make()


def test_the_admission_can_be_chosen():
    async def main() -> int:
        batch = BatchEngine(seats=100)
        engine = Scheduled(batch, admission=Admission(start=8, most=10))
        async with waiting(engine, *(ask(tokens=2) for _ in range(100))):
            pass
        return batch.most

    assert run_virtual(main()) == 10


@pytest.mark.parametrize(
    ("gather", "served"),
    [
        pytest.param(0.0, ["a", "b", "a", "a"], id="given-away-at-once"),
        pytest.param(0.01, ["a", "a", "a", "b"], id="kept-for-the-next-branch"),
    ],
)
def test_a_place_can_be_kept_for_the_next_branch_of_its_program(gather: float, served: list[str]):
    async def main() -> list[str]:
        batch = BatchEngine(seats=2)
        engine = Scheduled(batch, "gang", limit=2, gather=gather)

        async def rolling(program: str, branches: int) -> None:
            engine.tell(program)
            for _ in range(branches):
                await complete(engine, ask(program))
                await asyncio.sleep(0.001)  # it looks at what it got
            engine.forget(program)

        async with waiting(engine, ask("another", 9)), asyncio.TaskGroup() as group:
            group.create_task(rolling("a", 3))
            group.create_task(rolling("b", 1))
        return [request.program for request in batch.served[1:]]

    assert run_virtual(main()) == served
