"""Template: chats as the model's own template writes them; what it cannot say is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment
from jinja2.exceptions import TemplateError

from dynasor_graph.engine.template import apply_template
from dynasor_graph.errors import ConfigError, DynasorError, InputError
from dynasor_graph.types import JSON, Message

CHAT: list[Message] = [{"role": "user", "content": "6 * 7?"}]
TOOLS: list[JSON] = [{"type": "function", "function": {"name": "add"}}]
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
WITH_TOOLS = "{% for t in tools or [] %}[{{ t.function.name }}]\n{% endfor %}" + PLAIN
STRICT = "{{ raise_exception('roles must alternate') }}"


class Tokenizer:
    """As transformers renders chats."""

    def __init__(self, template: str | None) -> None:
        self.chat_template = template

    def apply_chat_template(self, chat: list[JSON], *, tokenize: bool, **options: Any) -> str:
        def refuse(message: str) -> None:
            raise TemplateError(message)

        assert not tokenize
        template = Environment(autoescape=False).from_string(self.chat_template or "")
        return template.render(messages=chat, raise_exception=refuse, **options)


def test_a_template_that_takes_tools_is_given_them() -> None:
    assert apply_template(Tokenizer(WITH_TOOLS), "m", CHAT, TOOLS) == "[add]\nuser: 6 * 7?\n"
    assert apply_template(Tokenizer(WITH_TOOLS), "m", CHAT, ()) == "user: 6 * 7?\n"


@pytest.mark.parametrize(
    ("template", "tools", "error", "said"),
    [
        pytest.param(None, (), ConfigError, "'m' has no chat template", id="none"),
        pytest.param(PLAIN, TOOLS, ConfigError, "'m' takes no tools", id="no place for tools"),
        pytest.param(STRICT, (), InputError, "'m' refuses .* roles must alternate", id="refused"),
    ],
)
def test_what_cannot_be_said_is_refused(
    template: str | None, tools: list[JSON], error: type[DynasorError], said: str
) -> None:
    with pytest.raises(error, match=said):
        apply_template(Tokenizer(template), "m", CHAT, tools)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        pytest.param('{"a": 1}', "{'a': 1}", id="a text, as OpenAI has it"),
        pytest.param("", "{}", id="none"),
        pytest.param({"a": 1}, "{'a': 1}", id="an object"),
        pytest.param("{", "{", id="no JSON: as it is"),
    ],
)
def test_arguments_of_calls_are_objects_to_a_template(arguments: Any, written: str) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "add", "arguments": arguments}}
    chat: list[Message] = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    template = "{% for m in messages %}{{ m.tool_calls[0].function.arguments }}{% endfor %}"
    assert apply_template(Tokenizer(template), "m", chat, ()) == written
