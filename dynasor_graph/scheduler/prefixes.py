"""Prefixes: which prompts a program has had computed, to count what had to be computed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["Prefixes"]


class Prefixes:
    """Blocks of prompts by program, told apart as vLLM tells them: by hash, and all before it.

    Prompts only: what a branch generated is read again by few. A chain or a tree goes on from its
    own tokens, but then they are in the prompts that come after. So what is counted is a
    lower bound.

    Args:
        block: Tokens of a block of the engine's prefix cache, >= 1.
    """

    def __init__(self, block: int) -> None:
        self._block = max(1, block)
        self._known: dict[str, set[int]] = {}
        # The very object: the branches of a program share their prompt, and need no hashing.
        self._last: dict[str, Sequence[int]] = {}

    def computed(self, program: str, prompt: Sequence[int]) -> int:
        """Tokens at the beginning of a prompt that earlier requests of the program had computed.

        Whole blocks only, and never the last token: an engine always computes that one.
        """
        known = self._known.get(program)
        if not known:
            return 0
        if prompt is self._last.get(program):
            return max(0, len(prompt) - 1) // self._block * self._block
        found = 0
        for name in self._names(prompt[: len(prompt) - 1]):
            if name not in known:
                break
            found += self._block
        return found

    def add(self, program: str, prompt: Sequence[int]) -> None:
        """A prompt of the program has been computed."""
        if program and prompt is not self._last.get(program):
            self._known.setdefault(program, set()).update(self._names(prompt))
            self._last[program] = prompt

    def forget(self, program: str) -> None:
        """The program has ended."""
        self._known.pop(program, None)
        self._last.pop(program, None)

    def _names(self, prompt: Sequence[int]) -> Iterator[int]:
        before = 0
        for end in range(self._block, len(prompt) + 1, self._block):
            before = hash((before, tuple(prompt[end - self._block : end])))
            yield before
