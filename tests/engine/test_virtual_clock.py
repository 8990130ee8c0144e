"""Virtual clock: it jumps over idle time, stands still for threads, and waits for real I/O."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time

import pytest

from dynasor_graph.engine.virtual_clock import VirtualLoop, run_virtual

DAY = 86_400.0
SOON = 0.1
"""Real seconds in which a clock that goes wrong would have done so."""


def now() -> float:
    return asyncio.get_running_loop().time()


# Time passes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(0.0, id="none"),
        pytest.param(1e-6, id="a-microsecond"),
        pytest.param(0.1, id="a-tenth"),
        pytest.param(3600.0, id="an-hour"),
        pytest.param(100 * DAY, id="longer-than-a-loop-waits-at-once"),
    ],
)
def test_sleeping_takes_virtual_seconds_and_no_real_ones(seconds: float):
    async def main() -> tuple[float, float]:
        began = now()
        await asyncio.sleep(seconds)
        return began, now()

    started = time.monotonic()
    assert run_virtual(main()) == pytest.approx((0.0, seconds))
    assert time.monotonic() - started < 5


def test_it_goes_on_after_years():
    async def main() -> float:
        await asyncio.sleep(1e9)
        began = now()
        for _ in range(100):
            await asyncio.sleep(0.001)
        return now() - began

    assert run_virtual(main()) == pytest.approx(0.1, rel=1e-3)


def test_tasks_that_sleep_beside_each_other_share_the_clock():
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(seconds)
            woken.append((name, now()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleep("a", 20, 3))
            group.create_task(sleep("b", 50, 1))

    run_virtual(main())
    assert woken == [("a", 20), ("a", 40), ("b", 50), ("a", 60)]


def test_a_time_limit_runs_out_where_nothing_else_happens():
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await asyncio.Event().wait()
        return now()

    assert run_virtual(main()) == 600


def test_work_without_a_pause_takes_no_time():
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return now()

    assert run_virtual(main()) == 0


# The order of timers ---------------------------------------------------------------------------


def test_equal_timers_fire_in_the_order_in_which_they_were_set():
    fired: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        timers = [loop.call_at(5.0, fired.append, i) for i in range(200)]
        for timer in timers[::3]:
            timer.cancel()
        await asyncio.sleep(2)
        for i in range(200, 300):
            loop.call_later(3.0, fired.append, i)
        await asyncio.sleep(3.5)

    run_virtual(main())
    assert fired == [i for i in range(300) if i >= 200 or i % 3]


def test_timers_fire_in_the_order_of_their_times_then_of_their_setting():
    draw = random.Random(7)
    times = [draw.randrange(1, 9) / 4 for _ in range(500)]
    fired: list[tuple[float, int]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for i, when in enumerate(times):
            loop.call_at(when, fired.append, (when, i))
        await asyncio.sleep(10)

    run_virtual(main())
    assert fired == sorted((when, i) for i, when in enumerate(times))


# Threads ---------------------------------------------------------------------------------------


def test_the_clock_stands_still_while_a_thread_works():
    """The thread would be woken at once if the clock went on to the timer."""
    jumped = threading.Event()

    async def main() -> tuple[bool, float]:
        asyncio.get_running_loop().call_later(1000, jumped.set)
        async with asyncio.timeout(1):  # nor does a time limit run out
            return await asyncio.to_thread(jumped.wait, SOON), now()

    assert run_virtual(main()) == (False, 0.0)


def test_the_clock_stands_still_until_the_last_thread_has_ended():
    first_ended, jumped = threading.Event(), threading.Event()

    async def short() -> None:
        await asyncio.to_thread(lambda: None)
        asyncio.get_running_loop().call_later(10, jumped.set)
        first_ended.set()

    def work() -> bool:
        return first_ended.wait(10) and jumped.wait(SOON)

    async def main() -> bool:
        async with asyncio.TaskGroup() as group:
            long = group.create_task(asyncio.to_thread(work))
            group.create_task(short())
        return long.result()

    assert run_virtual(main()) is False


@pytest.mark.parametrize("ends", ["fails", "is-cancelled", "is-over"])
def test_the_clock_goes_on_after_a_thread(ends: str):
    gate = threading.Event()

    def work() -> None:
        if ends == "is-cancelled":
            gate.wait(10)
        elif ends == "fails":
            raise OSError("broken")

    async def main() -> float:
        job = asyncio.get_running_loop().run_in_executor(None, work)
        if ends == "is-cancelled":
            job.cancel()
        await asyncio.wait([job])
        await asyncio.sleep(30)
        gate.set()
        assert job.cancelled() or isinstance(job.exception(), OSError) == (ends == "fails")
        return now()

    assert run_virtual(main()) == 30


# Real I/O --------------------------------------------------------------------------------------


def test_without_timers_it_waits_for_real_input_and_does_not_spin():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def write() -> None:
        threading.Event().wait(SOON)
        theirs.send(b"late")

    async def main() -> tuple[bytes, float]:
        writer = threading.Thread(target=write)
        writer.start()
        data = await asyncio.get_running_loop().sock_recv(ours, 10)
        writer.join()
        return data, now()

    busy = time.thread_time()
    with ours, theirs:
        assert run_virtual(main()) == (b"late", 0.0)
    assert time.thread_time() - busy < SOON / 2


def test_input_that_is_there_comes_before_the_next_timer():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def main() -> tuple[bytes, float]:
        reading = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(ours, 10))
        theirs.send(b"there")
        async with asyncio.timeout(5):
            return await reading, now()

    with ours, theirs:
        assert run_virtual(main()) == (b"there", 0.0)


# Beginning and end -----------------------------------------------------------------------------


def test_what_the_coroutine_raises_is_raised():
    async def main() -> None:
        await asyncio.sleep(1)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        run_virtual(main())


def test_everything_is_closed_at_the_end():
    ended: list[str] = []
    idle = threading.Event()
    others = set(threading.enumerate())  # of tests that ran before in this process

    async def left_over() -> None:
        try:
            await asyncio.sleep(DAY)
        finally:
            ended.append("task")

    async def main() -> tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]:
        task = asyncio.ensure_future(left_over())
        await asyncio.sleep(1)
        asyncio.get_running_loop().run_in_executor(None, idle.wait, SOON).add_done_callback(
            lambda job: ended.append("thread")
        )
        return asyncio.get_running_loop(), task

    loop, task = run_virtual(main())
    assert isinstance(loop, VirtualLoop)
    assert loop.is_closed()
    assert task.cancelled()
    assert ended[0] == "task"
    assert not {one for one in threading.enumerate() if "asyncio" in one.name} - others


def test_each_run_has_a_clock_of_its_own():
    async def main() -> float:
        await asyncio.sleep(7)
        return now()

    assert [run_virtual(main()) for _ in range(3)] == [7, 7, 7]
