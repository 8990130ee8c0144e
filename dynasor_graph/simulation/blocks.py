"""Blocks: the KV cache of an engine: what is in use, and what is kept for the next who asks for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

__all__ = ["Blocks"]


class Blocks:
    """Blocks that have a content, by its key; blocks without one are only counted.

    A block that nobody uses keeps its content until the room is needed: the one that was used
    least recently goes first, of one sequence the last block first, as in vLLM. Not as in vLLM,
    free blocks without a content are always taken before any of these.

    Args:
        total: Blocks in the cache.

    Attributes:
        shared: Uses of a block beyond its first, over all blocks: what sequences need together is
            the sum of what each needs, less this.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.shared = 0
        self._uses: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    def found(self, keys: Iterable[int]) -> int:
        """How many of the keys are there, up to the first that is not."""
        count = 0
        for key in keys:
            if key not in self._uses and key not in self._idle:
                break
            count += 1
        return count

    def idle(self, keys: Iterable[int]) -> int:
        """How many of the keys are kept and not in use: to use them takes room."""
        return sum(key in self._idle for key in keys)

    def take(self, keys: Iterable[int]) -> None:
        """Use blocks that are there."""
        for key in keys:
            if key in self._uses:
                self._uses[key] += 1
                self.shared += 1
            else:
                del self._idle[key]
                self._uses[key] = 1

    def add(self, key: int) -> bool:
        """Give a block that is in use a content; False if another has it already."""
        if key in self._uses or key in self._idle:
            return False
        self._uses[key] = 1
        return True

    def release(self, keys: Sequence[int]) -> None:
        """Use them no more; they are kept."""
        for key in reversed(keys):
            if self._uses[key] > 1:
                self._uses[key] -= 1
                self.shared -= 1
            else:
                del self._uses[key]
                self._idle[key] = None

    def make_room(self, used: int) -> None:
        """Drop what is kept until so many blocks can be in use.

        Raises:
            ValueError: There are not so many.
        """
        if used > self.total:
            raise ValueError(f"{used} blocks are in use, and there are {self.total}")
        while used + len(self._idle) > self.total:
            self._idle.popitem(last=False)
