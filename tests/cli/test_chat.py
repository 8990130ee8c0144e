"""The terminal chat: lines in, answers out; keys stop a program; a mistake costs its line alone."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.input import create_pipe_input
from rich.console import Console

from dynasor_graph.cli import main
from dynasor_graph.cli.chat import answer
from dynasor_graph.cli.conversation import COMMANDS, Conversation
from dynasor_graph.cli.screen import Screen
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError, DynasorError, EngineDied, InputError
from tests.executor.stage import Watched, reply, until

FOREVER = "on and on " * 300
READY = "\x1b[?2004h"
"""What a prompt sends to the terminal when it is ready to be pasted into."""


def talk(*arguments: str, lines: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    with pytest.raises(SystemExit) as stopped:
        main(["chat", *arguments])
    return int(stopped.value.code or 0)


def conversation(**settings: Any) -> Conversation:
    return Conversation("self_consistency", settings)


def test_piped_lines_are_answered_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines = "6 * 7?\n\n/help\n7 * 6?"
    assert talk("--engine", "fake", lines=lines, monkeypatch=monkeypatch) == 0
    out, err = capsys.readouterr()
    assert out == "\\boxed{42}\n" * 2
    assert err.count("certaindex 1.00 · certain · 5 branches") == 2
    assert all(f"/{name}" in err for name in COMMANDS)


def test_a_mistake_costs_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines = "/algoritm cot\n/policy betta\n" + "x" * 9000 + "\n6 * 7?\n"
    assert talk("--engine", "fake", lines=lines, monkeypatch=monkeypatch) == 0
    out, err = capsys.readouterr()
    assert out == "\\boxed{42}\n"
    assert "did you mean 'algorithm'" in err
    assert "did you mean 'beta'" in err
    assert "shorten the question" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["-p", "betta"], "unknown policy 'betta'", id="policy"),
        pytest.param(["--branches", "0"], "branches", id="branches"),
        pytest.param(["/nowhere", "-e", "vllm"], "/nowhere", id="model"),
    ],
)
def test_a_wrong_option_is_one_line(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    assert talk("-e", "fake", *arguments, lines="", monkeypatch=monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


# Conversation ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_what_was_said_before_is_asked_again():
    engine, talked = FakeEngine(["<think>hm</think>Hello.", "Bye."]), conversation(branches=1)
    await answer(talked, "hi", engine)
    await answer(talked, "bye", engine)
    assert bytes(engine.requests[1].tokens).decode().splitlines() == [
        "user: hi",
        "assistant: Hello.",
        "user: bye",
        "assistant: ",
    ]
    await answer(talked, "/clear", engine)
    assert talked.messages == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("/algorithm", "algorithm: self_consistency", id="which-algorithm"),
        pytest.param("/algorithm cot", "algorithm: cot", id="another-algorithm"),
        pytest.param("/policy", "policy: certaindex", id="which-policy"),
        pytest.param("/policy beta", "policy: beta", id="another-policy"),
        pytest.param("/set branches=3", "set: branches=3", id="a-setting"),
        pytest.param("/set budget.tokens=9", "set: budget.tokens=9", id="a-nested-setting"),
    ],
)
def test_a_command_says_what_is_so_now(line: str, said: str):
    assert conversation().command(line) == said


def test_another_algorithm_takes_over_what_it_has_too():
    talked = conversation(policy="beta", branches=7, budget={"tokens": 900})
    said = talked.command("/algorithm cot")
    assert said.endswith("left out, because it has no use for it: policy, branches")
    assert talked.settings == {"budget": {"tokens": 900}}
    assert talked.command("/policy") == "policy: probe-consistency"


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        pytest.param("/", ConfigError, "there are", id="no-command"),
        pytest.param("/algorithm mtcs", ConfigError, "mcts", id="unknown-algorithm"),
        pytest.param("/algorithm mcts", ConfigError, "reward", id="no-reward"),
        pytest.param("/policy probe-consistency", ConfigError, "probes", id="policy-of-another"),
        pytest.param("/set branches=0", ConfigError, "branches", id="out-of-range"),
        pytest.param("/set branches", ConfigError, "key=value", id="no-value"),
        pytest.param("/save", ConfigError, "/save chat.json", id="save-nowhere"),
        pytest.param("/save /nowhere/x", InputError, "/nowhere/x", id="save-where-nothing-is"),
    ],
)
def test_a_wrong_command_changes_nothing(line: str, error: type[DynasorError], words: str):
    talked = conversation(branches=7)
    with pytest.raises(error, match=words):
        talked.command(line)
    assert (talked.algorithm, talked.settings) == ("self_consistency", {"branches": 7})


def test_a_conversation_is_saved_and_never_over_another(tmp_path: Path):
    talked, file = conversation(), tmp_path / "chat.json"
    talked.remember("hi", "Hello, Zoë.")
    talked.command(f"/save {file}")
    assert json.loads(file.read_text())["messages"][1] == {
        "role": "assistant",
        "content": "Hello, Zoë.",
    }
    with pytest.raises(InputError, match="there already"):
        talked.command(f"/save {file}")


# Stopping ----------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("key", [pytest.param("s", id="s"), pytest.param("\x03", id="ctrl-c")])
async def test_a_key_takes_the_best_answer_there_is(key: str, capsys: pytest.CaptureFixture[str]):
    said = iter([reply("7"), reply("7")])
    engine = Watched(lambda prompt, request: next(said, FOREVER), speed=1)
    talked = conversation(policy="fixed", branches=6, sampling={"max_tokens": 4000})
    with create_pipe_input() as keys:
        asking = asyncio.ensure_future(answer(talked, "q", engine, keys=keys))
        await until(lambda: engine.now == 6)
        await until(lambda: engine.now == 4)
        keys.send_text(key)
        await asking
    out, err = capsys.readouterr()
    assert out.strip().endswith("\\boxed{7}")
    assert "stopped · 6 branches" in err
    assert len(talked.messages) == 2


@pytest.mark.anyio
async def test_stopped_before_any_answer_it_says_so_and_forgets_the_question(
    capsys: pytest.CaptureFixture[str],
):
    engine, talked = FakeEngine(), conversation()
    engine.gate.clear()
    with create_pipe_input() as keys:
        asking = asyncio.ensure_future(answer(talked, "q", engine, keys=keys))
        await until(lambda: len(engine.requests) > 0)
        keys.send_text("s")
        await asking
    assert "no answer" in capsys.readouterr().err
    assert talked.messages == []


class Deaf(FakeEngine):
    """An engine that does not end its requests when it is told to."""

    async def abort(self, request: Any) -> None:
        return None


@pytest.mark.anyio
async def test_the_third_key_gives_up(capsys: pytest.CaptureFixture[str]):
    engine, talked = Deaf(), conversation()
    engine.gate.clear()
    with create_pipe_input() as keys:
        asking = asyncio.ensure_future(answer(talked, "q", engine, keys=keys))
        await until(lambda: len(engine.requests) > 0)
        keys.send_text("sss")
        await asking
    assert "given up" in capsys.readouterr().err
    assert (await engine.load()).running == 0


@pytest.mark.anyio
async def test_an_engine_that_died_ends_the_chat():
    engine = FakeEngine()
    engine.kill()
    with pytest.raises(EngineDied):
        await answer(conversation(), "q", engine)


# Screen ------------------------------------------------------------------------------------------


def test_the_screen_shows_the_branch_and_how_settled_it_is():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Screen(console) as screen:
        screen.event({"event": "program", "settings": {"branches": 10}})
        screen.event({"event": "text", "branch": 0, "part": "reasoning", "text": "six times "})
        screen.event({"event": "text", "branch": 0, "part": "reasoning", "text": "seven"})
        for votes in ((1,), (2,)):
            row = {"event": "branch", "votes": votes, "tokens": 50, "finish": "stop"}
            screen.event(row | {"certaindex": 0.5})
        assert "votes 2 · 100 tokens · 400 saved if it ends now · s: take" in screen.status()
        assert screen.status().startswith("━" * 10 + "─" * 10 + " certaindex 0.50")
        screen.stopping()
        assert screen.status().endswith("stopping ...")
    assert "six times seven" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_screen_writes_nothing_where_there_is_no_terminal():
    console = Console(file=io.StringIO())
    with Screen(console) as screen:
        screen.event({"event": "text", "branch": 0, "part": "reasoning", "text": "six"})
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_on_a_terminal_a_line_is_typed_and_ctrl_d_ends():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dynasor_graph", "chat", "--engine", "fake"]
    running = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    terminal = Terminal(ours)
    try:
        terminal.wait_for(READY)
        terminal.write("6 * 7?\r")
        terminal.wait_for("\\boxed{42}")
        terminal.wait_for("certain ·")
        terminal.wait_for(READY)
        terminal.write("\x04")
        assert running.wait(timeout=30) == 0
    finally:
        running.kill()
        running.wait()
        os.close(ours)


class Terminal:
    """The other end of a terminal: reads what is shown, and types."""

    def __init__(self, file: int) -> None:
        self.file, self._shown = file, ""

    def wait_for(self, text: str) -> None:
        """Read up to a text; what follows it is read next."""
        until_ = time.monotonic() + 30
        while text not in self._shown and time.monotonic() < until_:
            if select.select([self.file], [], [], 0.2)[0]:
                self._shown += os.read(self.file, 4096).decode(errors="replace")
                if "\x1b[6n" in self._shown:  # it asks where its cursor is
                    self._shown = self._shown.replace("\x1b[6n", "")
                    self.write("\x1b[1;1R")
        before, found, self._shown = self._shown.partition(text)
        assert found, before

    def write(self, text: str) -> None:
        os.write(self.file, text.encode())
