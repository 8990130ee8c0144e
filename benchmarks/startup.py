"""Start-up: what `import dynasor_graph` and `dynasor-graph --help` cost beside a bare Python.

    python -m benchmarks.startup [--repeat 7] [--json]

Bars: import below 0.3 s, help below 0.5 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.output import show

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import dynasor_graph": ["-c", "import dynasor_graph"],
    "dynasor-graph --help": ["-m", "dynasor_graph", "--help"],
}


def measure(arguments: list[str], repeat: int) -> list[float]:
    """Wall seconds of `repeat` fresh processes, after one that warms the caches."""
    seconds = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def main() -> None:
    """Measure each command, and show its ratio to a bare Python."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    bare = 0.0
    for name, arguments in COMMANDS.items():
        seconds = measure(arguments, options.repeat)
        bare = bare or min(seconds)
        rows.append(
            {
                "command": name,
                "min_s": round(min(seconds), 3),
                "median_s": round(statistics.median(seconds), 3),
                "ratio_to_bare_python": round(min(seconds) / bare, 1),
            }
        )
    show("start-up", rows, json_out=options.json_out)


if __name__ == "__main__":
    main()
