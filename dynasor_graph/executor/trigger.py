"""Trigger: words of a thought before which its answer is probed (DEER, Yang et al. 2025: "Wait")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Trigger"]

Decode = Callable[[Sequence[int]], Awaitable[str]]


class Trigger:
    """Finds the words in a thought that grows.

    Args:
        words: What to look for, as they are written; of several that are new at once the first counts.
        decode: Token ids -> text.
        searched: Text in which they were looked for already.
    """

    chunk = 16
    """Tokens between two looks at the thought."""

    def __init__(self, words: Sequence[str], decode: Decode, searched: str = "") -> None:
        self._words, self._decode = words, decode
        self._searched = len(searched)

    async def find(self, token_ids: Sequence[int], text: str) -> int | None:
        """How many tokens come before a word that is new; None if there is none.

        Args:
            token_ids: The whole thought so far.
            text: The same as text.
        """
        places = [text.find(word, max(0, self._searched - len(word) + 1)) for word in self._words]
        self._searched = len(text)
        first = min((place for place in places if place >= 0), default=None)
        if first is None:
            return None
        # Counted from the end: of a part, decoders leave out a space at the start.
        before = len(await self._decode(token_ids)) - (len(text) - first)
        return await _tokens_of(before, token_ids, self._decode)


async def _tokens_of(characters: int, token_ids: Sequence[int], decode: Decode) -> int:
    """How many tokens make so many characters, at the most."""
    low, high = 0, len(token_ids)
    while low < high:
        middle = (low + high + 1) // 2
        if len(await decode(token_ids[:middle])) <= characters:
            low = middle
        else:
            high = middle - 1
    return low
