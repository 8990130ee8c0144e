"""Probing: how a chain of thought is probed, and what its probes said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NotRequired

from typing_extensions import TypedDict

from dynasor_graph.policies import hesitates

__all__ = ["ProbeRow", "Probing", "Thought", "newest_answer"]


class ProbeRow(TypedDict):
    """A probe as state and traces keep it: tokens of thought, answer, whole response, confidence.

    States of earlier versions have no confidence. `group` is the class of its answer, where the order of
    arrival may tell.
    """

    at: int
    answer: str | None
    text: str
    confidence: float | None
    group: NotRequired[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How to probe.

    Attributes:
        interval: Tokens of thought between two probes; 0 never probes.
        triggers: Words before which to probe instead; empty for none.
        suffix: Token ids of the text that forces an answer.
        tokens: Most tokens of a probe's response.
        temperature: Of the probe; 0 is the model's best guess.
        warm_up: Tokens of thought before the first probe.
        closed: Text that ends the thinking; nothing is probed after it.
        cap: Most tokens of the whole chain, for the policy.
        window: Probes that the reported Certaindex compares.
        confidence: Whether the policy looks at the confidence of probes; it costs the engine time.
    """

    interval: int
    triggers: tuple[str, ...]
    suffix: tuple[int, ...]
    tokens: int
    temperature: float
    warm_up: int
    closed: str
    cap: int
    window: int
    confidence: bool


@dataclass(slots=True)
class Thought:
    """A chain so far, over all rounds.

    Attributes:
        token_ids: Exactly what the engine generated, without the end-of-text token.
        text: The same as text.
        probes: What was probed, oldest first.
    """

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    probes: list[ProbeRow] = field(default_factory=list)


def newest_answer(probes: Sequence[ProbeRow]) -> str | None:
    """The answer of the newest probe that gave one and did not hesitate; None if there is none."""
    said = (row["answer"] for row in reversed(probes) if not hesitates(row["text"]))
    return next(filter(None, said), None)
