"""Asked: one call of the chat model, and what comes back, whoever runs the program."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from dynasor_graph.reply import Piece
from dynasor_graph.types import JSON, Message

__all__ = ["Asked", "Ended", "Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call.

    Attributes:
        model: Which model answers.
        algorithm: How it reasons.
        chat: The conversation.
        settings: Of the algorithm, `tools` among them.
        every: Tokens between two pieces of the reply; 0: it comes whole.
    """

    model: str
    algorithm: str
    chat: list[Message]
    settings: JSON
    every: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What is known once the program has ended.

    Attributes:
        usage: Tokens, as LangChain's `UsageMetadata`.
        metadata: certaindex, stop_reason, rounds, branches, tokens_saved, and more.
    """

    usage: JSON
    metadata: JSON = field(default_factory=dict)


class Source(Protocol):
    """What runs the programs: this process, or a server."""

    def ask(self, asked: Asked) -> AsyncGenerator[Piece | Ended, None]:
        """The reply in pieces, then `Ended`. Closing the generator frees every branch."""
        ...
