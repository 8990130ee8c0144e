"""ARCHITECTURE.md: its map and its layers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate_map import PAGE, layers, modules, render

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| `(dynasor_graph/[\w/]+\.py)` \| (.*) \|$", re.MULTILINE)


def test_the_map_says_of_each_module_what_the_module_says_of_itself():
    assert dict(ROW.findall(PAGE.read_text())) == modules(), "run `make docs-cli`"


def test_the_map_holds_every_module_once():
    named = [path for path, _ in ROW.findall(PAGE.read_text())]
    there = {x.relative_to(ROOT).as_posix() for x in (ROOT / "dynasor_graph").rglob("*.py")}
    assert set(named) == there
    assert len(named) == len(there)


def test_the_layers_are_those_that_are_checked():
    _, _, rest = PAGE.read_text().partition("<!-- layers -->")
    assert re.findall(r"```text\n(.*?)\n```", rest, re.DOTALL)[0].splitlines() == layers()


@pytest.mark.parametrize("path", modules())
def test_a_module_begins_with_one_sentence_about_itself(path: str):
    about = modules()[path]
    assert about.endswith("."), about
    assert "|" not in about, "it stands in a table"


def test_writing_the_page_anew_changes_nothing():
    page = PAGE.read_text()
    assert render(page) == page, "run `make docs-cli`"


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="map"):
        render("# Architecture\n")
