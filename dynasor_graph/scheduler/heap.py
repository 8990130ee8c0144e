"""Heap: a queue of items by key, least first, whose items can be moved and taken out."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Heap", "Key"]

T = TypeVar("T", bound=Hashable)

Key = tuple[float, ...]
"""What items are sorted by, number after number; keys of one heap have the same length."""


class Heap(Generic[T]):
    """Items by key; of equal keys the one that was put first goes first.

    Moving an item leaves its old entry behind, which is dropped when it comes to the top, or when
    such entries outnumber the items: O(log n) for each operation, taken over many.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Key, int, T]] = []
        self._live: dict[
            T, int
        ] = {}  # item -> number of its entry; entries of other numbers are old
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, item: T) -> bool:
        return item in self._live

    def put(self, item: T, key: Key) -> None:
        """Add an item, or move it to another key."""
        number = self._live[item] = next(self._numbers)
        heapq.heappush(self._entries, (key, number, item))
        if len(self._entries) > 2 * len(self._live) + 64:
            self._entries = [
                entry for entry in self._entries if self._live.get(entry[2]) == entry[1]
            ]
            heapq.heapify(self._entries)

    def discard(self, item: T) -> None:
        """Take an item out, if it is there."""
        self._live.pop(item, None)

    def first(self) -> tuple[Key, T] | None:
        """The least key and its item, or None."""
        while self._entries:
            key, number, item = self._entries[0]
            if self._live.get(item) == number:
                return key, item
            heapq.heappop(self._entries)
        return None
