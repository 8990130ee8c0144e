"""Computed: the recorded answers and lengths, at the speed and on the books of the engine behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from dynasor_graph.engine import FakeEngine, Watcher, complete
from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.errors import EngineDied
from dynasor_graph.questions import Question
from dynasor_graph.recordings import Recorded, Sample
from dynasor_graph.replay import ReplayEngine
from dynasor_graph.results import Result
from dynasor_graph.runner import Runner
from dynasor_graph.simulation import SPEEDS
from dynasor_graph.types import Completion, Delta, Load, Request

ENDLESS = "." * 10_000


def recorded(*samples: Sample) -> Recorded:
    return Recorded(id="q", samples=samples)


def run(engine: FakeEngine, row: Recorded, policy: str) -> tuple[Result, Load, Load]:
    """The result, and what the replay and the engine behind it counted."""

    async def main() -> tuple[Result, Load, Load]:
        async with engine, ReplayEngine([row], machine=engine) as replayed:
            runner = Runner(
                engine=replayed,
                policy=policy,
                branches=len(row.samples),
                sampling={"max_tokens": replayed.longest},
            )
            async with aclosing(runner.run([Question(id="q", text="q")])) as results:
                (result,) = [one async for one in results]
            await asyncio.sleep(60)
            return result, await replayed.load(), await engine.load()

    return run_virtual(main())


@pytest.mark.parametrize(
    ("policy", "waste"),
    [
        pytest.param("fixed", (400, 400), id="to the end"),
        pytest.param("beta", (40, 60), id="stopped at the fourth"),
    ],
)
def test_answers_are_recorded_and_tokens_are_computed(policy: str, waste: tuple[int, int]):
    engine = FakeEngine([ENDLESS], speed=1)
    row = recorded(*(Sample("7", n) for n in (10, 20, 30, 40, 400)))
    result, load, behind = run(engine, row, policy)
    assert result.answer == "7"
    assert waste[0] <= result.usage.generated - 100 <= waste[1]
    assert load.generated == behind.generated == result.usage.generated
    assert behind.running == behind.waiting == 0
    assert all(16 <= token < 1016 for request in engine.requests for token in request.tokens)


def test_a_model_that_ends_early_counts_as_having_gone_on():
    row = recorded(Sample("7", 50))
    result, load, _ = run(FakeEngine(["short"]), row, "fixed")
    assert (result.answer, result.usage.generated, load.generated) == ("7", 50, 50)


def test_the_death_of_the_engine_is_told():
    async def main() -> Completion:
        async with FakeEngine([ENDLESS], speed=1) as engine:
            replayed = ReplayEngine([recorded(Sample("7", 50))], machine=engine)
            prompt = tuple(await replayed.render([{"role": "user", "content": "q"}]))
            reading = asyncio.ensure_future(
                complete(replayed, Request(tokens=prompt, max_tokens=50))
            )
            await asyncio.sleep(0)
            engine.kill()
            return await reading

    with pytest.raises(EngineDied):
        run_virtual(main())


class Telling(FakeEngine):
    """Tells of its steps by hand, and keeps what it was asked."""

    tell: Watcher
    asked: list[Request]

    def watch(self, watcher: Watcher) -> bool:
        self.tell, self.asked = watcher, []
        return True

    def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        return super().stream(request)


def test_steps_of_the_engine_behind_are_told_with_the_requests_that_were_made():
    told: list[tuple[list[Request], list[Request]]] = []

    async def main() -> list[Request]:
        async with Telling([ENDLESS], speed=1) as engine:
            replayed = ReplayEngine([recorded(Sample("7", 20), Sample("7", 30))], machine=engine)
            assert replayed.watch(lambda begun, ended: told.append((list(begun), list(ended))))
            prompt = tuple(await replayed.render([{"role": "user", "content": "q"}]))
            requests = [Request(tokens=prompt, max_tokens=99) for _ in range(2)]
            async with asyncio.TaskGroup() as group:
                for request in requests:
                    group.create_task(complete(replayed, request))
                for _ in range(5):  # it makes a token at each turn of the loop
                    await asyncio.sleep(0)
                engine.tell(engine.asked, [])
                engine.tell([], engine.asked[:1])
            engine.tell([], engine.asked)  # they are over, and nobody asks any more
            return requests

    first, second = run_virtual(main())
    assert told == [([first, second], []), ([], [first]), ([], [])]


def test_a_machine_that_is_no_engine_does_not_tell():
    row = recorded(Sample("7", 20))
    for machine in (None, SPEEDS["h200-7b"]):
        assert not ReplayEngine([row], machine=machine).watch(lambda *_: None)
