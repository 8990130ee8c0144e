"""Actions: the tools that a text calls, and the form in which branches vote on them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dynasor_graph.types import JSON

__all__ = ["Action", "ToolCall", "as_action", "find_calls", "is_action"]

_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_ACTION: Final = '[{"arguments": {'


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of a tool.

    Attributes:
        name: Of the tool.
        arguments: By their names.
    """

    name: str
    arguments: JSON

    def to_openai(self, id_: str) -> JSON:
        """As OpenAI's API has it in a message: the arguments are JSON in a text."""
        function = {"name": self.name, "arguments": json.dumps(self.arguments)}
        return {"id": id_, "type": "function", "function": function}


def find_calls(text: str) -> tuple[list[ToolCall], str]:
    """The calls in a text, each written as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

    That is how Hermes, Qwen and most other open chat templates have them written.

    Returns:
        The calls in their order, and the text without them. What is no call stays in the text.
    """
    calls: list[ToolCall] = []

    def take(block: re.Match[str]) -> str:
        call = _read(block[1])
        if call is None:
            return block[0]
        calls.append(call)
        return ""

    return calls, _CALL.sub(take, text)


def _read(block: str) -> ToolCall | None:
    try:
        row = json.loads(block)
        json.dumps(row, allow_nan=False)  # Python reads NaN and 1e999, which are no JSON
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    name, arguments = row.get("name"), row.get("arguments", {})
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return ToolCall(name=name, arguments=arguments)


def as_action(calls: Sequence[ToolCall]) -> str:
    """Calls as an answer: equal calls in the same order give one text, however they were written."""
    rows = [{"arguments": call.arguments, "name": call.name} for call in calls]
    return json.dumps(rows, sort_keys=True)


def is_action(answer: str) -> bool:
    """Whether an answer was made by `as_action`: then it is compared to the letter."""
    return answer.startswith(_ACTION)


class Action(NamedTuple):
    """The form of an answer that is calls, whatever the kind of the other answers."""

    answer: str
