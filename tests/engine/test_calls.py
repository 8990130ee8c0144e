"""Calls: many threads call into one loop, which is woken once for all that come together."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from dynasor_graph.engine.calls import Calls

pytestmark = pytest.mark.anyio


class Loop:
    """A loop that only notes how often it is woken."""

    def __init__(self) -> None:
        self.woken: list[object] = []

    def call_soon_threadsafe(self, call: object) -> None:
        self.woken.append(call)


def test_one_wake_up_for_all_that_come_before_it_runs() -> None:
    loop, made = Loop(), list[int]()
    calls = Calls(loop)  # type: ignore[arg-type]
    for i in range(3):
        calls.soon(partial(made.append, i))
    assert len(loop.woken) == 1
    loop.woken[0]()  # type: ignore[operator]
    assert made == [0, 1, 2]
    calls.soon(lambda: made.append(3))
    assert len(loop.woken) == 2


async def test_none_is_lost_whichever_thread_it_comes_from() -> None:
    calls, made, done = Calls(asyncio.get_running_loop()), list[int](), asyncio.Event()

    def note(number: int) -> None:
        made.append(number)
        if len(made) == 4000:
            done.set()

    def deliver(first: int) -> None:
        for i in range(first, 4000, 4):
            calls.soon(partial(note, i))

    threads = [threading.Thread(target=deliver, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(done.wait(), 20)
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(4000))
    for first in range(4):  # those of one thread in its order
        assert [i for i in made if i % 4 == first] == list(range(first, 4000, 4))


def test_calls_into_a_closed_loop_are_passed_over() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    Calls(loop).soon(lambda: pytest.fail("the loop is closed"))
