"""Kept: runs on a real engine, line by line as they end, with all that it takes to simulate them."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.online.sweep import Cell
from dynasor_graph.errors import explain
from dynasor_graph.simulation import Speed

__all__ = ["KeptFile", "KeptRun", "Telling", "Terms", "read_kept"]


class Terms(BaseModel):
    """What the runs that follow have in common.

    Attributes:
        workload: As told to `benchmarks.online`, and likewise `most`, `arrivals`, `seed` and `policy`.
        seconds: For so long programs came.
        base: The base deadline, in seconds.
        speed: That was measured before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: str
    most: int | None = None
    arrivals: str = "poisson"
    seed: int = 0
    policy: str | None = None
    seconds: float
    base: float
    speed: Speed


class KeptRun(BaseModel):
    """One system at one rate.

    Attributes:
        system: By name.
        cell: What came of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    cell: Cell


class KeptFile:
    """A file that grows: a line of terms, then a line for each run under them.

    Args:
        path: Made anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text("")

    def write(self, line: Terms | KeptRun) -> None:
        """Add a line; what was written stays if the next run never ends."""
        with self._path.open("a") as file:
            file.write(line.model_dump_json() + "\n")


class Telling:
    """Says what comes on the way, and keeps it.

    Args:
        terms: Of the runs; the base deadline is told later.
        file: Where it is kept, if it is.
    """

    def __init__(self, terms: Terms, file: KeptFile | None) -> None:
        self._terms, self._file = terms, file

    def based(self, base: float) -> None:
        """The base deadline is known, in seconds."""
        sys.stderr.write(f"base deadline {base:.2f} s\n")
        if self._file is not None:
            self._file.write(self._terms.model_copy(update={"base": base}))

    def ended(self, system: str, cell: Cell) -> None:
        """A run has ended."""
        sys.stderr.write(f"{system} at {cell.rate:g}: {cell}\n")
        if self._file is not None:
            self._file.write(KeptRun(system=system, cell=cell))


def read_kept(path: Path) -> list[tuple[Terms, KeptRun]]:
    """All runs of a file, each with its terms.

    Raises:
        SystemExit: It is no such file; says which line, and what is wrong with it.
    """
    if not path.is_file():
        raise SystemExit(f"{path}: no such file: `benchmarks.online --engine ... --kept` makes it")
    runs, terms = list[tuple[Terms, KeptRun]](), None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            if '"system"' not in line:
                terms = Terms.model_validate_json(line)
            elif terms is not None:
                runs.append((terms, KeptRun.model_validate_json(line)))
            else:
                raise SystemExit(f"{path}, line {number}: a run without terms before it")
        except ValidationError as error:
            raise SystemExit(str(explain(error, f"{path}, line {number}"))) from None
    if not runs:
        raise SystemExit(f"{path}: there are no runs in it")
    return runs
