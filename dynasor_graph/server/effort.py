"""Effort: what OpenAI's `reasoning_effort` means to an algorithm: how far its knob may go."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from dynasor_graph.executor import Context

__all__ = ["EFFORTS", "Effort", "knob_of", "scaled"]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]

EFFORTS: Final[dict[Effort, float]] = dict(
    zip(get_args(Effort), (0, 1 / 8, 1 / 4, 1 / 2, 1, 2), strict=True)
)
"""Effort -> part of the cap that the server was started with. Without the field the cap is whole."""

_KNOBS = ("branches", "width", "iterations")


def knob_of(settings: type[Context]) -> str | None:
    """The setting that caps an algorithm's branches; None for a chain, whose knob is its tokens."""
    return next((name for name in _KNOBS if name in settings.model_fields), None)


def scaled(effort: Effort, context: Context) -> tuple[str, Any]:
    """The setting that an effort changes, and what it becomes.

    Args:
        effort: As it was asked for.
        context: The settings without it.

    Returns:
        A path such as "branches" or "sampling.max_tokens", and a number >= 1. "none" leaves one branch,
        or the shortest chain that an effort gives.
    """
    knob = knob_of(type(context))
    if knob is not None:
        return knob, max(1, round(EFFORTS[effort] * getattr(context, knob)))
    part = EFFORTS[effort] or EFFORTS["minimal"]
    return "sampling.max_tokens", max(1, round(part * context.sampling.max_tokens))
