"""Template: a chat as text, by the template that comes with the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.types import JSON, Message

__all__ = ["apply_template"]


def apply_template(
    tokenizer: Any, model: str, messages: Sequence[Message], tools: Sequence[JSON], **options: Any
) -> str:
    """The text of a chat.

    Args:
        tokenizer: A Hugging Face tokenizer.
        model: Its name, for errors.
        messages: The chat.
        tools: Functions that the model may call, as OpenAI's API describes them.
        options: What else the template reads, such as `enable_thinking`.

    Raises:
        ConfigError: The model has no chat template, or its template knows nothing of tools.
        InputError: The template refuses the chat.
    """
    from jinja2 import TemplateError

    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise ConfigError(f"model {model!r} has no chat template: its folder needs one")
    if tools and "tools" not in str(template):
        raise ConfigError(
            f"model {model!r} takes no tools: its chat template has no place for them"
        )
    if tools:
        options["tools"] = list(tools)
    rows = [_with_objects(message) for message in messages]
    try:
        return str(tokenizer.apply_chat_template(rows, tokenize=False, **options))
    except TemplateError as error:
        raise InputError(
            f"the chat template of {model!r} refuses these messages: {error}"
        ) from None


def _with_objects(message: Message) -> JSON:
    """A message with the arguments of its calls as templates want them: OpenAI has them in a text."""
    row: JSON = dict(message)
    if calls := message.get("tool_calls"):
        row["tool_calls"] = [_with_object(call) for call in calls]
    return row


def _with_object(call: JSON) -> JSON:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(arguments or "{}")}}
    except ValueError:
        return call
