"""Machine: continuous batching as vLLM does it, in time that is told to it: no clock, no model.

Left out, against vLLM 0.32: speculative and asynchronous scheduling, several KV cache groups, limits on
partial prefills, and what the client and its transport take. A prompt is given room as a whole when it
begins, vLLM's by the chunk. What is computed in a step can be found by those that begin in the same one.
"""

from __future__ import annotations

import itertools
import math
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from dynasor_graph.errors import PromptTooLong
from dynasor_graph.simulation.job import Job, Order
from dynasor_graph.simulation.memory import Memory
from dynasor_graph.simulation.speed import Speed
from dynasor_graph.types import Load

__all__ = ["INSTANT", "Machine"]

INSTANT = 1e-6
"""Seconds after which a step is planned: who comes in the same moment is in it."""

_SLACK = 1e-6
"""Of a step: the moment at which a step ends is no exact number."""


class _Phase(NamedTuple):
    """Steps of one and the same batch, each a little longer than the one before.

    `parts` are prompt tokens that are computed in it; then it is a single step.
    """

    steps: int
    first: float
    growth: float
    parts: list[tuple[Job, int]]

    def seconds(self, steps: int) -> float:
        return steps * (self.first + self.growth * (steps - 1) / 2)

    def done(self, seconds: float) -> int:
        """Whole steps in so many seconds."""
        if seconds <= 0:
            return 0
        b = self.first - self.growth / 2
        steps = 2 * seconds / (b + math.sqrt(b * b + 2 * self.growth * seconds))
        return min(self.steps, math.floor(steps + _SLACK))


