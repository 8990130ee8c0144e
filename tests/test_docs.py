"""The documentation: its examples run, its commands work, and what is generated is current."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import typer
import uvicorn
from pytest_examples import CodeExample, EvalExample, find_examples

import dynasor_graph
from docs.generate_cli import PAGE as CLI_PAGE, render
from dynasor_graph import errors
from dynasor_graph.abacus import recording_path
from dynasor_graph.algorithms import ALGORITHMS
from dynasor_graph.calibration import BelongsTo, Bound, PolicyFile
from dynasor_graph.cli import app, main
from dynasor_graph.engine import names
from dynasor_graph.policies import PRESETS, RULES, Value, read_policy
from dynasor_graph.recordings import read_recording, write_recording

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = list(find_examples(*PAGES))

BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SECONDS = re.compile(r"\d+\.\d+ s")
NOT_HERE = {"--url", "--model", "-m", "--engine", "-e"}
"""Options that name an engine: the commands of the pages run on the scripted one."""


def blocks(page: Path, kind: str) -> list[str]:
    return [text for _, found, text in BLOCK.findall(page.read_text()) if found == kind]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `dynasor-graph` of a shell block: where it stands, and its arguments."""
    for page in PAGES:
        for text in blocks(page, "bash"):
            for line in text.replace("\\\n", " ").splitlines():
                if "dynasor-graph " in line:
                    words = shlex.split(line, comments=True)
                    at = words.index("dynasor-graph")
                    yield page.relative_to(ROOT).as_posix(), words[at + 1 :]


