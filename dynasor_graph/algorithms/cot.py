"""Chain of thought with probes: think, probe the answer on the way, stop once it holds."""

from __future__ import annotations

from typing import Any, ClassVar

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from pydantic import Field

from dynasor_graph.executor import (
    Context,
    ProbeRow,
    Probing,
    Program,
    Reasoning,
    Thought,
    begin as begin_common,
    decide,
    newest_answer,
    program,
    think as grow,
)
from dynasor_graph.policies import ProbeConsistency, Rule
from dynasor_graph.types import JSON, FinishReason, Sampling, StopReason

__all__ = ["ChainOfThought", "graph"]

PROBE = "\n... Oh, I suddenly got the answer to the whole problem, **Final Answer**\n\n\\[ \\boxed{"
"""The probe of the paper's code."""


class ChainOfThought(Context):
    """Settings of chain of thought with probes. Its knob is the number of tokens of thought."""

    gives: ClassVar[frozenset[str]] = frozenset({"probes", "confidence"})
    has_last_word: ClassVar[bool] = True

    policy: str | dict[str, Any] = Field("probe-consistency", description="name or JSON")
    sampling: Sampling = Sampling(max_tokens=4096)
    thinking: bool = True
    interval: int = Field(
        64, ge=1, description="tokens of thought between two probes; thousands of tokens want 256"
    )
    triggers: tuple[str, ...] = Field(
        (), description="words before which to probe, in place of the interval (DEER: Wait)"
    )
    warm_up: int = Field(0, ge=0, description="tokens of thought before the first probe")
    probe: str = Field(PROBE, min_length=1, description="text that forces an answer")
    probe_tokens: int = Field(20, ge=1, description="most tokens of a probe's response")
    probe_temperature: float = Field(0.0, ge=0, le=2, description="0: the model's best guess")
    think_end: str = Field("</think>", min_length=1, description="text that ends the thinking")
    conclude: str = Field("\n</think>\n", description="text that ends a thought that was stopped")
    answer_tokens: int = Field(64, ge=1, description="most tokens of the answer after that")
    round_tokens: int = Field(
        2048, ge=1, description="tokens of thought in one round; what a crash can cost"
    )

    @property
    def is_one_chain(self) -> bool:
        """It is."""
        return True


class Chain(Reasoning, total=False):
    """State: the thought so far as exact tokens, and what was probed on the way."""

    thought: list[int]
    probes: list[ProbeRow]
    finish: FinishReason | None


async def begin(state: Chain) -> JSON:
    """Reset the counters, and the chain."""
    return await begin_common(state) | {"thought": [], "probes": [], "finish": None}


async def think(state: Chain, runtime: Runtime[ChainOfThought]) -> JSON:
    """One round of thought: the chain grows, probes run beside it, the policy may end it."""
    async with program(state, runtime, ChainOfThought) as p:
        s = p.settings
        prompt, suffix = await p.prompt(), tuple(await p.engine.encode(s.probe))
        closing = await p.engine.encode(s.conclude)
        after = max(len(suffix) + s.probe_tokens, len(closing) + s.answer_tokens)
        cap = p.room(len(prompt), after)
        before = Thought(state["thought"], state["text"], state["probes"])
        how = Probing(
            interval=s.interval if s.reads() else 0,
            triggers=tuple(filter(None, s.triggers)),
            suffix=suffix,
            tokens=s.probe_tokens,
            temperature=s.probe_temperature,
            warm_up=s.warm_up,
            closed=s.think_end,
            cap=cap,
            window=_window(s.rule),
            confidence="confidence" in s.reads(),
        )
        limit, grant = await _allot(p, len(before.token_ids), cap)
        if limit < 1 or p.in_flight.stopped:
            p.stop_reason = p.stop_reason or StopReason.TOKENS
            return p.update([])
        after_round, branch = await grow(p, prompt, before, limit, grant, how)
        over = branch["finish"] == "stop" or len(after_round.token_ids) >= cap
        if p.stop_reason is None and over:
            p.stop_reason = StopReason.FINISHED
        return p.update(
            [branch],
            thought=after_round.token_ids,
            text=after_round.text,
            probes=after_round.probes,
            finish=branch["finish"],
        )


def _window(rule: Rule) -> int:
    """How many probes the policy compares; the reported Certaindex compares as many."""
    parts = getattr(rule, "policies", (rule,))
    windows = (part.window for part in parts if isinstance(part, ProbeConsistency))
    return next(windows, ProbeConsistency().window)


async def _allot(p: Program[ChainOfThought], so_far: int, cap: int) -> tuple[int, int]:
    """This round's share of what is left, once that is of use or nobody can give more back."""
    s = p.settings
    useful = min(cap - so_far, s.round_tokens, s.interval)
    while True:
        limit, grant = _share(s, so_far, cap, p.ledger.remaining)
        needed = useful + s.probe_tokens + s.answer_tokens
        if limit >= useful or not await p.wait_for_others(needed):
            return limit, grant


def _share(s: ChainOfThought, so_far: int, cap: int, remaining: int | None) -> tuple[int, int]:
    """Tokens of thought, and tokens for the thought and its probes together."""
    limit = min(cap - so_far, s.round_tokens)
    price = s.probe_tokens if s.reads() else 0
    left = None if remaining is None else remaining - s.answer_tokens  # the answer must be said
    if left is not None:
        # Every interval of thought brings a probe, which is paid from the same budget.
        limit = min(limit, left * s.interval // (s.interval + price))
    probes = (so_far + limit) // s.interval - so_far // s.interval
    most = limit + probes * price
    return limit, most if left is None else min(most, left)


async def answer(state: Chain, runtime: Runtime[ChainOfThought]) -> JSON:
    """The answer the chain gave; where it was stopped, the answer it is made to give now."""
    async with program(state, runtime, ChainOfThought) as p:
        s, text = p.settings, state["text"]
        if state["finish"] != "stop" and state["stop_reason"] != StopReason.DEADLINE:
            closing = [] if s.think_end in text else await p.engine.encode(s.conclude)
            prompt = (*(await p.prompt()), *state["thought"], *closing)
            text += (s.conclude if closing else "") + await p.say(prompt, s.answer_tokens)
        found = s.answer_in(text, finished=state["finish"] == "stop")
        return {
            "answer": found or newest_answer(state["probes"]),
            "text": text,
            "usage": p.ledger.usage.to_json(),
            "seconds": p.seconds,
        }


graph = (
    StateGraph(Chain, context_schema=ChainOfThought)
    .add_node(begin)
    .add_node(think)
    .add_node(answer)
    .add_edge(START, "begin")
    .add_edge("begin", "think")
    .add_conditional_edges(
        "think", decide, {"continue": "think", "branch": "think", "terminate": "answer"}
    )
    .add_edge("answer", END)
)
