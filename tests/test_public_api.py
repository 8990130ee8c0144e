"""What `import dynasor_graph` offers, and how little it costs."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dynasor_graph

HEAVY = {"langgraph", "langchain_core", "vllm", "torch", "scipy", "numpy", "pydantic", "openai"}


def declared() -> dict[str, str]:
    """Name -> module, as type checkers read it."""
    tree = ast.parse(Path(dynasor_graph.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_the_public_names_are_sorted_and_each_stands_once():
    assert dynasor_graph.__all__ == sorted(set(dynasor_graph.__all__))


def test_type_checkers_see_exactly_the_public_names():
    assert sorted(declared()) == dynasor_graph.__all__


@pytest.mark.parametrize("name", dynasor_graph.__all__)
def test_a_public_name_is_what_its_module_says_it_is(name: str):
    module = importlib.import_module(declared()[name])
    assert getattr(dynasor_graph, name) is getattr(module, name)
    assert name in module.__all__


def test_the_public_names_are_listed_before_they_are_imported():
    assert set(dynasor_graph.__all__) <= set(dir(dynasor_graph))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'solv'"):
        _ = dynasor_graph.solv


def test_importing_the_package_imports_no_heavy_library():
    code = "import json, sys, dynasor_graph; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(told.stdout)}
    assert "dynasor_graph" in loaded
    assert not loaded & HEAVY
