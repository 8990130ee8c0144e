"""Naming: engines and rewards that are given as objects, under a name for as long as they are used."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from dynasor_graph.engine import Engine, engine_named, forget, register
from dynasor_graph.reward import forget_reward, register_reward
from dynasor_graph.scheduler import Order, Scheduled, Scheduler
from dynasor_graph.types import JSON

__all__ = ["named", "scheduled", "with_reward"]

_serial = itertools.count()


@contextmanager
def with_reward(settings: JSON) -> Iterator[JSON]:
    """The settings, a reward that is given as an object replaced by a name for as long as it is used."""
    reward = settings.get("reward")
    if reward is None or isinstance(reward, str):
        yield settings
        return
    name = f"{reward.name}#{next(_serial)}"
    register_reward(name, reward)
    try:
        yield {**settings, "reward": name}
    finally:
        forget_reward(name)


@contextmanager
def named(engine: Engine | str) -> Iterator[str]:
    """A name for an engine that is given as an object, for as long as it is used."""
    if isinstance(engine, str):
        yield engine
        return
    name = f"{engine.model}#{next(_serial)}"
    register(name, engine)
    try:
        yield name
    finally:
        forget(name)


@asynccontextmanager
async def scheduled(engine: Engine | str, order: str | Order | None) -> AsyncIterator[str]:
    """A name for the engine behind a scheduler, for as long as it is used; its own if it has one."""
    with named(engine) as name:
        opened = await engine_named(name)
        if order is None or isinstance(opened, Scheduler):
            yield name
            return
        with named(Scheduled(opened, order)) as scheduled:
            yield scheduled
