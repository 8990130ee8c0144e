"""Text: token ids as text, a whole chunk of a stream at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

__all__ = ["Text", "fast_tokenizer"]

_BEFORE: Final = 16
"""Tokens of the prompt that its first token is read after: whether it begins with a space, say."""
_LONGEST: Final = 4
"""Tokens of which one character can consist: the bytes of one in UTF-8."""


def fast_tokenizer(tokenizer: Any) -> Tokenizer | None:
    """The tokenizer in Rust behind one of transformers, where there is one."""
    found = getattr(tokenizer, "backend_tokenizer", None)
    return found if isinstance(found, Tokenizer) else None


class Text:
    """What vLLM's detokenizer says of a stream; that goes token by token, and takes three times as long.

    Args:
        tokenizer: Of the model.
        prompt: Token ids that the stream continues.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(ids=list(prompt[-_BEFORE:]), skip_special_tokens=True)

    def add(self, token_ids: Sequence[int], *, last: bool) -> str:
        """The text of more tokens; one that ends within a character is held back.

        Args:
            token_ids: That were generated.
            last: Whether nothing comes after them. What is no whole character is left out then.
        """
        ids = list(token_ids)
        # At once they are text up to the last whole character, or none at all if they end within one.
        together, single = (ids[:-_LONGEST], ids[-_LONGEST:]) if last else (ids, [])
        text = self._step(together) if together else ""
        return text + "".join(self._step([one]) for one in single)

    def _step(self, ids: list[int]) -> str:
        try:
            return self._stream.step(self._tokenizer, ids) or ""
        except Exception as error:
            if not str(error).startswith("Invalid prefix encountered"):
                raise
            # Bytes that make no text (https://github.com/vllm-project/vllm/issues/17448).
            self._stream = DecodeStream(skip_special_tokens=True)
            return self._stream.step(self._tokenizer, ids) or ""
