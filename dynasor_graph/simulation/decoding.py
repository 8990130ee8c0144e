"""Decoding: the sequences past their prompts, as sums: a step of thousands costs no more than of one."""

from __future__ import annotations

__all__ = ["Decoding"]


class Decoding:
    """Sequences that all grow by one token a step.

    One whose length was n when it was added in step s has the base n - s, and in step t the length
    base + t: its tokens attended, and the tokens that it needs in the KV cache. So the sums over
    all follow from the sum of the bases, and how many there are of each base modulo the block.

    Args:
        block: Tokens in a block.

    Attributes:
        count: Sequences.
    """

    def __init__(self, block: int) -> None:
        self.count = 0
        self._block = block
        self._bases = 0
        self._by_rest = [0] * block

    def add(self, base: int) -> None:
        """One more."""
        self._change(base, 1)

    def remove(self, base: int) -> None:
        """One less, with the base with which it was added."""
        self._change(base, -1)

    def _change(self, base: int, by: int) -> None:
        self.count += by
        self._bases += by * base
        self._by_rest[base % self._block] += by

    def tokens(self, step: int) -> int:
        """Their lengths in a step, together."""
        return self._bases + self.count * step

    def blocks(self, step: int) -> int:
        """The blocks that they need for a step, each its own."""
        if not self.count:
            return 0
        # ceil(n / block) = (n + (-n mod block)) / block
        rests = enumerate(self._by_rest)
        missing = sum(n * (-(rest + step) % self._block) for rest, n in rests if n)
        return (self.tokens(step) + missing) // self._block

    def steps(self, step: int, most: int, room: int) -> int:
        """How many steps from this one on, at most `most`, need no more than `room` blocks."""
        if self.blocks(step) > room:
            return 0
        if self.blocks(step + most - 1) <= room:
            return most
        enough, few = 1, most  # so many fit, so many do not
        while few - enough > 1:
            middle = (enough + few) // 2
            if self.blocks(step + middle - 1) <= room:
                enough = middle
            else:
                few = middle
        return enough
