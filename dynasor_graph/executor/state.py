"""State: what a graph of this library keeps between nodes: plain JSON, so any checkpointer holds it."""

from __future__ import annotations

import operator
from typing import Annotated, NotRequired

from langgraph.types import Overwrite
from typing_extensions import TypedDict

from dynasor_graph.budget import Usage
from dynasor_graph.types import JSON, FinishReason, Message, Verdict

__all__ = ["Branch", "Reasoning", "begin", "decide"]


class Branch(TypedDict):
    """One path that an algorithm took.

    `index` counts the program's branches in order of launch. `text` is dropped from branches that
    were terminated, to keep checkpoints small. `logprob` is the mean per token. `reward` is there where
    a reward judged the whole path, `confidence` (see `confidence.Confidence`) where it was asked for.
    `group` is the class of its answer, where the order of arrival may tell.
    `token_ids` are there only on the way to a trace that asks for them (`Context.keep_tokens`). For
    `queued` of its `seconds` the scheduler held it back.
    """

    index: int
    round: int
    answer: str | None
    text: str
    tokens: int
    finish: FinishReason
    logprob: float | None
    seconds: float
    queued: NotRequired[float]
    usage: dict[str, int]
    group: NotRequired[int]
    reward: NotRequired[float]
    confidence: NotRequired[JSON]
    token_ids: NotRequired[list[int]]


class Reasoning(TypedDict, total=False):
    """What all algorithms have in common. Give `question`; the rest is written by the nodes.

    `question` is a text, or a chat, the last message of which asks.

    `program` names the program in traces and derives its seeds; by default the question does.
    `queued`: seconds that its requests were held back by the scheduler, summed up.
    `shadowed` holds the shadow policies that have said "terminate", as they were written.
    """

    question: str | list[Message]
    program: str
    branches: Annotated[list[Branch], operator.add]
    usage: dict[str, int]
    rounds: int
    seconds: float
    queued: float
    certaindex: float
    decision: JSON | None
    shadowed: list[str | JSON]
    verdict: Verdict
    stop_reason: str | None
    answer: str | None
    text: str


async def begin(state: Reasoning) -> JSON:
    """Reset what an earlier question on the same thread, or a parent graph, left in the state."""
    return {
        "branches": Overwrite([]),
        "usage": Usage().to_json(),
        "rounds": 0,
        "seconds": 0.0,
        "queued": 0.0,
        "certaindex": 0.0,
        "decision": None,
        "shadowed": [],
        "verdict": "continue",
        "stop_reason": None,
        "answer": None,
        "text": "",
    }


async def decide(state: Reasoning) -> Verdict:
    """The route after a round: the verdict it reached, as recorded in the state."""
    return state["verdict"]
