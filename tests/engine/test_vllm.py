"""vLLM in this process: what it refuses to start, how it dies, and that it starts in silence."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dynasor_graph.abacus import model_path
from dynasor_graph.engine import complete
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.errors import (
    ConfigError,
    EngineDied,
    EngineError,
    EngineStartError,
    UnknownName,
)
from dynasor_graph.types import Delta, Load, Request
from tests.conftest import DTYPE, require_vllm
from tests.engine.conftest import COUNTING, ON_ITS_LOOP

pytestmark = [pytest.mark.anyio, pytest.mark.vllm]

SCRIPT = """\
import asyncio
from dynasor_graph.engine import complete
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.types import Request

async def main():
    async with VllmEngine("abacus-7m", max_num_seqs=4) as engine:
        request = Request(tokens=tuple(await engine.encode("So")), max_tokens=1)
        print((await complete(engine, request)).tokens)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _vllm_is_there() -> None:
    require_vllm()


def python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, as a user does, with nothing set for vLLM."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("VLLM", "TORCH"))
    }
    return subprocess.run(
        [sys.executable, "-c", script], env=kept, capture_output=True, text=True, timeout=200
    )


async def endless(engine: VllmEngine, max_tokens: int, **options: Any) -> Request:
    tokens = tuple(await engine.encode(COUNTING))
    return Request(tokens=tokens, max_tokens=max_tokens, temperature=0, **options)


def waits(count: int, load: Load) -> bool:
    return load.waiting == count


def has_generated(count: int, load: Load) -> bool:
    return load.generated >= count


async def reported(engine: VllmEngine, expected: Callable[[Load], bool]) -> None:
    for _ in range(1000):
        if expected(await engine.load()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the load stayed at {await engine.load()}")


# Starting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["abacus-8m", "./nowhere", "/nowhere/at/all", "~/model"])
async def test_a_model_that_is_not_there_names_those_that_are(model: str) -> None:
    with pytest.raises(UnknownName, match="there are: abacus-7m, abacus-7m-reward"):
        VllmEngine(model)


async def test_a_name_from_a_hub_is_left_to_vllm() -> None:
    assert VllmEngine("someone/some-model").model == "some-model"


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        pytest.param("empty", {}, "could not start 'empty'", id="no-model"),
        pytest.param("abacus-7m", {"no_such_argument": 1}, "no_such_argument", id="argument"),
        pytest.param("abacus-7m", {"max_model_len": 10**6}, "max_model_len", id="value"),
        pytest.param("broken", {}, "could not start 'broken'", id="weights"),
    ],
)
async def test_what_vllm_refuses_is_told_and_leaves_no_process(
    vllm_engine: VllmEngine,  # so that the imports are done
    tmp_path: Path,
    model: str,
    options: dict[str, Any],
    message: str,
) -> None:
    before = multiprocessing.active_children()
    if model in {"empty", "broken"}:
        (tmp_path / model).mkdir()
    if model == "broken":
        shutil.copytree(model_path(), tmp_path / model, dirs_exist_ok=True)
        (tmp_path / model / "model.safetensors").write_bytes(b"\x08" * 64)
    path = model if model == "abacus-7m" else tmp_path / model
    with pytest.raises(EngineStartError, match=message):
        async with VllmEngine(path, **options):
            pass
    assert multiprocessing.active_children() == before


async def test_an_engine_that_is_not_open_says_so() -> None:
    with pytest.raises(EngineError, match="not open: use it inside `async with`"):
        await complete(VllmEngine("abacus-7m"), Request(tokens=(5,), max_tokens=1))


