"""Output of the benchmarks: a table, or one JSON object with `rows`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

__all__ = ["show"]


def show(title: str, rows: Sequence[Mapping[str, Any]], *, json_out: bool) -> None:
    """Print the rows; the keys of the first are the columns."""
    if json_out:
        sys.stdout.write(json.dumps({"rows": list(rows)}, indent=2) + "\n")
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
