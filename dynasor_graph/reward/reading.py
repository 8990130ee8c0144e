"""What reward models read and say: a solution as a chat, and their numbers as one in [0, 1]."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Iterable, Sequence
from typing import Literal, TypeVar

from dynasor_graph.errors import ConfigError, RewardError
from dynasor_graph.reward.base import Partial
from dynasor_graph.types import Message

__all__ = [
    "Normalise",
    "Reads",
    "Steps",
    "all_of",
    "chance",
    "chat",
    "check_labels",
    "check_length",
    "check_settings",
    "join_steps",
    "tagged",
]

Normalise = Literal["sigmoid", "softmax", "none"]
Steps = Literal["last", "min", "mean", "product"]
Reads = Literal["tokens", "text"]

_T = TypeVar("_T")


def check_settings(
    *, normalise: str | None, steps: str, reads: str, step_tag: str | None, step_ends: str
) -> None:
    """Refuse settings that do not exist, or not together.

    Raises:
        ConfigError: One of them is wrong.
    """
    for name, value, choices in (
        ("normalise", normalise, (None, "sigmoid", "softmax", "none")),
        ("steps", steps, ("last", "min", "mean", "product")),
        ("reads", reads, ("tokens", "text")),
    ):
        if value not in choices:
            raise ConfigError(f"{name} must be one of {choices}, got {value!r}")
    if step_tag is not None and reads != "text":
        raise ConfigError("step_tag is put into the text: it needs reads='text'")
    if not step_ends:
        raise ConfigError("step_ends must not be empty: take '\\n'")


def check_labels(model: str, labels: int, normalise: Normalise | None) -> None:
    """Refuse a head whose numbers cannot be made one.

    Raises:
        ConfigError: It cannot be done that way.
    """
    if labels > 2 and normalise != "softmax":
        raise ConfigError(
            f"model {model!r} has {labels} labels, and a reward model has one or two: take another, "
            f"or normalise='softmax' if the last label is the good one"
        )
    if labels == 2 and normalise == "sigmoid":
        raise ConfigError(f"model {model!r} has two labels: take normalise='softmax'")
    if labels == 1 and normalise == "softmax":
        raise ConfigError(
            f"model {model!r} has one label, of which a softmax is always 1: take "
            f"normalise='sigmoid'"
        )


def chance(row: Sequence[float], normalise: Normalise | None) -> float:
    """The numbers of a head as one in [0, 1]: of several, the last is the good one."""
    match normalise or ("sigmoid" if len(row) == 1 else "softmax"):
        case "sigmoid":
            return 0.5 + 0.5 * math.tanh(row[-1] / 2)  # never overflows
        case "softmax":
            top = max(row)
            powers = [math.exp(number - top) for number in row]
            return powers[-1] / sum(powers)
        case _:
            return float(row[-1])


def join_steps(values: Sequence[float], steps: Steps) -> float:
    """The scores of the steps as one of the whole."""
    match steps:
        case "last":
            return values[-1]
        case "min":
            return min(values)
        case "mean":
            return math.fsum(values) / len(values)
        case "product":
            return math.prod(values)


def tagged(text: str, tag: str, step_ends: str) -> tuple[str, int]:
    """The text with a tag after each step, and how many there are."""
    # A tag that the generator wrote itself would be one more row.
    parts = [part.strip() for part in text.replace(tag, "").split(step_ends)]
    steps = [part for part in parts if part] or [""]
    return "".join(step + tag for step in steps), len(steps)


def chat(partial: Partial, text: str | None = None) -> list[Message]:
    """The question and the solution, or `text` in its place."""
    return [
        {"role": "user", "content": partial.question},
        {"role": "assistant", "content": partial.text if text is None else text},
    ]


def check_length(model: str, tokens: int, context: int) -> None:
    """Refuse what the model cannot read at once.

    Raises:
        RewardError: It is longer than the model's context.
    """
    if tokens > context:
        raise RewardError(
            f"a solution has {tokens} tokens with its question, and the context of reward model "
            f"{model!r} holds {context}: take one with a longer context, or let solutions end "
            f"earlier (max_tokens)"
        )


async def all_of(work: Iterable[Awaitable[_T]]) -> list[_T]:
    """Wait for all of them at the same time; the first failure is raised as it is."""

    async def one(job: Awaitable[_T]) -> _T:
        return await job

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(job)) for job in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
