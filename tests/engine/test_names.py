"""Engines by name: what a text stands for, and what graphs find under a name."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Self

import pytest

from dynasor_graph.engine import DEFAULT, FakeEngine, engine_named, forget, open_engine, register
from dynasor_graph.engine.names import make_engine
from dynasor_graph.engine.openai import OpenAIEngine
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.errors import ConfigError, EngineStartError
from tests.conftest import require_vllm

pytestmark = pytest.mark.anyio

NAME = "an engine of this test"

HIDDEN = """\
import sys

class Hide:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name == "vllm" else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Hide(finder) for finder in sys.meta_path]

from dynasor_graph.engine import open_engine

open_engine("abacus-7m")
"""


class Slow(FakeEngine):
    """Takes a while to open, and counts how often it was."""

    opened = 0

    async def __aenter__(self) -> Self:
        for _ in range(5):
            await asyncio.sleep(0)
        type(self).opened += 1
        return self


class Broken(FakeEngine):
    async def __aenter__(self) -> Self:
        raise EngineStartError("no memory")


@pytest.fixture(autouse=True)
def _names_are_taken_back() -> Iterator[None]:
    yield
    forget(NAME)


# Registry ------------------------------------------------------------------------------------


async def test_an_open_engine_is_found_as_it_is() -> None:
    engine = FakeEngine()
    register(NAME, engine)
    assert await engine_named(NAME) is engine


async def test_an_unknown_name_says_how_to_register_one() -> None:
    with pytest.raises(ConfigError, match=rf"registered as '{NAME}'.*register\('{NAME}', engine\)"):
        await engine_named(NAME)


async def test_a_forgotten_name_is_unknown_again() -> None:
    register(NAME, FakeEngine())
    forget(NAME)
    forget(NAME)
    with pytest.raises(ConfigError, match="no engine is registered"):
        await engine_named(NAME)


async def test_a_name_can_be_given_to_another_engine() -> None:
    first, second = FakeEngine(), FakeEngine()
    register(NAME, first)
    register(NAME, second)
    assert await engine_named(NAME) is second


async def test_a_factory_is_opened_once_however_many_ask() -> None:
    Slow.opened = 0
    register(NAME, Slow)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(engine_named(NAME)) for _ in range(20)]
    assert {id(task.result()) for task in tasks} == {id(await engine_named(NAME))}
    assert Slow.opened == 1


async def test_a_factory_that_fails_is_tried_again() -> None:
    register(NAME, Broken)
    for _ in range(2):
        with pytest.raises(EngineStartError, match="no memory"):
            await engine_named(NAME)
    register(NAME, FakeEngine)
    assert isinstance(await engine_named(NAME), FakeEngine)


def test_a_factory_opened_in_one_event_loop_serves_the_next() -> None:
    Slow.opened = 0
    register(NAME, Slow)
    assert asyncio.run(engine_named(NAME)) is asyncio.run(engine_named(NAME))
    assert Slow.opened == 1


def test_graphs_that_name_no_engine_ask_for_the_default() -> None:
    assert DEFAULT == "default"


# Specs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind", "model"),
    [
        pytest.param("fake", FakeEngine, "fake", id="fake"),
        pytest.param("http://localhost:8000", OpenAIEngine, "", id="http"),
        pytest.param("https://example.com/v1", OpenAIEngine, "", id="https"),
    ],
)
def test_a_spec_chooses_the_engine(spec: str, kind: type, model: str) -> None:
    engine = open_engine(spec)
    assert type(engine) is kind
    assert engine.model == model


@pytest.mark.vllm
@pytest.mark.parametrize("spec", ["abacus-7m", "abacus-7m-reward", "someone/a-model"])
def test_any_other_spec_is_a_model_for_vllm(spec: str) -> None:
    require_vllm()
    engine = open_engine(spec)
    assert type(engine) is VllmEngine
    assert engine.model == spec.rpartition("/")[2]


def test_without_vllm_the_extra_to_install_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "NotInstalled: vLLM is not installed: pip install 'dynasor-graph[" in done.stderr


def test_options_reach_the_engine() -> None:
    engine = open_engine("fake", context=100, block=4)
    assert (engine.context, engine.block) == (100, 4)
    assert open_engine("http://localhost:8000", model="a").model == "a"


@pytest.mark.parametrize(
    ("spec", "kind", "options"),
    [
        pytest.param("fake", "fake", {"speeed": 1}, id="fake"),
        pytest.param("http://localhost:8000", "openai", {"slots": 1}, id="http"),
    ],
)
def test_an_option_that_does_not_exist_is_named(
    spec: str, kind: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=rf"engine '{kind}': .*'{next(iter(options))}'"):
        open_engine(spec, **options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        pytest.param("vlm", {}, "unknown engine 'vlm': did you mean 'vllm'", id="unknown-kind"),
        pytest.param("openai", {}, "engine 'openai': give it a url", id="no-url"),
        pytest.param("fake", {"url": "http://a"}, "engine 'fake': leave the url out", id="url"),
    ],
)
def test_a_kind_and_its_settings_have_to_agree(
    kind: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_engine(kind, **options)


def test_a_bundled_name_stands_for_the_first_model_of_a_server() -> None:
    url = "http://localhost:8000"
    assert make_engine("openai", url=url).model == ""
    assert make_engine("openai", url=url, model="other").model == "other"
