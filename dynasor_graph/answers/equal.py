"""Equality of mathematical answers, by math-verify in a process of its own.

math-verify bounds its time with signals, which work in a main thread only, and some expressions
keep sympy busy for minutes. So one child process serves all comparisons; if it does not answer in
time it is replaced, and the pair counts as different.
"""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
import threading
from collections.abc import Sequence

__all__ = ["math_equal"]


class _Child:
    """The comparing process: started at the first use, replaced when it hangs or dies.

    Args:
        command: What is run: reads a pair of answers a line, writes `true` or `false`.
        seconds: Longest wait for a verdict.
        start: Longest wait for the first one, which includes the imports.
    """

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-m", "dynasor_graph.answers.verify"),
        *,
        seconds: float = 5.0,
        start: float = 60.0,
    ) -> None:
        self._command, self._seconds, self._start = command, seconds, start
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._warm = False

    def ask(self, a: str, b: str) -> bool:
        with self._lock:
            process = self._alive()
            limit = self._seconds if self._warm else self._start
            timer = threading.Timer(limit, process.kill)
            timer.start()
            try:
                if process.stdin is None or process.stdout is None:
                    raise BrokenPipeError
                process.stdin.write(json.dumps([a, b]) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            finally:
                timer.cancel()
            self._warm = bool(line)
            if not line:
                self.close()
            return line.strip() == "true"

    def _alive(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._warm = False
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:
                pass  # closes the pipes and waits
            self._process = None


_child = _Child()
atexit.register(_child.close)


@functools.lru_cache(maxsize=65_536)
def _cached(a: str, b: str) -> bool:
    return _child.ask(a, b)


def math_equal(a: str, b: str) -> bool:
    """Whether two answers are the same mathematical object, in both directions.

    Blocks for about 2 ms (seconds at the first use): call it off the event loop.
    """
    return a == b or _cached(*sorted((a, b)))
