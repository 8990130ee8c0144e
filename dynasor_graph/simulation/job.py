"""Job: one request as a machine sees it: tokens to compute, tokens to make, and its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Ids", "Job", "Order", "Place"]

Place = Literal["waiting", "prefill", "decode", "ended"]

Ids = Callable[[int, int], tuple[int, ...]]
"""Ids of the tokens that it makes, from the first number to before the second."""

Order = tuple[int, float, int]
"""Priority, arrival, serial: the least goes first, and the greatest is preempted first."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A request with what becomes of it. Compared by identity.

    Attributes:
        prompt: Token ids of its prompt, at least one.
        most: Tokens that it makes, >= 1.
        ids: What these are: only the prefix cache asks. None: nobody can ask for them again.
        chunk: Tokens between two times that its reader is told; 0 for once, at the end.
        priority: Lower goes first.
        program: Only the tokens that running requests of the same program have made are found in
            the cache while these run; those of "" once they have ended.
        cached: Prompt tokens found in the cache when it first began.
        told: Tokens that its reader was told of.
        made: Tokens made, as of the last time it was told, preempted, or ended.
        place: Where it is.
    """

    prompt: tuple[int, ...]
    most: int
    ids: Ids | None = field(default=None, repr=False)
    chunk: int = 0
    priority: int = 0
    program: str = ""
    cached: int = 0
    told: int = 0
    made: int = 0
    place: Place = "waiting"
    began: bool = False
    order: Order = (0, 0.0, 0)
    offset: int = 0
    """The machine's count of steps less the tokens made; while it decodes."""
    computed: int = 0
    """Tokens of prompt and completion in the KV cache; while it computes its prompt."""
    keys: list[int] = field(default_factory=list, repr=False)
    """Of its whole blocks, as far as they were asked for."""
    held: list[int] = field(default_factory=list, repr=False)
    """Keys of the blocks with a content that it uses."""
    offered: int = 0
    """Whole blocks whose content others can find, its own or an equal one."""

    @property
    def length(self) -> int:
        """Tokens of prompt and completion when it was last made to wait: to be computed again."""
        return len(self.prompt) + self.made

    @property
    def due(self) -> int:
        """Tokens at which its reader is told next."""
        return min(self.most, self.told + self.chunk) if self.chunk else self.most

    def key(self, number: int, block: int) -> int:
        """The key of a whole block: of its tokens and all before them."""
        while len(self.keys) <= number:
            at = len(self.keys) * block
            before = self.keys[-1] if self.keys else 0
            self.keys.append(hash((before, self._tokens(at, at + block))))
        return self.keys[number]

    def _tokens(self, start: int, end: int) -> tuple[int, ...]:
        size = len(self.prompt)
        if end <= size:
            return self.prompt[start:end]
        made = self.ids(max(0, start - size), end - size) if self.ids else ()
        return self.prompt[start:size] + made

    def known(self, tokens: int) -> int:
        """Of so many tokens, those whose ids are known."""
        return tokens if self.ids else min(tokens, len(self.prompt))
