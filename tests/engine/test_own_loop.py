"""Own loop: work that is sent to a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from dynasor_graph.engine.own_loop import OwnLoop, SameLoop

pytestmark = pytest.mark.anyio


@pytest.fixture
async def own() -> AsyncIterator[OwnLoop]:
    loop = OwnLoop("test")
    loop.start()
    yield loop
    await loop.stop()


async def test_spawned_work_runs_on_the_loops_thread(own: OwnLoop) -> None:
    ran, names = threading.Event(), list[str]()

    async def work() -> None:
        names.append(threading.current_thread().name)
        ran.set()

    own.spawn(work(), lambda: pytest.fail("nobody cancelled it"))
    assert await asyncio.to_thread(ran.wait, 20)
    assert names == ["test"]


@pytest.mark.parametrize("begun", [True, False], ids=["while it runs", "before it begins"])
async def test_who_is_cancelled_says_so(own: OwnLoop, begun: bool) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    spawned = own.spawn(work(), cancelled.set)
    if begun:
        assert await asyncio.to_thread(started.wait, 20)
    spawned.cancel()
    assert await asyncio.to_thread(cancelled.wait, 20)


async def test_the_end_of_the_loop_cancels_what_runs() -> None:
    loop, cancelled = OwnLoop("test"), threading.Event()
    loop.start()
    loop.spawn(asyncio.Event().wait(), cancelled.set)  # type: ignore[arg-type]
    await loop.stop()
    assert cancelled.is_set()


async def test_a_stopped_loop_takes_no_work() -> None:
    loop = OwnLoop("test")
    await loop.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        loop.spawn(asyncio.sleep(0), lambda: None)


async def test_the_same_loop_runs_work_where_its_caller_runs() -> None:
    own, ran = SameLoop(), asyncio.Event()

    async def work() -> str:
        ran.set()
        return threading.current_thread().name

    own.start()
    assert own.here
    assert await own.run(work()) == threading.current_thread().name
    ran.clear()
    own.spawn(_quietly(work()), lambda: pytest.fail("nobody cancelled it"))
    await ran.wait()
    await own.stop()
    assert asyncio.get_running_loop().is_running()


async def test_another_thread_may_send_work_to_the_same_loop() -> None:
    own, here = SameLoop(), threading.current_thread().name

    async def name() -> str:
        return threading.current_thread().name

    def elsewhere() -> tuple[bool, str]:
        async def ask() -> tuple[bool, str]:
            return own.here, await own.run(name())

        return asyncio.run(ask())

    assert await asyncio.to_thread(elsewhere) == (False, here)


async def _quietly(work: Coroutine[Any, Any, object]) -> None:
    await work
