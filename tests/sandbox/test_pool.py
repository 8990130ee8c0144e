"""The pool: outputs, limits as settings, many at once, cancellation, any event loop, closing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from dynasor_graph.errors import ConfigError, InputError, SandboxError
from dynasor_graph.sandbox import Limits, Output, Sandbox, Script
from dynasor_graph.sandbox.harness import written
from dynasor_graph.sandbox.server import _judge
from dynasor_graph.sandbox.worker import Worker

pytestmark = pytest.mark.anyio


def workers() -> list[int]:
    """The process groups of the workers of this process."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mine = f"\nPPid:\t{os.getpid()}\n" in (process / "status").read_text()
            if mine and b"dynasor-sandbox-" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=5, total_seconds=20), workers=2) as one:
        yield one


@pytest.mark.parametrize(
    ("program", "outputs"),
    [
        pytest.param(
            Script("print(int(input()) * 2)", ["3", "4\n"]),
            [Output("6\n"), Output("8\n")],
            id="stdin",
        ),
        pytest.param(
            Script("print(open(0).read(), end='')", ["a\nb", "ü", ""]),
            [Output("a\nb"), Output("ü"), Output("")],
            id="stdin-by-number",
        ),
        pytest.param(
            Script("def f(a, b=1): return a / b", [[1], [1, 4], [1, 0]], "f"),
            [
                Output("1.0"),
                Output("0.25"),
                Output(failure="exception", exception="ZeroDivisionError"),
            ],
            id="function",
        ),
        pytest.param(
            Script("n = 0\ndef f():\n global n\n n += 1\n return n", [[], []], "f"),
            [Output("1"), Output("1")],
            id="each-input-begins-anew",
        ),
        pytest.param(
            Script("def g(): pass", [[]], "f"),
            [Output(failure="exception", exception="NameError")],
            id="no-such-function",
        ),
        pytest.param(
            Script("print(", ["", ""]),
            [Output(failure="syntax", exception="SyntaxError")] * 2,
            id="syntax-error",
        ),
        pytest.param(
            Script("\0", [""]), [Output(failure="syntax", exception="SyntaxError")], id="nul"
        ),
        pytest.param(
            Script("import sys\nprint(1)\nsys.exit()", [""]), [Output("1\n")], id="exits-well"
        ),
        pytest.param(
            Script("import sys\nsys.exit('no')", [""]),
            [Output(failure="exception", exception="SystemExit")],
            id="exits-badly",
        ),
        pytest.param(Script("", [""]), [Output("")], id="empty"),
        pytest.param(
            Script("if __name__ == '__main__': print(1)", [""]), [Output("1\n")], id="main"
        ),
        pytest.param(
            Script("def f(x): return x", [["\ud800"]], "f"), [Output(r"'\ud800'")], id="surrogate"
        ),
    ],
)
async def test_a_program_runs_on_each_input(box: Sandbox, program: Script, outputs: list[Output]):
    found = await box.run(program)
    assert [(one.value, one.failure, one.exception) for one in found.outputs] == [
        (one.value, one.failure, one.exception) for one in outputs
    ]


async def test_a_failure_says_where(box: Sandbox):
    (output,) = (await box.run(Script("def f():\n    return {}['x']\nf()", [""]))).outputs
    assert output.detail == "KeyError: 'x' (line 2)"


async def test_inputs_for_which_no_time_is_left_are_timeouts():
    with Sandbox(Limits(seconds=1, total_seconds=0.3), workers=1) as box:
        outcome = await box.run(Script("while True: pass", ["", "", ""]))
        assert [one.failure for one in outcome.outputs] == ["timeout"] * 3
        assert sum(one.seconds for one in outcome.outputs) < 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({3, 1, 2}, "{1, 2, 3}", id="set"),
        pytest.param({"b": 1, "a": (1, 2)}, "{'a': [1, 2], 'b': 1}", id="dict"),
        pytest.param([0.1 + 0.2, 1e16, 2.0, -0.0], "[0.3, 1e+16, 2.0, -0.0]", id="floats"),
        pytest.param([float("nan"), float("inf")], "[nan, inf]", id="no-numbers"),
        pytest.param((True, None, "x", b"y"), "[True, None, 'x', b'y']", id="others"),
    ],
)
def test_a_value_is_written_in_one_way(value: Any, text: str):
    assert written(value) == text


async def test_while_all_workers_are_busy_others_wait(box: Sandbox):
    source = (
        "import time\nstart = time.monotonic(); time.sleep(0.2); print(start, time.monotonic())"
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(box.run(Script(source, [""]))) for _ in range(6)]
    spans = [tuple(map(float, (task.result().values[0] or "").split())) for task in tasks]
    for start, _ in spans:
        assert sum(begin <= start < end for begin, end in spans) <= box.workers