@pytest.mark.timeout(240)
def test_it_starts_runs_and_ends_in_silence() -> None:
    done = python(SCRIPT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


# Running -------------------------------------------------------------------------------------


either_way = pytest.mark.parametrize("thread", [True, False], ids=["own thread", "same loop"])


@either_way
async def test_with_one_slot_the_lowest_priority_number_goes_first_and_closing_ends_the_rest(
    vllm_engine: VllmEngine, tmp_path: Path, thread: bool
) -> None:
    """One engine for three things that take one of their own: starting it is what is slow."""
    shutil.copytree(model_path(), tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").unlink()
    order: list[int] = []
    async with VllmEngine(tmp_path, max_num_seqs=1, thread=thread, dtype=DTYPE) as single:

        async def read(priority: int) -> None:
            await complete(single, await endless(single, 40, priority=priority))
            order.append(priority)

        async with asyncio.TaskGroup() as group:
            group.create_task(read(10))
            await reported(single, lambda load: load.running == 1)
            for waiting, priority in enumerate((11, 5, -1), start=1):
                group.create_task(read(priority))
                await reported(single, partial(waits, waiting))
        assert order == [10, -1, 5, 11]

        with pytest.raises(ConfigError, match="no chat template"):
            await single.render([{"role": "user", "content": "Hi"}])

        deltas = single.stream(await endless(single, 900, chunk=4))
        assert (await anext(deltas)).count > 0
        unread = asyncio.ensure_future(complete(single, await endless(single, 900)))
        await asyncio.sleep(0)
    with pytest.raises(EngineDied, match="closed while requests were running"):
        _ = [delta async for delta in deltas]
    with pytest.raises(EngineDied, match="closed while requests were running"):
        await unread
    with pytest.raises(EngineError, match="not open"):
        await complete(single, Request(tokens=(5,), max_tokens=1))


@either_way
async def test_requests_of_a_killed_engine_process_raise_engine_died(
    vllm_engine: VllmEngine, thread: bool
) -> None:
    before = set(multiprocessing.active_children())
    async with VllmEngine("abacus-7m", max_num_seqs=2, thread=thread, dtype=DTYPE) as engine:
        (process,) = set(multiprocessing.active_children()) - before
        requests = [await endless(engine, 900, chunk=chunk) for chunk in (0, 4, 4, 0)]
        running = [asyncio.ensure_future(complete(engine, request)) for request in requests]
        await reported(engine, lambda load: (load.running, load.waiting) == (2, 2))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await asyncio.wait(running)
        for task in running:
            assert isinstance(task.exception(), EngineDied)
        with pytest.raises(EngineDied, match="vLLM died"):
            await complete(engine, requests[0])
    assert (await complete(vllm_engine, await endless(vllm_engine, 4))).tokens == 4


async def test_what_vllm_refuses_raises_in_the_reader(vllm_engine: VllmEngine) -> None:
    with pytest.raises(EngineError, match=r"vLLM refused the request: .*temperature"):
        await complete(vllm_engine, Request(tokens=(5,), max_tokens=1, temperature=-1.0))
    assert (await complete(vllm_engine, await endless(vllm_engine, 4))).tokens == 4


def test_two_event_loops_use_one_engine_at_the_same_time(vllm_engine: VllmEngine) -> None:
    async def ask() -> list[list[int]]:
        request = await endless(vllm_engine, 30, chunk=2)
        return [(await complete(vllm_engine, request)).token_ids for _ in range(5)]

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: asyncio.run(ask()), range(2))
    assert one == other
    assert {len(ids) for ids in one} == {30}


async def test_tokens_of_a_terminated_request_are_on_the_engines_count(
    vllm_engine: VllmEngine,
) -> None:
    """Over HTTP some are lost on the way; here the ledger is exact."""
    await reported(vllm_engine, lambda load: load.running + load.waiting == 0)
    before, spent = await vllm_engine.load(), 0
    for chunk in (0, 1, 8):
        request = await endless(vllm_engine, 500, chunk=chunk)
        reading = asyncio.ensure_future(complete(vllm_engine, request))
        await reported(vllm_engine, partial(has_generated, before.generated + spent + 20))
        await vllm_engine.abort(request)
        spent += (await reading).tokens
        await reported(vllm_engine, lambda load: load.running + load.waiting == 0)
    assert (await vllm_engine.load()).generated - before.generated == spent
    assert vllm_engine.surcharge == 0.0  # a CPU has no graphs that a prompt could break


@pytest.mark.parametrize("engine", ["vllm", ON_ITS_LOOP], indirect=True)
async def test_who_watches_knows_what_has_begun_and_ended_before_anybody_reads_it(
    engine: VllmEngine,
) -> None:
    told: list[tuple[str, Request]] = []

    loops = list[asyncio.AbstractEventLoop]()

    def watch(begun: Sequence[Request], ended: Sequence[Request]) -> None:
        loops.append(asyncio.get_running_loop())
        told.extend(("begun", request) for request in begun)
        told.extend(("ended", request) for request in ended)

    async def read(request: Request) -> None:
        assert (await complete(engine, request)).tokens == request.max_tokens
        told.append(("read", request))

    engine.watch(watch)
    requests = [await endless(engine, tokens) for tokens in (1, 9, 9, 40)]
    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(read(request))
    engine.watch(lambda *_: None)  # others use the engine, too
    assert set(loops) == {asyncio.get_running_loop()}  # and not vLLM's, if that has a thread
    for request in requests:
        assert [what for what, one in told if one is request] == ["begun", "ended", "read"]


async def test_prefixes_are_forgotten_unless_somebody_needs_them(vllm_engine: VllmEngine) -> None:
    tokens = tuple(8 * await vllm_engine.encode("So many were there before. "))
    requests = [Request(tokens=tokens, max_tokens=1) for _ in range(3)]
    await complete(vllm_engine, requests[0])
    assert (await complete(vllm_engine, requests[1])).cached > 0
    await vllm_engine.forget_prefixes()
    assert (await complete(vllm_engine, requests[2])).cached == 0

    request = await endless(vllm_engine, 1000, chunk=1)
    reading = asyncio.ensure_future(complete(vllm_engine, request))
    await reported(vllm_engine, lambda load: load.running == 1)
    with pytest.raises(EngineError, match="still has requests"):
        await vllm_engine.forget_prefixes()
    await vllm_engine.abort(request)
    await reading


async def test_a_stream_that_nobody_finishes_reading_is_freed(vllm_engine: VllmEngine) -> None:
    async def first() -> Delta:
        async with aclosing(vllm_engine.stream(await endless(vllm_engine, 900, chunk=2))) as deltas:
            async for delta in deltas:
                return delta
        raise AssertionError("no delta came")

    assert (await first()).count > 0
    await reported(vllm_engine, lambda load: load.running + load.waiting == 0)


@pytest.mark.anyio
async def test_seeded_prompts_that_fill_a_step_do_not_kill_the_cpu_engine(vllm_engine: VllmEngine):
    """vLLM 0.32 on the CPU dies when the prompt of a seeded request is cut into chunks."""
    tokens = 60 * await vllm_engine.encode("Ada has 7 coins. ")
    requests = [Request(tokens=tuple(tokens[i : i + 120]), max_tokens=4, seed=i) for i in range(60)]
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        running = [group.create_task(complete(vllm_engine, request)) for request in requests]
    assert all(task.result().tokens for task in running)
