"""A model by script that does as it is told: it calls its tools, and fills in their schemas."""

from __future__ import annotations

import json
import re
from typing import Any

from dynasor_graph.types import Request

NUMBERS = {"input": 3}
TOLD = "It follows this JSON schema: "


def obey(prompt: str, request: Request) -> str:
    """A call where there are tools and none has answered, an object where JSON is asked, else a text."""
    lines = prompt.splitlines()
    asked = prompt.rpartition("user: ")[2]
    if TOLD in prompt:
        return json.dumps(_filled(json.loads(_line(prompt.partition(TOLD)[2])), asked))
    if not lines[0].startswith("tools: ") or lines[-2].startswith("tool: "):
        return f"You said: {asked.splitlines()[0][:40]} The answer is \\boxed{{42}}."
    function = json.loads(lines[0].removeprefix("tools: "))[0]["function"]
    arguments = _filled(function.get("parameters", {}), asked)
    call = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def _line(text: str) -> str:
    return text.splitlines()[0]


def _filled(schema: dict[str, Any], asked: str) -> dict[str, Any]:
    quoted = re.search(r"'([^']+)'", asked)
    text = quoted[1] if quoted else "something"
    return {
        name: NUMBERS.get(name, 2) if field.get("type") == "integer" else text
        for name, field in schema.get("properties", {}).items()
    }