async def test_a_cancelled_run_is_killed_and_others_go_on(box: Sandbox, tmp_path: Path):
    running = asyncio.create_task(box.run(Script("while True: pass", ["", "", "", ""])))
    other = asyncio.create_task(box.run(Script("import time; time.sleep(0.3); print(1)", [""])))
    waiting = asyncio.create_task(box.run(Script("print(2)", [""])))
    await asyncio.sleep(0.1)
    running.cancel()
    waiting.cancel()
    for task in (running, waiting):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await other).values == ("1\n",)
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:  # no worker is busy with what was cancelled
        for _ in range(2):
            group.create_task(box.run(Script("print(1)", [""])))
    assert asyncio.get_running_loop().time() - began < 4


def test_one_sandbox_serves_any_event_loop(box: Sandbox):
    for _ in range(2):
        assert asyncio.run(box.run(Script("print(1)", [""]))).values == ("1\n",)


async def test_a_worker_that_dies_is_replaced(box: Sandbox):
    await box.run(Script("print(1)", [""]))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(box.run(Script("import time; time.sleep(1); print(2)", [""])))
        await asyncio.sleep(0.2)
        for worker in workers():
            os.killpg(worker, signal.SIGKILL)
    assert task.result().values == ("2\n",), "it began anew"
    assert (await box.run(Script("print(1)", [""]))).values == ("1\n",)


async def test_a_closed_sandbox_says_so():
    box = Sandbox(workers=1)
    box.close()
    with pytest.raises(SandboxError, match="closed: open another"):
        await box.run(Script("", [""]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda: Limits(seconds=0), "limits.seconds: must be a number of", id="seconds"
        ),
        pytest.param(lambda: Limits(memory=1), "limits.memory: .* got 1", id="memory"),
        pytest.param(lambda: Limits(output=0), "whole number of at least 1", id="whole"),
        pytest.param(lambda: Limits(seconds=float("nan")), "got nan", id="nan"),
        pytest.param(lambda: Sandbox(workers=0), "workers: must be at least 1", id="workers"),
        pytest.param(
            lambda: Sandbox(isolation=cast("Any", "x")), "isolation: must be auto,", id="isolation"
        ),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(make: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("", []), "at least one input", id="no-inputs"),
        pytest.param(("", [1]), "inputs.0: must be a text, got 1", id="no-text"),
        pytest.param(("", [[1], "x"], "f"), "inputs.1: must be a list of arguments", id="no-list"),
        pytest.param(("", [[{1}]], "f"), "inputs: must be plain JSON", id="no-json"),
        pytest.param(("", [[]], "f()"), "function: must be the name", id="no-name"),
    ],
)
def test_a_program_that_cannot_be_run_is_refused(arguments: Any, message: str):
    with pytest.raises(InputError, match=message):
        Script(*arguments)


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"[1]", id="list"),
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b"\xff", id="bytes"),
        pytest.param(b'{"value": 1}', id="no-text"),
        pytest.param(b'{"failure": "timeout"}', id="a-lie"),
        pytest.param(b'{"failure": ["syntax"]}', id="unhashable"),
        pytest.param(b'{"value": "1"}{"value": "2"}', id="two"),
    ],
)
def test_a_report_that_makes_no_sense_is_a_crash(report: bytes):
    job = {"limits": {"output": 100}, "function": "f"}
    assert _judge(None, 0, b"", report, job, 1.0)["failure"] == "crash"


async def test_where_namespaces_are_not_allowed_rlimits_take_over(monkeypatch: pytest.MonkeyPatch):
    class Refusing(Worker):
        def __init__(self, isolation: str, files: int) -> None:
            if isolation == "namespaces":
                raise SandboxError("not allowed")
            super().__init__(isolation, files)

    monkeypatch.setattr("dynasor_graph.sandbox.pool.Worker", Refusing)
    with Sandbox(workers=1) as box:
        assert (await box.run(Script("print(1)", [""]))).values == ("1\n",)
        assert box.protection.isolation == "rlimits"
    with (
        Sandbox(workers=1, isolation="namespaces") as box,
        pytest.raises(SandboxError, match="not allowed"),
    ):
        await box.run(Script("print(1)", [""]))


def test_a_sandbox_that_was_not_used_has_no_process():
    before = len(list(Path("/proc/self/fd").iterdir()))
    Sandbox(workers=4).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
