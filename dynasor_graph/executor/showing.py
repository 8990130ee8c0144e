"""Showing: the text of one branch at a time, as it grows, for somebody who watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from dynasor_graph.types import Delta

__all__ = ["Part", "Showing"]

Part = Literal["reasoning", "answer"]
"""A branch or a thought on its way, or what a stopped thought is made to say at last."""


class Showing:
    """Which branch of a round is shown: the first that begins while no other is.

    Texts of several branches at once would be no text. So the others come unseen, and when the one
    that is shown has ended, the next that begins is.

    Args:
        every: Tokens between two pieces of text; 0: nothing is shown.
        emit: Sends an event.
    """

    def __init__(self, every: int, emit: Callable[..., None]) -> None:
        self.every = every
        self._emit = emit
        self._shown: int | None = None

    def begin(self, index: int) -> bool:
        """A branch begins; whether it is the one that is shown."""
        if self.every and self._shown is None:
            self._shown = index
        return self.every > 0 and self._shown == index

    def end(self, index: int) -> None:
        """A branch has ended."""
        if self._shown == index:
            self._shown = None

    def seen(self, index: int, part: Part = "reasoning") -> Callable[[Delta], None]:
        """Takes the deltas of a branch that is shown."""

        def show(delta: Delta) -> None:
            if delta.text:
                self._emit("text", branch=index, part=part, text=delta.text)

        return show
