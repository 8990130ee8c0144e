"""Mailbox: deltas that other threads deliver."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dynasor_graph.engine.mailbox import Mailbox
from dynasor_graph.errors import EngineDied
from dynasor_graph.types import Delta

pytestmark = pytest.mark.anyio

PARTS = [Delta(token_ids=(i,), count=1) for i in range(500)]
LAST = Delta(finish_reason="stop")


async def test_deltas_from_another_thread_arrive_in_order() -> None:
    box = Mailbox()

    def deliver() -> None:
        for delta in [*PARTS, LAST]:
            box.put(delta)

    thread = threading.Thread(target=deliver)
    thread.start()
    assert [delta async for delta in box] == [*PARTS, LAST]
    thread.join()


async def test_nothing_is_read_after_the_last_delta() -> None:
    box = Mailbox()
    for delta in (LAST, Delta(finish_reason="terminated")):
        box.put(delta)
    assert [delta async for delta in box] == [LAST]


async def test_an_exception_is_raised_after_what_came_before_it() -> None:
    box = Mailbox()
    box.put(PARTS[0])
    box.put(EngineDied("gone"))
    deltas = aiter(box)
    assert await anext(deltas) == PARTS[0]
    with pytest.raises(EngineDied, match="gone"):
        await anext(deltas)


def test_delivering_to_a_closed_event_loop_does_nothing() -> None:
    async def make() -> Mailbox:
        return Mailbox()

    asyncio.run(make()).put(LAST)
