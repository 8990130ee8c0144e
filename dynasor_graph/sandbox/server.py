"""Fork server: one worker: a warm interpreter that forks a guarded child for each input.

Jobs come on stdin and go out on stdout, as JSON after its length in 4 bytes. What goes wrong beside the
program ends the worker, and the pool starts another.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynasor_graph.sandbox import harness
from dynasor_graph.sandbox.confine import Confinement, enter_namespaces, enter_rlimits

__all__ = ["receive", "send", "serve"]

# What programs often import: it is read once, before the fork.
_WARM = "bisect collections copy decimal fractions functools heapq itertools json math operator"
_WARM += " random re string statistics typing"


def send(fd: int, message: Any) -> None:
    """Write a message as JSON after its length."""
    text = json.dumps(message).encode()
    rest = memoryview(struct.pack("!I", len(text)) + text)
    while rest:
        rest = rest[os.write(fd, rest) :]


def receive(fd: int) -> Any:
    """Read a message.

    Raises:
        EOFError: The other side has gone.
    """
    (size,) = struct.unpack("!I", _exactly(fd, 4))
    return json.loads(_exactly(fd, size))


def _exactly(fd: int, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = os.read(fd, size - len(found))
        if not piece:
            raise EOFError
        found += piece
    return bytes(found)


def serve(isolation: str, folder: str, size: int) -> None:
    """Shut oneself in, say so, and run jobs until there are no more."""
    jobs, replies = os.dup(0), os.dup(1)
    try:
        if isolation == "namespaces":
            confinement = enter_namespaces(folder, size)
        else:
            confinement = enter_rlimits(folder)
    except OSError as error:
        send(replies, {"error": str(error)})
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _WARM.split():
        __import__(name)
    gc.freeze()
    os.environ.update({"TMPDIR": confinement.folder, "HOME": confinement.folder})
    send(replies, {"ready": os.getpid()})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            send(replies, _run(receive(jobs), confinement))


def _run(job: Mapping[str, Any], confinement: Confinement) -> list[dict[str, Any]]:
    end = time.monotonic() + job["limits"]["total_seconds"]
    outputs: list[dict[str, Any]] = []
    for given in job["inputs"]:
        left = end - time.monotonic()
        if outputs and outputs[-1]["failure"] == "syntax":
            outputs.append(outputs[-1])
        elif left <= 0:
            outputs.append(_failed("timeout", "no time was left for this input"))
        else:
            outputs.append(_run_once(job, given, confinement, left))
    return outputs


def _failed(failure: str | None, detail: str = "", exception: str | None = None) -> dict[str, Any]:
    return {
        "value": None,
        "failure": failure,
        "detail": detail,
        "exception": exception,
        "seconds": 0.0,
    }


def _run_once(
    job: Mapping[str, Any], given: Any, confinement: Confinement, left: float
) -> dict[str, Any]:
    """One input in one child; when this returns, nothing of it is left."""
    began = time.monotonic()
    limits = job["limits"]
    (out, child_out), (report, child_report) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.chdir(confinement.folder)
            report = harness.attach(given, child_out, child_report)
            confinement.close()
            harness.limit(limits, confinement.processes(limits["processes"]))
        except BaseException:  # noqa: BLE001  nothing of the program may run unguarded
            os._exit(97)
        harness.run(job, given, report)
    os.close(child_out)
    os.close(child_report)
    process = os.pidfd_open(child)
    seconds = min(limits["seconds"], left)
    try:
        pipes = {out: bytearray(), report: bytearray()}
        most = {out: limits["output"], report: 8 * limits["output"] + 4096}
        ended = _watch(process, pipes, most, began + seconds)
        _kill(child, confinement)
        _, status = os.waitpid(child, 0)
        _drain(pipes, most)
    finally:
        for fd in (process, out, report):
            os.close(fd)
    _clear(confinement)
    found = _judge(ended, status, bytes(pipes[out]), bytes(pipes[report]), job, seconds)
    return found | {"seconds": time.monotonic() - began}


def _watch(
    process: int, pipes: Mapping[int, bytearray], most: Mapping[int, int], until: float
) -> str | None:
    """Read what a child writes until it ends (None), or until it has to: `timeout` or `output`."""
    poll = select.poll()
    for fd in (process, *pipes):
        poll.register(fd, select.POLLIN)
    while True:
        left = until - time.monotonic()
        ready = {fd for fd, _ in poll.poll(max(0, left * 1000))}
        for fd in ready - {process}:
            piece = os.read(fd, 65536)
            pipes[fd].extend(piece)
            if not piece:
                poll.unregister(fd)
            if len(pipes[fd]) > most[fd]:
                return "output"
        if process in ready:
            return None
        if left <= 0:
            return "timeout"


def _drain(pipes: Mapping[int, bytearray], most: Mapping[int, int]) -> None:
    """What is still in the pipes, now that nobody writes any more."""
    for fd, text in pipes.items():
        os.set_blocking(fd, False)
        with contextlib.suppress(BlockingIOError):
            while len(text) <= most[fd] and (piece := os.read(fd, 65536)):
                text.extend(piece)


def _kill(child: int, confinement: Confinement) -> None:
    """Kill a child and whatever it has started; the child itself is still to be waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1 if confinement.namespaces else -child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def _clear(confinement: Confinement) -> None:
    """Reap what was killed, and empty the folder."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0 if confinement.namespaces else os.WNOHANG)[0]:
            pass
    for entry in list(os.scandir(confinement.folder)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()


def _judge(
    ended: str | None,
    status: int,
    out: bytes,
    report: bytes,
    job: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    limits = job["limits"]
    if ended == "timeout" or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return _failed("timeout", f"more than {seconds:g} s")
    if ended == "output" or len(out) > limits["output"]:
        return _failed("output", f"more than {limits['output']} bytes")
    if os.WIFSIGNALED(status):
        return _failed("crash", f"ended by {signal.Signals(os.WTERMSIG(status)).name}")
    if os.WEXITSTATUS(status) == 97:
        raise RuntimeError("a program could not be confined")
    found = _said(report)
    if found is None:
        return _failed("crash", f"ended with {os.WEXITSTATUS(status)} and without a result")
    if found["failure"] is None and job["function"] is None:
        found["value"] = out.decode(errors="replace")
    if len(found["value"] or "") > limits["output"]:
        return _failed("output", f"more than {limits['output']} characters")
    return found


def _said(report: bytes) -> dict[str, Any] | None:
    """What a child reported; None if that makes no sense: the program may have written it."""
    try:
        said = json.loads(report)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    value, failure, exception = (said.get(key) for key in ("value", "failure", "exception"))
    if failure in ("syntax", "exception", "memory"):
        told = exception if isinstance(exception, str) else None
        return _failed(failure, str(said.get("detail", "")), told)
    if failure is not None or not isinstance(value, str):
        return None
    return _failed(None) | {"value": value}
