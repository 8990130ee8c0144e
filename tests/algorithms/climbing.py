"""What the tests of searches share: a model that climbs by script, and what judges it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dynasor_graph.engine import FakeEngine
from dynasor_graph.reward import FunctionReward, Partial, forget_reward, register_reward
from dynasor_graph.types import JSON, Request
from tests.executor.stage import run

STEPS = 3
SEARCHES = ("rebase", "beam", "dvts", "particle_filter", "mcts")
JUDGED = (*SEARCHES, "best_of_n")
SEED: JSON = {"sampling": {"seed": 8, "max_tokens": 200}}

_serial = itertools.count()


def climb(prompt: str, request: Request) -> str:
    """Three lines of one letter each, by the seed of the request, and then what they spell."""
    said = prompt.partition("assistant: ")[2].split("\n")[:-1]
    rng = random.Random(request.seed)
    lines = [*said, *(rng.choice("ab") for _ in range(STEPS - len(said)))]
    rest = [*lines[len(said) :], f"so \\boxed{{{''.join(lines)}}}"]
    return "\n".join(rest)


def letters(partial: Partial) -> float:
    """The share of a, 0.5 before the first letter; never quite 1."""
    said = [line for line in partial.text.split("\n")[:STEPS] if line in {"a", "b"}]
    return (said.count("a") + 0.5) / (len(said) + 1)


@contextmanager
def judged_by(judge: Callable[[Partial], float] = letters) -> Iterator[str]:
    """A name for a reward, for as long as it is needed."""

    async def here(partial: Partial) -> float:
        return judge(partial)  # in a thread, which simulation of several is first would be luck

    name = f"judge#{next(_serial)}"
    register_reward(name, FunctionReward(here, name="letters"))
    try:
        yield name
    finally:
        forget_reward(name)


async def search(
    algorithm: str,
    engine: FakeEngine | None = None,
    *,
    judge: Callable[[Partial], float] = letters,
    **settings: Any,
) -> tuple[JSON, list[JSON]]:
    """Run one search to its end; its books balance."""
    with judged_by(judge) as reward:
        given = {"policy": "fixed", "reward": reward, **SEED, **settings}
        return await run(algorithm, engine or FakeEngine(climb), **given)
