"""Every exception this library raises on purpose, and what to do about it.

```
DynasorError
├── ConfigError             a setting is wrong (also a ValueError)
│   ├── UnknownName         no algorithm, policy, engine or preset of that name
│   └── NotInstalled        an optional package is missing; says which extra
├── InputError              a question or a file is wrong (also a ValueError)
│   ├── PromptTooLong       the prompt leaves no room in the model's context
│   └── ResumeMismatch      the output file belongs to another run
├── SandboxError            untrusted programs cannot be run here
└── EngineError             the engine failed
    ├── RewardError         what judges solutions failed, or gave no number in [0, 1]
    ├── EngineStartError    it could not be started
    ├── EngineUnreachable   no server answers at that address
    ├── EngineRefused       the server said no: key, model name or request
    ├── EngineDied          it ended while requests were running
    └── Overloaded          the scheduler's queue is full; says when to come back
```

A program that ends early (budget, deadline, certainty) is no error: it is a `Result` with a
`StopReason`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

__all__ = [
    "ConfigError",
    "DynasorError",
    "EngineDied",
    "EngineError",
    "EngineRefused",
    "EngineStartError",
    "EngineUnreachable",
    "InputError",
    "NotInstalled",
    "Overloaded",
    "PromptTooLong",
    "ResumeMismatch",
    "RewardError",
    "SandboxError",
    "UnknownName",
    "explain",
]


class DynasorError(Exception):
    """The root of the tree: catch it to catch everything this library raises on purpose."""


class ConfigError(DynasorError, ValueError):
    """A setting is wrong; the message names the field, the value and the cure."""


class UnknownName(ConfigError):
    """There is no such algorithm, policy, engine or preset.

    Attributes:
        kind: What was looked up, such as "policy".
        name: The name that was asked for.
        choices: The names there are.
    """

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        self.kind, self.name, self.choices = kind, name, sorted(choices)
        near = difflib.get_close_matches(name, self.choices, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}there are: {', '.join(self.choices)}")


class NotInstalled(ConfigError):
    """An optional package is missing."""

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"{what} is not installed: pip install 'dynasor-graph[{extra}]'")


class InputError(DynasorError, ValueError):
    """A question or a file is wrong; the message says where."""


class PromptTooLong(InputError):
    """The prompt leaves no room for an answer in the model's context."""

    def __init__(self, tokens: int, context: int) -> None:
        self.tokens, self.context = tokens, context
        super().__init__(
            f"the prompt has {tokens} tokens, and the model's context holds {context} in all: "
            f"shorten the question, or take a model with a longer context"
        )


class ResumeMismatch(InputError):
    """The output file was written by a run with other settings."""


class SandboxError(DynasorError):
    """Untrusted programs cannot be run here; the message says what is missing."""


class EngineError(DynasorError):
    """The engine failed."""


class RewardError(EngineError):
    """What judges solutions failed, or gave something that is no number in [0, 1]."""


class EngineStartError(EngineError):
    """The engine could not be started."""


class EngineUnreachable(EngineError):
    """No server answers at that address."""


class EngineRefused(EngineError):
    """The server answered, and said no."""


class EngineDied(EngineError):
    """The engine ended while requests were running; open a new one."""


class Overloaded(EngineError):
    """The scheduler's queue is full.

    Attributes:
        queued: Requests that wait.
        bound: How many the queue holds.
        retry_after: Seconds after which there should be room, >= 1: as fast as it drains now.
    """

    def __init__(self, queued: int, bound: int, retry_after: float) -> None:
        self.queued, self.bound, self.retry_after = queued, bound, retry_after
        super().__init__(
            f"{queued} requests wait and the queue holds {bound}: try again in {retry_after:.0f} s, "
            f"or give the scheduler a larger bound"
        )


class _Validation(Protocol):
    """The part of pydantic's ValidationError that `explain` reads."""

    def errors(self) -> Sequence[Mapping[str, Any]]: ...


def explain(error: _Validation, what: str = "") -> ConfigError:
    """Turn pydantic's report into one line: each field, what was given, and what is allowed."""
    parts = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"] if not str(part).startswith("function-"))
        text = str(item["msg"]).removeprefix("Value error, ")
        given = "" if item["type"] in {"missing", "value_error"} else f", got {item['input']!r}"
        parts.append(f"{field}: {text}{given}" if field else f"{text}{given}")
    return ConfigError((f"{what}: " if what else "") + "; ".join(parts))
