"""Think: one chain of thought, with probes beside it on its exact tokens (paper, section 2.1).

A probe is a request of its own: the tokens so far, cut where a block of the prefix cache ends, and
a text that forces an answer. The chain never waits for it and never sees it. Probes are observed in
the order of their cuts, whichever is answered first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

from typing_extensions import TypedDict

from dynasor_graph.answers import Grouping, probed_answer
from dynasor_graph.budget import Grant, Ledger, Usage
from dynasor_graph.certaindex import probe_certaindex
from dynasor_graph.executor.judging import equivalence_of
from dynasor_graph.executor.probing import ProbeRow, Probing, Thought, newest_answer
from dynasor_graph.executor.program import Program
from dynasor_graph.executor.sample import prompt_usage
from dynasor_graph.executor.state import Branch
from dynasor_graph.executor.trigger import Trigger
from dynasor_graph.policies import Probe, Progress
from dynasor_graph.types import Completion, Delta, FinishReason, Request

__all__ = ["think"]


class _Round(TypedDict):
    """What the branch task of one round returns: plain JSON, so that a crash cannot lose it."""

    branch: Branch
    token_ids: list[int]
    text: str
    probes: list[ProbeRow]


async def think(
    p: Program[Any], prompt: tuple[int, ...], before: Thought, limit: int, tokens: int, how: Probing
) -> tuple[Thought, Branch]:
    """Grow the chain by up to `limit` tokens, and stop as soon as the policy is certain.

    Args:
        p: The open round.
        prompt: Token ids before the thought.
        before: The chain so far.
        limit: Most tokens of thought in this round, >= 1.
        tokens: Most tokens of the thought and its probes together.
        how: How to probe.

    Returns:
        The chain after this round, and this round as a branch.
    """

    async def work(index: int, grant: Grant) -> _Round:
        return await _Chain(p, prompt, before, how, grant.tokens).grow(index, limit)

    found = await p.run_one(work, tokens)
    if p.decision is None and len(found["probes"]) > len(before.probes):
        # Restored after a crash: in this process the policy has not seen these probes.
        await _Chain(p, prompt, before, how, tokens).judge_again(found)
    return Thought(found["token_ids"], found["text"], found["probes"]), found["branch"]


class _Chain:
    """One round of one chain, and the probes beside it."""

    def __init__(
        self, p: Program[Any], prompt: tuple[int, ...], thought: Thought, how: Probing, most: int
    ) -> None:
        self.p, self.prompt, self.how = p, prompt, how
        self.before = thought
        self.now = Thought([*thought.token_ids], thought.text, [*thought.probes])
        self.ledger = Ledger(most, source="branch")
        kind = p.settings.answers
        self.grouping = Grouping(equivalence_of(kind, p.engine, p.question, self.ledger, p.name))
        self.observed: list[Probe] = []
        self.probed_at = thought.probes[-1]["at"] if thought.probes else 0
        self.asked: asyncio.Queue[asyncio.Task[_Answered] | None] = asyncio.Queue()
        self.running: set[Request] = set()
        self.over = False
        self.show: Callable[[Delta], None] | None = None
        # The interval counts from the start of the thought, over all rounds.
        every = how.interval
        self.due = max((len(thought.token_ids) // every + 1) * every, how.warm_up) if every else 0
        self.trigger = (
            Trigger(how.triggers, p.engine.decode, thought.text) if every and how.triggers else None
        )

    async def grow(self, index: int, limit: int) -> _Round:
        """Generate up to `limit` tokens, probing on the way."""
        started = self.p.seconds
        for row in self.before.probes:
            await self._remember(row)
        grant = self.ledger.reserve(limit, limit)
        if grant is None:
            raise ValueError(f"limit {limit} is more than the {self.ledger.limit} tokens granted")
        so_far = self.prompt + tuple(self.before.token_ids)
        chunk = Trigger.chunk if self.trigger else self.how.interval
        self.show = self.p.showing.seen(index) if self.p.showing.begin(index) else None
        chunk = min(filter(None, (chunk, self.p.showing.every)), default=0)
        request = self.p.request(so_far, limit, index, chunk=chunk)
        async with asyncio.TaskGroup() as group:
            observer = group.create_task(self._observe_in_order())
            whole = await self._read(request, group)
            self.over = self._is_over(whole.finish_reason)
            if self.over:
                # Probes that are not answered yet say nothing about a chain that has ended.
                for probe in list(self.running):
                    group.create_task(self.p.engine.abort(probe))
            self.asked.put_nowait(None)
            await observer
        self.p.warn_if_fragile(self.grouping)
        # A chain that was stopped is still what the answer is made of: not waste, but main.
        self.ledger.settle(grant, prompt_usage(so_far, whole) + Usage(main=whole.tokens))
        branch = Branch(
            index=index,
            round=self.p.rounds,
            answer=None,
            text="",
            tokens=whole.tokens,
            finish=whole.finish_reason,
            logprob=None if whole.logprob is None else whole.logprob / max(1, whole.tokens),
            seconds=self.p.seconds - started,
            queued=round(whole.queued, 6),
            usage=self.ledger.usage.lines(),
        )
        return _Round(
            branch=branch, token_ids=self.now.token_ids, text=self.now.text, probes=self.now.probes
        )

    async def _read(self, request: Request, group: asyncio.TaskGroup) -> Completion:
        whole = Completion()
        if self.p.in_flight.stopped:
            return whole
        with self.p.in_flight.watched(request):
            async with aclosing(self.p.engine.stream(request)) as deltas:
                async for delta in deltas:
                    whole.add(delta)
                    self.now.token_ids.extend(delta.token_ids)
                    self.now.text += delta.text
                    if self.show is not None:
                        self.show(delta)
                    self.p.in_flight.queued += delta.queued
                    if (cut := await self._cut()) and not self._is_over(delta.finish_reason):
                        self._probe(group, cut)
        return whole

    async def _cut(self) -> int | None:
        """After how many tokens of thought a probe is due now; None if none is."""
        every, at = self.how.interval, len(self.now.token_ids)
        if self.trigger is not None:
            return await self.trigger.find(self.now.token_ids, self.now.text)
        if not every or at < self.due:
            return None
        self.due = at + every
        # The longest part of which all blocks can be found in the cache.
        block = self.p.engine.block
        return (len(self.prompt) + at - 1) // block * block + 1 - len(self.prompt)

    def _is_over(self, reason: FinishReason | None) -> bool:
        """Whether there is nothing more to probe: a round that was cut at its limit goes on."""
        return (
            reason in {"stop", "terminated"}
            or self.how.closed in self.now.text
            or len(self.now.token_ids) >= self.how.cap
        )

    def _probe(self, group: asyncio.TaskGroup, at: int) -> None:
        """Start a probe after so many tokens of thought."""
        tokens = (*self.prompt, *self.now.token_ids[: max(0, at)], *self.how.suffix)
        fits = len(tokens) + self.how.tokens <= self.p.engine.context
        if self.p.in_flight.stopped or not fits or at <= self.probed_at or at < self.how.warm_up:
            return
        if (grant := self.ledger.reserve(self.how.tokens)) is None:
            return
        self.probed_at = at
        request = Request(
            tokens=tokens,
            max_tokens=grant.tokens,
            temperature=self.how.temperature,
            priority=-1,  # before the streams: it is short, and it may end one
            logprobs=self.how.confidence,
            program=self.p.name,
        )
        self.asked.put_nowait(group.create_task(self._ask(request, grant, at)))

    async def _ask(self, request: Request, grant: Grant, at: int) -> _Answered:
        started = self.p.clock()
        self.running.add(request)
        try:
            whole = await self.p.in_flight.complete(request)
        finally:
            self.running.discard(request)
        computed = len(request.tokens) - whole.cached if whole.tokens else 0
        used = Usage(probe=whole.tokens, probe_prefill=computed, probe_cached=whole.cached)
        self.ledger.settle(grant, used)
        return _Answered(at, whole, computed, self.p.clock() - started)

    async def judge_again(self, found: _Round) -> None:
        """Ask the policy about a round that was thought before a crash."""
        self.before = self.now = Thought(found["token_ids"], found["text"], found["probes"])
        for row in found["probes"]:
            await self._remember(row)
        progress = self._progress()
        probed = newest_answer(found["probes"])
        await self.p.judge(progress, self._certaindex(progress), probed=probed)

    async def _observe_in_order(self) -> None:
        while (task := await self.asked.get()) is not None:
            at, whole, computed, seconds = await task
            if whole.finish_reason == "terminated" or self.over:
                continue
            row = ProbeRow(
                at=at,
                answer=probed_answer(whole.text),
                text=whole.text,
                confidence=_confidence(whole),
            )
            await self._remember(row)
            self.now.probes.append(row)
            progress = self._progress()
            self.p.certaindex = self._certaindex(progress)
            self.p.emit(
                "probe",
                **row,
                tokens=whole.tokens,
                prefill=computed,
                cached=whole.cached,
                seconds=seconds,
            )
            await self.p.judge(progress, self.p.certaindex, probed=newest_answer(self.now.probes))

    def _certaindex(self, progress: Progress) -> float:
        return probe_certaindex([probe.answer for probe in progress.probes], self.how.window)

    async def _remember(self, row: ProbeRow) -> None:
        answer = row["answer"]
        number = None
        if answer is not None:
            number = await self.grouping.add(answer, row.get("group"))
        if number is not None and not self.grouping.kind.order_free:
            row["group"] = number
        confidence = row.get("confidence")
        self.observed.append(
            Probe(at=row["at"], answer=number, text=row["text"], confidence=confidence)
        )

    def _progress(self) -> Progress:
        root = self.grouping.root
        probes = tuple(
            replace(x, answer=None if x.answer is None else root(x.answer)) for x in self.observed
        )
        thought = len(self.now.token_ids)
        new = thought - len(self.before.token_ids)  # the rest is on the program's ledger already
        spent = self.p.ledger.usage.generated + self.ledger.usage.generated + new
        return Progress(knob=thought, cap=self.how.cap, probes=probes, tokens=spent)


class _Answered(NamedTuple):
    at: int
    whole: Completion
    computed: int
    seconds: float


def _confidence(whole: Completion) -> float | None:
    """Geometric mean of the probabilities of a response's tokens; None if it is not known."""
    if whole.logprob is None or not whole.tokens:
        return None
    return round(math.exp(min(0.0, whole.logprob / whole.tokens)), 6)
