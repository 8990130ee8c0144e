"""The engines that the conformance suite runs on, and prompts that all of them understand."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dynasor_graph.abacus import questions
from dynasor_graph.engine import Engine, FakeEngine
from dynasor_graph.engine.openai import OpenAIEngine
from dynasor_graph.scheduler import Scheduled
from dynasor_graph.types import Message, Request

REASONING = "".join(f"Step {i}: {i} and {i} make {2 * i}.\n" for i in range(1, 12))
"""What the fake says to a question; a model says something as long."""

COUNTING = "1 2 3 4 5 6 7 8"
"""A text that abacus-7m, always taking the likeliest token, goes on with for ever."""

ON_ITS_LOOP = "vllm on its loop"

real_only = pytest.mark.parametrize(
    "engine",
    [pytest.param(name, marks=pytest.mark.vllm) for name in ("vllm", ON_ITS_LOOP, "openai")],
    indirect=True,
)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test of "vllm on its loop" on the loop on which the engine lives.

    There it is asked without a thread between, as an engine that has none always is.
    """
    if getattr(pyfuncitem, "callspec", None) is None:
        return None
    if pyfuncitem.callspec.params.get("engine") != ON_ITS_LOOP:
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    given = {name: pyfuncitem.funcargs[name] for name in names}
    engine: Any = given["engine"]
    engine._own.submit(pyfuncitem.obj(**given)).result(60)
    return True


def go_on(prompt: str, request: Request) -> str:
    """Reply as a greedy model does: from any cut of the reply, say the rest of it."""
    if prompt.startswith(COUNTING):
        return " -" * 2000
    said = prompt.partition("assistant: ")[2].removeprefix("<think>\n")
    return REASONING.removeprefix(said)


@pytest.fixture(
    params=[
        "fake",
        "scheduled",
        *(pytest.param(name, marks=pytest.mark.vllm) for name in ("vllm", ON_ITS_LOOP, "openai")),
    ]
)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """Each engine in turn, open. The real ones start once and are shared by all tests."""
    match request.param:
        case "fake":
            async with FakeEngine(go_on, speed=4) as fake:
                yield fake
        case "scheduled":
            async with Scheduled(FakeEngine(go_on, speed=4)) as scheduled:
                yield scheduled
        case "openai":
            async with OpenAIEngine(request.getfixturevalue("vllm_server")) as client:
                yield client
        case _:
            yield request.getfixturevalue("vllm_engine")


@pytest.fixture
def question() -> list[Message]:
    text = questions(1, seed=1, steps=(4, 4))[0].question
    return [{"role": "user", "content": text}]


@pytest.fixture
async def prompt(engine: Engine, question: list[Message]) -> tuple[int, ...]:
    """A question that every engine reasons about for a hundred tokens or more, then ends."""
    return tuple(await engine.render(question, thinking=True))


@pytest.fixture
async def endless(engine: Engine) -> tuple[int, ...]:
    """A prompt that every engine goes on with until it is stopped."""
    return tuple(await engine.encode(COUNTING))