COMMANDS = [pytest.param(args, id=f"{page}: {' '.join(args)}") for page, args in commands()]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own, and the tables of rules, algorithms and engines as they were after it."""
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    with patch.dict(RULES), patch.dict(ALGORITHMS), patch.dict(names._engines._found):
        yield


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_prints_what_it_says(example: CodeExample, eval_example: EvalExample):
    if example.prefix_settings().get("test") == "skip":
        pytest.skip("needs a model")
    eval_example.set_config(line_length=100)
    failed = None
    try:
        if eval_example.update_examples:
            eval_example.run_print_update(example)
        else:
            eval_example.run_print_check(example)
    except Exception as error:  # noqa: BLE001 - pytest trips over the traceback that is made here
        failed = f"{example}: {type(error).__name__}: {error}"
    if failed:
        pytest.fail(failed, pytrace=False)


def test_an_example_that_is_not_run_says_why_and_is_still_python():
    skipped = [x for x in EXAMPLES if x.prefix_settings().get("test") == "skip"]
    assert skipped
    for example in skipped:
        assert example.source.startswith("# Not run by the tests: "), example
        compile(example.source, str(example), "exec")


def test_the_pages_hold_examples_and_commands():
    assert len(EXAMPLES) > 30
    assert len(COMMANDS) > 10


RECORDINGS = {
    "full.trace.jsonl": ("abacus-test", "direct"),
    "new.trace.jsonl": ("abacus-test", "think"),
    "abacus-test.direct": ("abacus-test", "direct"),
    "abacus-test.think": ("abacus-test", "think"),
    "abacus-calibration.direct": ("abacus-calibration", "direct"),
    "abacus-calibration.think": ("abacus-calibration", "think"),
}
POLICY = PolicyFile(
    policy=Value(
        kinds=("votes",),
        bias=0.0,
        weights=(0.0,) * 6,
        edges=(),
        worth=((0.5,),),
        spends=((0.01, 100.0), (0.1, 50.0)),
    ).model_dump(mode="json"),
    bound=Bound(goal="right", max_loss=0.6, confidence=0.95, loss=0.0, spent=0.2, questions=1000),
    belongs_to=BelongsTo(
        models=("abacus-7m",),
        datasets=("abacus-calibration",),
        temperatures=(0.7,),
        algorithm="self_consistency",
        cap=40,
        window=4,
    ),
    evidence=(),
    made="2026-11-23",
)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_command_has_the_options_that_the_page_gives_it(arguments: list[str]):
    command, *rest = arguments
    typer.main.get_command(app).commands[command].make_context(command, rest)  # type: ignore[attr-defined]


def _put_questions() -> None:
    Path("questions.jsonl").write_text(
        json.dumps({"id": "a", "question": "6 * 7?", "answer": "42"})
    )


def _put_results() -> None:
    _put_questions()
    for policy in ("fixed", "beta"):
        with pytest.raises(SystemExit):
            main(["run", "questions.jsonl", "-e", "fake", "-p", policy, "-o", f"{policy}.jsonl"])


def _put_keys() -> None:
    Path("keys.txt").write_text(f"ada={'k' * 24}\n")


def _put_pairs() -> None:
    Path("pairs.jsonl").write_text((ROOT / "benchmarks" / "pairs.jsonl").read_text())


PUT = {
    "run": _put_questions,
    "report": _put_results,
    "serve": _put_keys,
    "equivalence": _put_pairs,
}
"""The files that a command's pages take for granted."""
ENGINE = ["--engine", "fake"]
SHORT = {
    "solve": ENGINE,
    "run": ENGINE,
    "demo": ENGINE,
    "chat": ENGINE,
    "serve": [*ENGINE, "--port", "0"],
    "replay": ["--shuffles", "1"],
    "calibrate": ["--shuffles", "1", "--max-loss", "60"],
}
"""What keeps a command short, and off a real engine."""


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody types a question, and a server is stopped as soon as it has started."""

    async def stopped(server: uvicorn.Server) -> None:
        assert server.started

    monkeypatch.setattr(sys, "stdin", io.StringIO("6 * 7?\n"))
    monkeypatch.setattr(uvicorn.Server, "main_loop", stopped)


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_command_runs_on_the_scripted_engine(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
):
    command, *rest = arguments
    while given := NOT_HERE & set(rest):
        at = rest.index(given.pop())
        del rest[at : at + 2]
    PUT.get(command, lambda: None)()
    if command in {"replay", "calibrate"}:
        # A part of the recordings, under the names that the pages use; a file goes before a name.
        for name in {*rest} & RECORDINGS.keys():
            write_recording(name, read_recording(recording_path(*RECORDINGS[name]))[::15])
    if any("policy.json" in word for word in rest):
        POLICY.write(Path("policy.json"))
    with pytest.raises(SystemExit) as ended:
        main([command, *rest, *SHORT.get(command, [])])
    assert ended.value.code == 0, capfd.readouterr().err


@pytest.mark.parametrize(
    "text", [pytest.param(x, id=x.splitlines()[0]) for p in PAGES for x in blocks(p, "console")]
)
def test_a_session_looks_as_the_page_shows_it(text: str, capfd: pytest.CaptureFixture[str]):
    prompt, _, shown = text.partition("\n")
    with pytest.raises(SystemExit):
        main(shlex.split(prompt)[2:])
    out, err = capfd.readouterr()
    assert SECONDS.sub("- s", err + out).split() == SECONDS.sub("- s", shown).split()


def test_the_page_of_the_command_line_is_current():
    assert CLI_PAGE.read_text() == render(), "run `make docs-cli`"


def test_a_preset_is_what_the_page_of_the_command_line_says():
    rows = re.findall(r"^\| `([\w-]+)` \| `([\w-]+:[^`]+)` \|$", CLI_PAGE.read_text(), re.MULTILINE)
    assert {name: read_policy(text) for name, text in rows} == PRESETS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_graph_is_drawn_as_langgraph_draws_it(name: str):
    drawn = ALGORITHMS[name].compile().get_graph().draw_mermaid()
    pages = (ROOT / "docs" / "concepts.md", ROOT / "docs" / "tutorials" / "search.md")
    assert any(drawn in blocks(page, "mermaid") for page in pages)


def test_the_python_reference_holds_every_public_name_in_the_group_of_its_module():
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    groups = [
        re.findall(r"^::: dynasor_graph\.(\w+)$", x, re.MULTILINE) for x in page.split("\n## ")
    ]
    assert sorted(map(sorted, groups[1:])) == sorted(map(sorted, dynasor_graph._HOME.values()))


def test_the_page_of_errors_shows_the_tree_as_the_module_draws_it():
    tree = re.search(r"```\n(.*?)```", errors.__doc__ or "", re.DOTALL)
    assert tree is not None
    assert blocks(ROOT / "docs" / "reference" / "errors.md", "text") == [tree[1]]
