r"""Chat: the format in which abacus-7m reads questions and writes answers."""

from __future__ import annotations

from typing import Final

__all__ = ["END", "PAD", "PROBE", "ROLES", "THINK", "chat"]

PAD: Final = "<|pad|>"
END: Final = "<|end|>"
ROLES: Final = ("<|user|>", "<|assistant|>")
THINK: Final = "<think>\n"
"""What an answer begins with that thinks first; without it the model answers directly."""
PROBE: Final = (
    "\n... Oh, I suddenly got the answer to the whole problem, **Final Answer**\n\n\\[ \\boxed{"
)
"""What a trace that was cut anywhere is forced to its answer with (the paper's code)."""


def chat(question: str, completion: str = "") -> str:
    """Wrap a question, and what the model has answered so far."""
    return f"{ROLES[0]}{question}{ROLES[1]}{completion}"
