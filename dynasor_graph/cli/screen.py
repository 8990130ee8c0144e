"""Screen: a program on the terminal while it runs: its text as it grows, and how settled it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from dynasor_graph.types import JSON

if TYPE_CHECKING:
    from dynasor_graph.results import Result

__all__ = ["Screen", "facts"]

_LINES = 12
_BAR = 20


class Screen:
    """What is shown of one program; it is gone when the program has ended.

    Args:
        console: Where. Nothing is shown unless it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, transient=True, refresh_per_second=8)
        self._shown = console.is_terminal
        self._text, self._branch = "", None
        self._certaindex = 0.0
        self._votes: Sequence[int] = ()
        self._answer: str | None = None
        self._cap: int | None = None
        self._ended = self._tokens = self._of_ended = 0
        self._stopping = False

    def __enter__(self) -> Self:
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._shown:
            self._live.stop()

    def stopping(self) -> None:
        """It was told to stop."""
        self._stopping = True
        self._refresh()

    def event(self, event: JSON) -> None:
        """Take in an event of the program."""
        match event["event"]:
            case "program":
                self._cap = event["settings"].get("branches")
            case "text":
                if event["branch"] != self._branch:
                    self._text, self._branch = "", event["branch"]
                self._text += event["text"]
            case "probe":
                self._answer = event["answer"] or self._answer
            case "branch" if event.get("votes") is not None:
                self._votes = event["votes"]
                self._tokens += event["tokens"]
                if event["finish"] != "terminated":
                    self._ended, self._of_ended = self._ended + 1, self._of_ended + event["tokens"]
            case _:
                pass
        self._certaindex = event.get("certaindex") or self._certaindex
        self._refresh()

    def status(self) -> str:
        """One line: certaindex, votes or the probed answer, tokens, and what the cap would add."""
        filled = round(self._certaindex * _BAR)
        parts = [f"{'━' * filled}{'─' * (_BAR - filled)} certaindex {self._certaindex:.2f}"]
        if self._votes:
            parts.append(f"votes {' '.join(map(str, self._votes))}")
        if self._answer is not None:
            parts.append(f"answer {self._answer}")
        if self._tokens:
            parts.append(f"{self._tokens:,} tokens")
        if self._cap and self._ended:
            left = (self._cap - self._ended) * self._of_ended // self._ended
            parts.append(f"{left:,} saved if it ends now")
        parts.append("stopping ..." if self._stopping else "s: take the best answer now")
        return " · ".join(parts)

    def _refresh(self) -> None:
        if self._shown:
            tail = "\n".join(self._text.splitlines()[-_LINES:])
            self._live.update(Group(Text(tail, style="dim"), Text(self.status(), style="cyan")))


def facts(result: Result) -> str:
    """One line on how an answer came about."""
    saved = max(0, result.tokens_saved)
    parts = [f"certaindex {result.certaindex:.2f}", f"{result.stop_reason}"]
    parts.append(f"{result.branches} branches" if result.branches != 1 else "1 branch")
    parts.append(f"{result.usage.net:,} tokens")
    if saved:
        parts.append(f"about {saved:,} saved")
    return " · ".join([*parts, f"{result.latency_s:.1f} s"])