class Machine:
    """Batches jobs at a speed; first come first served within a priority.

    As in vLLM: a waiting job begins when there is a seat and room for its prompt, the least
    priority first, then the earliest; nobody overtakes it. It never takes the seat of one that runs.
    When the KV cache is full the running job of the greatest priority, the latest of these, waits
    again and has all its tokens computed anew, but for what is still in the prefix cache.

    While the batch does not change its steps are taken at once, so that time costs nothing and a
    job costs the same whatever its length. `advance` has to be called with times that do not fall.

    Args:
        speed: What it takes and holds.

    Attributes:
        generated: Tokens made by jobs that ended.
        prompt_computed: Prompt tokens computed for jobs that began.
        recomputed: Tokens computed again after a preemption.
        preemptions: How often a running job was made to wait again.
        steps: Steps that were taken.
        now: Where the last step ended; an idle machine is ahead of it.
    """

    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.prompt_computed = self.recomputed = self.preemptions = self.steps = 0
        self.now = 0.0
        self.generated = 0
        self._phase: _Phase | None = None
        self._memory = Memory(speed)
        self._running: dict[Job, None] = {}
        self._prefill: dict[Job, None] = {}
        self._waiting: list[tuple[Order, Job]] = []
        self._left = 0  # of these, jobs that were aborted
        self._due: list[tuple[int, int, Job]] = []  # step, serial
        self._serial = itertools.count()

    # Asking ------------------------------------------------------------------------------------

    @property
    def next_event(self) -> float | None:
        """When to call `advance` next; None while there is nothing to do."""
        if self._phase is not None:
            return self.now + self._phase.seconds(self._phase.steps)
        return self.now + INSTANT if self._running or len(self._waiting) > self._left else None

    def made(self, job: Job, now: float) -> int:
        """Tokens that a job has made by a time."""
        if job.place != "decode":
            return job.made
        return self.steps + self._done(now) - job.offset

    def load(self, now: float) -> Load:
        """What it does at a time."""
        used = self._memory.used(self.steps + self._done(now))
        return Load(
            running=len(self._running),
            waiting=len(self._waiting) - self._left,
            kv_usage=min(1.0, used / self._memory.total),
            generated=self.generated
            + sum(self.made(job, now) for job in self._running)
            + sum(job.made for _, job in self._waiting if job.place == "waiting"),
            prompt_computed=self.prompt_computed,
        )

    def _done(self, now: float) -> int:
        return 0 if self._phase is None else self._phase.done(now - self.now)

    # Told from outside -------------------------------------------------------------------------

    def submit(self, job: Job, now: float) -> None:
        """Take in a new job. `advance` has been called for this time.

        Raises:
            PromptTooLong: It could never run to its end.
        """
        if len(job.prompt) + job.most > self.speed.context:
            raise PromptTooLong(len(job.prompt), self.speed.context)
        if self._phase is None and not self._running and len(self._waiting) == self._left:
            self.now = max(self.now, now)
        self._cut(now)
        job.order = (job.priority, now, next(self._serial))
        heappush(self._waiting, (job.order, job))

    def abort(self, job: Job, now: float) -> None:
        """End a job; it keeps what it made. `advance` has been called for this time."""
        if job.place == "ended":
            return
        job.made = self.made(job, now)
        if job.place == "waiting":
            self._left += 1
        else:
            done = self._done(now)
            if self._phase is not None:
                self._memory.make_room(self.steps + min(done, self._phase.steps - 1))
            self._cut(now)
            self._leave(job, self.steps + done)
        self._end(job)
        if self._left > 16 + len(self._waiting) // 2:
            self._waiting = [entry for entry in self._waiting if entry[1].place == "waiting"]
            heapify(self._waiting)
            self._left = 0

    def advance(self, now: float) -> list[Job]:
        """Let the time come; the jobs whose readers are told, in order. Those that ended say so."""
        told: list[Job] = []
        while True:
            if self._phase is None:
                if self.next_event is None or now <= self.now:
                    return told
                self._phase = self._plan()
            seconds = self._phase.seconds(self._phase.steps)
            if self.now + seconds > now:
                return told
            self.now += seconds
            self._finish(self._phase, told)

    # Steps -------------------------------------------------------------------------------------

    def _cut(self, now: float) -> None:
        """Let the batch change after the step that runs."""
        if (phase := self._phase) is None or phase.steps == 1:
            return
        done = phase.done(now - self.now)
        over = done > 0 and phase.seconds(done) >= now - self.now - _SLACK * phase.first
        self._phase = phase._replace(steps=max(1, min(phase.steps, done if over else done + 1)))

    def _plan(self) -> _Phase:
        """Fill the next step, and see for how many it stays the same."""
        preempted = self._make_room()
        parts, began = self._chunks(admit=not preempted)
        decoding = self._memory.decoding
        sequences = decoding.count + len(parts)
        steps = 1
        if not parts and not preempted:  # nobody begins in a step in which somebody had to leave
            steps = self._memory.steps(self.steps, self._next_due() - self.steps)
        self._memory.make_room(self.steps)
        first = self.speed.step(
            sequences,
            requests=began,
            prompt_tokens=sum(tokens for _, tokens in parts),
            context_tokens=decoding.tokens(self.steps)
            + sum(job.computed + tokens for job, tokens in parts),
        )
        return _Phase(steps, first, self.speed.per_context_token * decoding.count, parts)

    def _next_due(self) -> int:
        while True:
            step, _, job = self._due[0]
            if job.place == "decode" and step == job.offset + job.due:
                return step
            heappop(self._due)

    def _finish(self, phase: _Phase, told: list[Job]) -> None:
        self._phase = None
        self.steps += phase.steps
        self._memory.make_room(self.steps - 1)  # of a phase that was cut, no more than it took
        for job, tokens in phase.parts:
            if job.place == "prefill":
                job.computed += tokens
                if job.computed == job.length:
                    self._decode(job)
        while self._due and self._due[0][0] <= self.steps:
            step, _, job = heappop(self._due)
            if job.place != "decode" or step != job.offset + job.due:
                continue  # it was preempted or aborted meanwhile
            job.told = job.made = job.due
            if job.made == job.most:
                self._leave(job, self.steps)
                self._end(job)
            else:
                self._watch(job)
            told.append(job)

    def _watch(self, job: Job) -> None:
        heappush(self._due, (job.offset + job.due, job.order[2], job))

    def _end(self, job: Job) -> None:
        job.place = "ended"
        self.generated += job.made
        job.keys = []

    # Places ------------------------------------------------------------------------------------

    def _make_room(self) -> bool:
        """Preempt until what runs fits for a step; whether anything was."""
        before = self.preemptions
        while self._memory.used(self.steps) > self._memory.total:
            job = max(self._running, key=lambda job: job.order)
            job.made = self.made(job, self.now)
            self._leave(job, self.steps)
            job.place = "waiting"
            heappush(self._waiting, (job.order, job))
            self.preemptions += 1
        return self.preemptions > before

    def _chunks(self, *, admit: bool) -> tuple[list[tuple[Job, int]], int]:
        """The prompt tokens of the next step, and how many jobs begin in it."""
        speed = self.speed
        left = speed.max_num_batched_tokens - self._memory.decoding.count
        parts: list[tuple[Job, int]] = []
        for job in self._prefill:
            if left > 0:
                parts.append((job, min(left, job.length - job.computed)))
                left -= parts[-1][1]
                self._memory.offer(job, job.computed + parts[-1][1])
        began = 0
        while admit and left > 0 and self._waiting and len(self._running) < speed.max_num_seqs:
            job = self._waiting[0][1]
            if job.place != "waiting":
                heappop(self._waiting)
                self._left -= 1
                continue
            if not self._begin(job, left):
                break
            heappop(self._waiting)
            began += 1
            parts.append((job, min(left, job.length - job.computed)))
            left -= parts[-1][1]
            self._memory.offer(job, job.computed + parts[-1][1])
        return parts, began

    def _begin(self, job: Job, left: int) -> bool:
        """Give a waiting job a seat and the room for its prompt, if there is that much."""
        found = self._memory.found(job, self.steps)
        if not self.speed.chunked_prefill and job.length - found > left:
            return False
        if not self._memory.take(job, found, self.steps):
            return False
        job.place = "prefill"
        self._running[job] = self._prefill[job] = None
        if job.began:
            self.recomputed += job.length - found
        else:
            job.began, job.cached = True, found
            self.prompt_computed += job.length - found
        return True

    def _decode(self, job: Job) -> None:
        """Its prompt is computed, and with it the next token was made."""
        del self._prefill[job]
        job.place = "decode"
        job.offset = self.steps - 1 - job.made
        self._memory.decode(job)
        self._watch(job)

    def _leave(self, job: Job, step: int) -> None:
        """Take its seat and its room."""
        del self._running[job]
        self._prefill.pop(job, None)
        self._memory.leave(job, step)
