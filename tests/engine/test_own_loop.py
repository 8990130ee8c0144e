"""Own loop: work that is sent to a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from dynasor_graph.engine.own_loop import OwnLoop

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
