"""Places that come free: gathered, given away, kept from nobody in a hurry; on a clock that jumps."""

from __future__ import annotations

import asyncio

import pytest

from dynasor_graph.engine import Watcher, complete
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.scheduler import Scheduled
from tests.scheduler.batch import BatchEngine, ask, waiting


class Dear(BatchEngine):
    """A batch that says how many it seats, and what a prompt costs its steps."""

    def __init__(self, seats: int, surcharge: float, pace: float = 1.0) -> None:
        super().__init__(seats, pace)
        self.seats, self.surcharge = seats, surcharge


def went(engine: Scheduled, lengths: list[int], *, apart: float = 0.0) -> list[float]:
    """Seconds after which each request was let in; they come at once, or so many seconds apart."""

    async def one(number: int, length: int) -> float:
        await asyncio.sleep(apart * number)
        return apart * number + (await complete(engine, ask(tokens=length))).queued

    async def main() -> list[float]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(*item)) for item in enumerate(lengths)]
        return [round(task.result(), 3) for task in tasks]

    return run_virtual(main())


@pytest.mark.parametrize(
    ("gather", "surcharge", "second"),
    [
        # Places come free at 1, 2, 3 and 4 seconds; four that wait take them.
        pytest.param(0.0, 9.0, [1.0, 2.0, 3.0, 4.0], id="one-by-one"),
        pytest.param(None, 0.0, [1.0, 2.0, 3.0, 4.0], id="an-engine-to-which-prompts-cost-nothing"),
        # Half of 2 s for two that are left is 2 s: one stands empty for a second, two for half of one.
        pytest.param(None, 2.0, [2.5, 2.5, 4.5, 4.5], id="an-engine-that-says-what-prompts-cost"),
        pytest.param(1.0, 0.0, [2.0, 2.0, 4.0, 4.0], id="as-told"),
    ],
)
def test_places_that_come_free_are_given_away_together(
    gather: float | None, surcharge: float, second: list[float]
):
    engine = Scheduled(Dear(4, surcharge), "fcfs", limit=4, gather=gather)
    found = went(engine, [1, 2, 3, 4, 9, 9, 9, 9])
    assert found == [0.0, 0.0, 0.0, 0.0, *second]


def test_nobody_waits_for_others_while_places_are_free():
    engine = Scheduled(Dear(4, 1.0), "fcfs")
    assert went(engine, [9, 9, 9], apart=0.25) == [0.0, 0.25, 0.5]


def test_all_that_end_at_once_leave_their_places_at_once():
    engine = Scheduled(Dear(4, 0.003), "fcfs")
    assert went(engine, [1, 1, 1, 1, 2, 2, 2, 2]) == [0.0] * 4 + [1.0] * 4


def test_none_wait_in_an_engine_whose_places_are_gathered():
    async def most(surcharge: float) -> int:
        batch = Dear(32, surcharge)
        engine = Scheduled(batch)
        async with waiting(engine, *(ask(tokens=1) for _ in range(200))):
            pass
        return batch.most

    assert [run_virtual(most(surcharge)) for surcharge in (0.0, 0.1)] == [34, 32]


@pytest.mark.parametrize("comes", [0.5, 1.5], ids=["before-a-place-is-free", "while-it-is-kept"])
def test_no_place_is_kept_from_a_probe(comes: float):
    async def main() -> tuple[float, float]:
        engine = Scheduled(Dear(2, 8.0), "gang")
        probe, branch = ask("a"), ask("a")
        probe.priority = -1
        async with waiting(engine, ask("a"), ask("a", tokens=30), branch) as tasks:
            await asyncio.sleep(comes - 0.01)
            told = await complete(engine, probe)
        return round(comes + told.queued, 2), round((await tasks[2]).queued, 2)

    went, branch = run_virtual(main())
    assert went == max(1.0, comes)
    assert branch == went + 1.0 + 4.0  # its place is kept anew: half of 8 s for the one that runs


def test_who_gives_up_while_places_are_gathered_takes_none():
    async def main() -> tuple[int, int]:
        batch = Dear(2, 2.0)
        engine = Scheduled(batch, "fcfs")
        given_up, stays = ask(tokens=1), ask(tokens=1)
        async with waiting(engine, ask(tokens=1), ask(tokens=9), given_up, stays):
            await asyncio.sleep(1.5)  # a place is free since 1.0, and is given away at 2.0
            await engine.abort(given_up)
        return len(batch.served), engine.counts.inside

    assert run_virtual(main()) == (3, 0)


class Telling(BatchEngine):
    """A batch of four whose steps are told of by hand, and to which prompts are dear."""

    def __init__(self) -> None:
        super().__init__(4)
        self.seats, self.surcharge = 4, 2.0
        self.tell: Watcher = lambda begun, ended: None

    def watch(self, watcher: Watcher) -> bool:
        self.tell = watcher
        return True


def test_places_of_all_that_end_in_a_step_are_given_away_before_they_are_read():
    async def main() -> tuple[int, int, int]:
        batch = Telling()
        engine = Scheduled(batch, "fcfs", limit=4)
        first, second = ([ask(tokens=5) for _ in range(4)] for _ in range(2))
        async with waiting(engine, *first, *second):
            batch.tell(first, [])
            batch.tell([], first)
            counts = engine.counts
            await asyncio.sleep(0)  # the batch has more than it seats: those that ended are in it
            return counts.inside, counts.waiting, batch.most

    assert run_virtual(main()) == (4, 0, 8)


@pytest.mark.parametrize(
    ("begun", "second"),
    [
        pytest.param([1, 2, 3], 1.0 + 3.0, id="they-are-generated"),  # half of 2 s for all three
        pytest.param([], 1.0, id="their-prompts-are-still-to-come"),
    ],
)
def test_a_place_waits_for_those_that_are_generated(begun: list[int], second: float):
    async def main() -> float:
        batch = Telling()
        engine = Scheduled(batch, "fcfs", limit=4)
        first, last = [ask(tokens=length) for length in (1, 9, 9, 9)], ask()
        async with waiting(engine, *first, last) as tasks:
            batch.tell([first[number] for number in begun], [])
            await asyncio.sleep(0.98)
            batch.tell([], [first[0]])
        return round((await tasks[4]).queued, 1)

    assert run_virtual(main()) == second
