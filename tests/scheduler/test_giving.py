"""Giving: when free places are given away, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dynasor_graph.engine.virtual_clock import run_virtual
from dynasor_graph.scheduler.giving import Giving

Told = tuple[float, Callable[[Giving, asyncio.AbstractEventLoop], None]]
"""What is said to it, and when."""


def free(
    places: int, surcharge: float = 1.0
) -> Callable[[Giving, asyncio.AbstractEventLoop], None]:
    """So many places are free, and eight requests are generated."""
    return lambda giving, loop: giving.gather(loop, places, 8, surcharge)


def soon(giving: Giving, loop: asyncio.AbstractEventLoop) -> None:
    giving.soon(loop)


def hurry(giving: Giving, loop: asyncio.AbstractEventLoop) -> None:
    giving.soon(loop, hurry=True)


def forget(giving: Giving, _: asyncio.AbstractEventLoop) -> None:
    giving.forget()


@pytest.mark.parametrize(
    ("said", "calls"),
    [
        pytest.param([(1.0, soon)], [1.0], id="soon"),
        pytest.param([(1.0, soon), (1.0, soon), (1.0, free(1))], [1.0], id="one-call-for-all"),
        pytest.param([(1.0, free(0))], [], id="nothing-is-free"),
        pytest.param([(0.0, free(1))], [4.0], id="half-of-what-all-places-wait"),
        pytest.param([(0.0, free(1)), (1.0, free(3))], [2.0], id="sooner-if-more-are-free"),
        pytest.param([(0.0, free(2)), (1.0, free(1))], [2.0], id="no-later-if-fewer-are"),
        pytest.param([(1.0, free(8, 0.002))], [1.0], id="no-timer-for-a-moment"),
        pytest.param([(0.0, free(1)), (1.0, soon)], [4.0], id="who-can-wait-waits-with-them"),
        pytest.param([(0.0, free(1)), (1.0, hurry)], [1.0], id="who-cannot-takes-them-at-once"),
        pytest.param([(0.0, free(1)), (1.0, hurry), (2.0, free(1))], [1.0, 6.0], id="then-anew"),
        pytest.param([(0.0, soon), (3.0, soon)], [0.0, 3.0], id="again-once-it-has-come"),
    ],
)
def test_when_it_calls(said: list[Told], calls: list[float]):
    async def main() -> list[float]:
        loop, came = asyncio.get_running_loop(), list[float]()
        start = loop.time()
        giving = Giving(lambda: came.append(round(loop.time() - start, 6)))
        for at, say in said:
            if at > loop.time() - start:
                await asyncio.sleep(start + at - loop.time())
            say(giving, loop)
        await asyncio.sleep(60.0)
        return came

    assert run_virtual(main()) == calls


@pytest.mark.parametrize(
    ("surcharge", "at_once", "calls"),
    [
        pytest.param(0.0005, True, [0.0, 0.0], id="enough-are-gathered"),
        pytest.param(1.0, False, [2.0], id="it-waits-as-ever"),
    ],
)
def test_before_all_that_is_ready(surcharge: float, at_once: bool, calls: list[float]):
    async def main() -> list[float]:
        loop, came = asyncio.get_running_loop(), list[float]()
        start = loop.time()
        giving = Giving(lambda: came.append(round(loop.time() - start, 6)))
        giving.gather(loop, 2, 8, surcharge, now=True)
        assert bool(came) == at_once
        giving.gather(loop, 2, 8, surcharge, now=True)  # those that leave say it again
        await asyncio.sleep(60.0)
        return came

    assert run_virtual(main()) == calls


def test_what_a_loop_that_has_gone_was_to_call_is_forgotten():
    called = list[str]()
    giving = Giving(lambda: called.append("come"))

    async def ask(*say: Callable[[Giving, asyncio.AbstractEventLoop], None]) -> None:
        for one in say:
            one(giving, asyncio.get_running_loop())
        await asyncio.sleep(1.0)

    run_virtual(ask(free(1)))  # it is due after this loop
    run_virtual(ask(forget, soon))
    assert called == ["come"]
