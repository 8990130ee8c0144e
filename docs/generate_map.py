"""Writes the map and the layers in `ARCHITECTURE.md` from the modules and from `pyproject.toml`.

python -m docs.generate_map
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Final

__all__ = ["PAGE", "layers", "modules", "render"]

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "ARCHITECTURE.md"
_PACKAGE: Final = ROOT / "dynasor_graph"


def modules() -> dict[str, str]:
    """Path of every module -> the first line of its docstring; a package before its modules."""
    paths = sorted(_PACKAGE.rglob("*.py"), key=lambda path: (*path.parent.parts, path.stem))
    found = {}
    for path in paths:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.relative_to(ROOT).as_posix()] = text.partition("\n")[0]
    return found


def layers() -> list[str]:
    """The rows of the import contract, the highest first."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (rows,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [str(row) for row in rows]


def render(page: str) -> str:
    """The page with its two parts written anew."""
    rows = [f"| `{path}` | {about} |" for path, about in modules().items()]
    page = _put(page, "map", ["| Module | |", "| --- | --- |", *rows])
    return _put(page, "layers", ["```text", *layers(), "```"])


def _put(page: str, name: str, lines: list[str]) -> str:
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not begin or not end:
        raise ValueError(f"{PAGE}: the marks of {name!r} are gone")
    return before + begin + "\n".join(["", *lines, "", ""]) + end + after


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
