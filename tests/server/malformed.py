"""Malformed: bodies that are nearly requests, without end: cut, flipped, deep, huge, of other types."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

SOUND: list[dict[str, Any]] = [
    {"model": "fake", "messages": [{"role": "user", "content": "6 * 7?"}]},
    {
        "model": "fake@direct",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "6 * 7?"}]},
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "a", "content": "42"},
            {"role": "user", "content": "Sure?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "metadata": {"a": "b"},
    },
    {
        "model": "fake@cot",
        "messages": [{"role": "user", "content": "6 * 7?"}],
        "max_completion_tokens": 200,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["x"],
        "n": 2,
        "reasoning_effort": "low",
        "x_dynasor": {"policy": "cot-high", "budget": {"seconds": 5}, "interval": 32},
    },
    {"model": "fake", "prompt": ["6*7=", "6*8="], "max_tokens": 20, "x_dynasor": {"branches": 3}},
]

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 10**30, -(10**30), 1e308, 0.1, "", "x", "\x00", "é" * 50, "\ud800",
    "a" * 5000, [], {}, [[]], [None], {"": None}, {"a": {"a": {"a": []}}}, [1, "a", None], "policy.json",
    float("nan"), float("inf"), {"type": "text"}, [{"role": "user"}], "fake@nothing", "@", "fake@",
    {"rule": "beta", "confidence": 2}, {"rule": "all-of", "policies": [{"rule": "all-of"}]},
]  # fmt: skip
FIELDS = [
    "engine", "account", "reward", "tenant", "shadow", "keep_tokens", "policy", "algorithm", "branches",
    "budget", "sampling", "system", "logprobs", "functions", "echo", "best_of", "question", "self", "",
    "n", "stop", "user", "model", "messages", "prompt", "tool_choice", "response_format", "x-dynasor",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    if path:
        yield path
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, part in inner:
        yield from places(part, (*path, key))


def bent(draw: random.Random) -> Any:
    """A request of which a few things are changed."""
    body = copy.deepcopy(draw.choice(SOUND))
    for _ in range(draw.randint(1, 3)):
        path = draw.choice([*places(body), ("x_dynasor",), (draw.choice(FIELDS),)])
        at: Any = body
        try:
            for key in path[:-1]:
                at = at[key]
            match draw.randint(0, 3):
                case 0:
                    del at[path[-1]]
                case 1:
                    at[draw.choice(FIELDS)] = copy.deepcopy(draw.choice(ODD))
                case _:
                    at[path[-1]] = copy.deepcopy(draw.choice(ODD))
        except (KeyError, TypeError, IndexError):
            continue
    return body


def bodies(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many bodies, and the path that each is sent to; the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        body = bent(draw)
        data = json.dumps(body).encode()
        match draw.randint(0, 9):
            case 0:
                data = data[: draw.randint(0, len(data))]
            case 1:
                at = draw.randrange(len(data))
                data = data[:at] + draw.randbytes(draw.randint(1, 4)) + data[at + 1 :]
            case 2:
                depth = draw.randint(20, 5000)
                data = data.replace(b'"fake', b"[" * depth + b"]" * depth + b',"fake', 1)
            case 3:
                deep = draw.choice([b'{"a":', b"["]) * draw.randint(1, 200_000)
                data = b'{"model":"fake","messages":' + deep
            case 4:
                data = draw.randbytes(draw.randint(0, 200))
            case 5:
                data = data.replace(b"7", b"9" * draw.randint(1, 6000), 1)
            case _:
                pass
        path = "/v1/completions" if isinstance(body, dict) and "prompt" in body else ""
        yield path or "/v1/chat/completions", data
