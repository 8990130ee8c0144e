"""Worker: one fork server as its pool sees it: a process that is asked, and replaced when it fails."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynasor_graph.errors import SandboxError
from dynasor_graph.sandbox.server import receive, send

__all__ = ["Worker"]

_START = 30.0  # seconds
_ROOT = str(Path(__file__).parents[2])
_SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
from dynasor_graph.sandbox.server import serve
serve(sys.argv[2], sys.argv[3], int(sys.argv[4]))
"""


class Worker:
    """A fork server in a process group of its own. Belongs to one thread, but for `kill`.

    Args:
        isolation: `namespaces` or `rlimits`.
        files: Bytes that its programs may write.

    Raises:
        SandboxError: It could not be started; in this way not on this machine, perhaps.
    """

    def __init__(self, isolation: str, files: int) -> None:
        self._folder = tempfile.mkdtemp(prefix=f"dynasor-sandbox-{os.getpid()}-")
        # Without -I, which would not let PYTHONHASHSEED count: sets have one order in all workers.
        command = [sys.executable, "-s", "-P", "-B", "-c", _SERVE, _ROOT]
        self._process = subprocess.Popen(
            [*command, isolation, self._folder, str(files)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            cwd="/",
            start_new_session=True,
        )
        try:
            hello = self._exchange(None, _START)
            if "error" in hello:
                raise SandboxError(
                    f"a worker could not shut itself in ({isolation}): {hello['error']}"
                )
        except EOFError:
            self.close()
            raise SandboxError(f"a worker of the sandbox did not start ({isolation})") from None
        except SandboxError:
            self.close()
            raise

    def ask(self, job: Mapping[str, Any], seconds: float) -> list[dict[str, Any]]:
        """What the server says to a job.

        Raises:
            EOFError: It died, was killed, or said nothing for so long.
        """
        found: list[dict[str, Any]] = self._exchange(job, seconds)
        return found

    def _exchange(self, job: Mapping[str, Any] | None, seconds: float) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(seconds, self.kill)
        timer.start()
        try:
            if job is not None:
                send(self._process.stdin.fileno(), job)
            return receive(self._process.stdout.fileno())
        except (BrokenPipeError, ValueError):
            raise EOFError from None
        finally:
            timer.cancel()

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, with the program that runs; from any thread."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and leave nothing behind."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        _remove(self._folder)


def _remove(folder: str) -> None:
    """Remove a folder that a program may have filled with anything: unreadable, or very deep."""
    with contextlib.suppress(OSError):
        Path(folder).rmdir()
    if Path(folder).exists():  # the tools of the system neither recurse nor follow links
        subprocess.run(
            ["chmod", "-R", "u+rwX", "--", folder], stderr=subprocess.DEVNULL, check=False
        )
        subprocess.run(["rm", "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)
