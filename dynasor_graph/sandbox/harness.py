"""Harness: what a guarded child does: gives itself up to its limits, then runs the program once.

The program shares this process and may do with it what it likes. It can lie about its own outputs, as
it could by printing others; nobody believes more of it than that.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

__all__ = ["attach", "limit", "run", "written"]

_NAME = "<program>"


def run(job: Mapping[str, Any], given: Any, report: int) -> NoReturn:
    """Run a program on one input, write a line of JSON to `report`, and end the process."""
    said: dict[str, Any]
    try:
        said = _outcome(job, given)
    except SystemExit as error:
        said = {"value": ""} if error.code in (None, 0) else _failure(error)
    except MemoryError:
        said = {"failure": "memory", "detail": f"more than {job['limits']['memory']} bytes"}
    except BaseException as error:  # noqa: BLE001  it is the program's
        said = _failure(error)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()  # unless the program closed or replaced it
    os.write(report, json.dumps(said).encode())
    os._exit(0)


def _outcome(job: Mapping[str, Any], given: Any) -> dict[str, Any]:
    try:
        code = compile(job["source"], _NAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, OverflowError) as error:
        return _failure(error) | {"failure": "syntax"}
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(code, names)
    if job["function"] is None:
        return {"value": ""}
    if not callable(found := names.get(job["function"])):
        detail = f"there is no function {job['function']!r}"
        return {"failure": "exception", "exception": "NameError", "detail": detail}
    return {"value": written(found(*given))[: job["limits"]["output"] + 1]}


def _failure(error: BaseException) -> dict[str, Any]:
    line, at = getattr(error, "lineno", None), error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == _NAME:
            line = at.tb_lineno
        at = at.tb_next
    kind = type(error).__name__
    try:
        text = str(error)[:300]
    except Exception:  # noqa: BLE001  it is the program's
        text = ""
    where = f" (line {line})" if line else ""
    return {"failure": "exception", "exception": kind, "detail": f"{kind}: {text}{where}"}


def written(value: Any) -> str:
    """A value as text, in one way only: sets in order, floats to 12 digits, tuples as lists."""
    match value:
        case float() if math.isfinite(value):
            return f"{value:.12g}" if value != int(value) or abs(value) >= 1e15 else f"{value:.1f}"
        case list() | tuple():
            return "[" + ", ".join(map(written, value)) + "]"
        case set() | frozenset():
            return "{" + ", ".join(sorted(map(written, value))) + "}"
        case dict():
            items = sorted((written(key), written(one)) for key, one in value.items())
            return "{" + ", ".join(f"{key}: {one}" for key, one in items) + "}"
        case _:
            return repr(value)


def limit(limits: Mapping[str, Any], processes: int) -> None:
    """Set the resource limits; what they bound is bounded for good."""
    cpu = math.ceil(limits["seconds"]) + 1  # the server's clock comes first, unless many share it
    for what, most, hardest in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),  # a signal that has a name, then SIGKILL
        (resource.RLIMIT_AS, limits["memory"], limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["files"], limits["files"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NPROC, processes, processes),
    ):
        hard = resource.getrlimit(what)[1]
        if hard == resource.RLIM_INFINITY:
            hard = hardest
        resource.setrlimit(what, (min(most, hard), min(hardest, hard)))


def attach(given: Any, out: int, report: int) -> int:
    """Make stdin the text that is given and stdout `out`; close all else but the report's pipe.

    Returns:
        The report's pipe, as it is numbered now.
    """
    entered = os.memfd_create("stdin")
    if isinstance(given, str):
        text = memoryview(given.encode(errors="replace"))
        while text:
            text = text[os.write(entered, text) :]
        os.lseek(entered, 0, os.SEEK_SET)
    aside = os.open(os.devnull, os.O_WRONLY)
    for at, fd in enumerate([entered, out, aside, report]):
        os.dup2(fd, 100 + at)
    for at in range(4):
        os.dup2(100 + at, at, inheritable=at < 3)
    os.closerange(4, 4096)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    return 3
