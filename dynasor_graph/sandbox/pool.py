"""Sandbox: runs untrusted programs on a pool of warm workers, so many at once and no more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from types import TracebackType
from typing import Any, Literal, Self

from dynasor_graph.errors import ConfigError, SandboxError
from dynasor_graph.sandbox.script import Limits, Outcome, Output, Script
from dynasor_graph.sandbox.worker import Worker

__all__ = ["Isolation", "Protection", "Sandbox"]

Isolation = Literal["auto", "namespaces", "rlimits"]

_GRACE = 5.0  # seconds that a worker may take beyond its program's


@dataclass(frozen=True, slots=True)
class Protection:
    """What programs cannot do here: each was tried by a program, not looked up."""

    isolation: str
    """`namespaces` or `rlimits`."""
    network: bool
    """They open no socket."""
    writing: bool
    """They write nowhere but in their folder."""
    reading: bool
    """They read nothing but the interpreter and the system's libraries."""
    signals: bool
    """They signal and see no other process."""
    processes: bool
    """They start no more processes than they may."""


class Sandbox:
    """Runs untrusted Python programs. Made at no cost: workers start as they are needed.

    May be used from any event loop and any thread. A worker is an interpreter that forks a child for
    each input; while as many programs run as there are workers, others wait.

    Args:
        limits: For every program.
        workers: Programs at once, >= 1; as many as there are processors by default.
        isolation: `auto`: namespaces where the kernel allows them, else resource limits and filters.

    Attributes:
        limits: As given.
        workers: As given.

    Raises:
        ConfigError: A setting is out of range.
        SandboxError: This is not Linux.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        workers: int | None = None,
        isolation: Isolation = "auto",
    ) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers: must be at least 1, got {workers!r}")
        if isolation not in ("auto", "namespaces", "rlimits"):
            raise ConfigError(f"isolation: must be auto, namespaces or rlimits, got {isolation!r}")
        if sys.platform != "linux":
            raise SandboxError(f"the sandbox needs Linux, and this is {sys.platform}")
        self.limits = limits or Limits()
        self.workers = workers or len(os.sched_getaffinity(0))
        self._isolation: str = isolation
        self._lock = threading.Lock()  # only one finds out what the machine allows
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._protection: Protection | None = None

    async def run(self, script: Script) -> Outcome:
        """Run a program on its inputs. If this is cancelled, the program is killed.

        Raises:
            SandboxError: No worker can be started here, or the sandbox is closed.
        """
        job = _Job(script)
        try:
            future = self._threads.submit(self._run, job)
        except RuntimeError:
            raise SandboxError("the sandbox is closed: open another") from None
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            job.cancel()
            raise

    @property
    def protection(self) -> Protection:
        """What programs are kept from on this machine; found out once, in some 0.2 s.

        Raises:
            SandboxError: No worker can be started here.
        """
        if self._protection is None:
            probe = Script(_PROBE % self.limits.processes, [""])
            (output,) = self._threads.submit(self._run, _Job(probe)).result().outputs
            if output.value is None:
                raise SandboxError(f"programs do not run here: {output.failure}: {output.detail}")
            can = set(output.value.split())
            names = [one.name for one in fields(Protection)][1:]
            self._protection = Protection(
                self._isolation, **{name: name not in can for name in names}
            )
        return self._protection

    def close(self) -> None:
        """End all workers; programs that run are waited for."""
        self._threads.shutdown(cancel_futures=True)
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, job: _Job) -> Outcome:
        """In one of the pool's threads: there are as many as there may be workers."""
        row = {
            "source": job.script.source,
            "function": job.script.function,
            "inputs": list(job.script.inputs),
            "limits": asdict(self.limits),
        }
        try:
            rows = self._ask(self._take(), job, row)
        except EOFError:
            try:  # it may have died idle; a program that ends its worker ends two
                rows = [] if job.cancelled else self._ask(self._start(), job, row)
            except EOFError:
                died = Output(failure="crash", detail="its worker died")
                return Outcome((died,) * len(job.script.inputs))
        return Outcome(tuple(Output(**one) for one in rows))

    def _ask(self, worker: Worker, job: _Job, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Have a worker run a job, and keep it if it is still good."""
        try:
            with job.on(worker):
                rows = worker.ask(row, self.limits.total_seconds + _GRACE)
        except BaseException:
            worker.close()
            raise
        if job.cancelled:
            worker.close()  # it was killed, perhaps, the moment it had said all
        else:
            self._idle.put(worker)
        return rows

    def _take(self) -> Worker:
        with contextlib.suppress(queue.Empty):
            while True:
                worker = self._idle.get_nowait()
                if worker.alive:
                    return worker
                worker.close()
        return self._start()

    def _start(self) -> Worker:
        with self._lock:
            if self._isolation == "auto":
                try:
                    worker = Worker("namespaces", self.limits.files)
                except SandboxError:
                    self._isolation = "rlimits"
                else:
                    self._isolation = "namespaces"
                    return worker
        return Worker(self._isolation, self.limits.files)


class _Job:
    """A program on its way, which may be cancelled before, while or after it has a worker."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self.cancelled = False

    @contextlib.contextmanager
    def on(self, worker: Worker) -> Iterator[None]:
        with self._lock:
            if self.cancelled:
                worker.kill()
            self._worker = worker
        try:
            yield
        finally:
            with self._lock:
                self._worker = None

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._worker is not None:
                self._worker.kill()


_PROBE = """
import os, socket, time

def can(what, attempt):
    try:
        attempt()
    except BaseException:
        return
    print(what)

def fork():  # all of them live until this ends
    for _ in range(%d):
        if os.fork() == 0:
            time.sleep(1)
            os._exit(0)

def write():
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/"):
        name = os.path.join(folder, "dynasor-sandbox-probe")
        if os.path.realpath(folder) != os.path.realpath("."):
            try:
                open(name, "x").close()
            except OSError:
                continue
            os.unlink(name)
            return
    raise OSError

can("network", lambda: socket.socket(socket.AF_INET).connect(("127.0.0.1", 9)))
can("writing", write)
can("reading", lambda: open("/etc/passwd").close())
can("signals", lambda: os.kill(os.getppid() if os.getppid() > 1 else 2**22, 0))
can("processes", fork)
"""
