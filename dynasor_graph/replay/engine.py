"""Replay engine: answers from recorded samples, at one speed or on a simulated machine."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, Self

from dynasor_graph.engine import Engine, Watcher, check_fits
from dynasor_graph.errors import ConfigError, EngineError, InputError
from dynasor_graph.recordings import Recorded, Sample
from dynasor_graph.replay.computed import Computed
from dynasor_graph.replay.pace import Batched, Paces, Running, Timing
from dynasor_graph.replay.script import (
    SAMPLES,
    Known,
    Reply,
    asked,
    chat,
    text_of,
    text_tokens,
)
from dynasor_graph.simulation import Speed
from dynasor_graph.types import JSON, Delta, FinishReason, Load, Message, Request

__all__ = ["Order", "ReplayEngine"]

Order = Literal["recorded", "random"]
"""In which order a question's samples are handed out."""


class ReplayEngine:
    r"""Hands out the recorded samples of a question, one for each new request.

    A question is asked by its text, or by its id if its text was not recorded. Each sample takes
    its own tokens and ends with `\boxed{answer}`. What continues the tokens of a sample goes on
    with it; what puts another text after them (a probe, the end of a thought) is answered by the
    sample's newest probe before that, or by nothing, at no cost: probing more often than the
    recording did repeats its probes, which then agree. A probe's text has to end in `{`. Under
    `run_virtual` none of it takes real time.

    All requests run at once, each at its own constant speed. With a `machine` they share a batch
    instead: they wait for seats and room, obey `Request.priority`, slow each other down, and find
    what was computed before in whole blocks of a prefix cache that may run full.

    `max_tokens` holds: set `sampling.max_tokens` to `longest`, or longer samples are cut. A new
    run needs a new engine. Sampling parameters, stop texts and tools are passed over.

    Args:
        recorded: Questions with their samples.
        order: Samples of a question as recorded, or shuffled.
        seed: Of the shuffling; it depends on the question's id besides, and on nothing else.
        tokens_per_second: Speed of each request, > 0. Requests that end in the same moment do so in
            the order of their beginning if it is a power of two: then times are exact.
        seconds: Take the recorded seconds of each sample instead.
        machine: Batch the requests as an engine of this speed does, or let an open engine compute as
            many tokens (see `Computed`); the two speeds above are then passed over. With a `Speed`
            the replay engine belongs to one event loop.

    Attributes:
        longest: Most tokens of a sample.
        context: Most tokens of prompt and completion; a machine's is what its KV cache holds.
        seats: Requests that fit the batch of its machine; 0 if there is no such number.
        surcharge: Seconds that a step of its machine takes longer if a prompt is computed in it.
        block: 1 without a machine: probes see the whole thought, and all that was computed before is
            found again.

    Raises:
        InputError: A sample has no tokens, or no seconds if they are wanted; two questions are
            asked by the same text.
        ConfigError: The speed is not positive, or both `seconds` and `machine` are given.
    """

    def __init__(
        self,
        recorded: Sequence[Recorded],
        *,
        order: Order = "recorded",
        seed: int = 0,
        tokens_per_second: float = 64.0,
        seconds: bool = False,
        machine: Speed | Engine | None = None,
    ) -> None:
        if not 0 < tokens_per_second < math.inf:
            raise ConfigError(f"tokens_per_second must be positive, got {tokens_per_second}")
        if seconds and machine is not None:
            raise ConfigError("seconds=True and machine are two timings: leave one of them out")
        self._timing = _timing(machine)
        self.context = 1_000_000 if machine is None else machine.context
        self.block = 1 if machine is None else machine.block
        self.seats = (
            machine.max_num_seqs if isinstance(machine, Speed) else getattr(machine, "seats", 0)
        )
        self._machine = machine
        self._speed = None if seconds else tokens_per_second
        self._samples: list[Known] = []
        self._questions: dict[str, _Question] = {}
        for row in recorded:
            known = [self._take(row, sample) for sample in row.samples]
            if order == "random":
                random.Random(f"{seed}/{row.id}").shuffle(known)
            text = (row.id if row.question is None else row.question).strip()
            if text in self._questions:
                other = self._questions[text].id
                raise InputError(f"recordings {other!r} and {row.id!r} are asked by the same text")
            self._questions[text] = _Question(row.id, len(known), iter(known))
        models = {row.model for row in recorded}
        self.model = (models.pop() if len(models) == 1 else "") or "replay"
        self.longest = max((known.script.total for known in self._samples), default=0)
        self._active: dict[Request, Running] = {}
        self._seen: set[tuple[int, ...]] = set()  # prompts that were computed
        self._generated = 0

    @property
    def surcharge(self) -> float:
        """See the attribute; an engine's may change."""
        return float(getattr(self._machine, "surcharge", 0.0))

    def watch(self, watcher: Watcher) -> bool:
        """Tell of the steps of an engine behind it, if that does; see `VllmEngine.watch`."""
        return self._timing.watch(watcher)

    def _take(self, row: Recorded, sample: Sample) -> Known:
        if not sample.tokens or sample.tokens < 0:
            raise InputError(f"question {row.id!r}: a sample without tokens cannot be replayed")
        speed = self._speed
        if speed is None:
            if not sample.seconds or sample.seconds < 0:
                raise InputError(f"question {row.id!r}: a sample has no seconds: leave them out")
            speed = sample.tokens / sample.seconds
        self._samples.append(known := Known(sample, len(self._samples), speed))
        return known

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def encode(self, text: str) -> list[int]:
        """Four bytes of the text a token."""
        return text_tokens(text)

    async def decode(self, token_ids: Sequence[int]) -> str:
        """The text of the bytes; a sample's tokens are dots, and its answer."""
        parts: list[str] = []
        start = 0
        for at, token in enumerate(token_ids):
            if token >= SAMPLES:
                parts.append(text_of(token_ids[start:at]))
                parts.append("." if token % 2 == 0 else self._known(token).said())
                start = at + 1
        return "".join(parts) + text_of(token_ids[start:])

    async def render(
        self, messages: Sequence[Message], *, thinking: bool = False, tools: Sequence[JSON] = ()
    ) -> list[int]:
        """One line for each message: `user: ...`, then `assistant: `."""
        return chat(messages, thinking=thinking)

    async def load(self) -> Load:
        """Counts of this moment."""
        made = sum(run.made for run in self._active.values())
        return replace(await self._timing.load(), generated=self._generated + made)

    async def abort(self, request: Request) -> None:
        """End one request; its stream says "terminated"."""
        if request in self._active:
            self._active[request].abort()

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Say what was recorded, `chunk` tokens at a time (0: all at the end).

        Raises:
            PromptTooLong: Prompt and `max_tokens` do not fit the context.
            EngineError: There is no recording of the question, or no sample of it is left.
        """
        check_fits(request, self.context)
        what = self._find(request.tokens)
        most = min(what.script.total - what.start, request.max_tokens)
        run = self._timing.start(request, most, what)
        self._active[request] = run
        try:
            while True:
                before, due = run.said, min(run.said + (request.chunk or most), most)
                on_time = await run.until(due)
                run.said = due if on_time else run.made
                ids, text = what.script.part(what.start + before, what.start + run.said)
                reason: FinishReason | None = None
                if not on_time:
                    reason = "terminated"
                elif run.said == most:
                    reason = "stop" if what.start + most >= what.script.total else "length"
                yield Delta(
                    token_ids=ids,
                    text=text,
                    count=run.said - before,
                    finish_reason=reason,
                    cached=run.cached if reason else 0,
                    logprob=what.logprob * run.said
                    if reason and request.logprobs and what.logprob is not None
                    else None,
                )
                if reason:
                    return
        finally:
            run.abort()
            del self._active[request]
            self._generated += run.made

    def _find(self, tokens: tuple[int, ...]) -> Reply:
        """What a prompt is answered with."""
        end = next((at for at in range(len(tokens), 0, -1) if tokens[at - 1] >= SAMPLES), 0)
        if not end:
            known = self._next(asked(tokens))
            # The last token of a prompt is always computed.
            cached = len(tokens) - 1 if tokens in self._seen else 0
            self._seen.add(tokens)
            return Reply(known.script, 0, known.speed, known.sample.logprob, cached)
        known = self._known(tokens[end - 1])
        thought = known.thought(tokens)
        cached = min(end, len(tokens) - 1)
        if end < len(tokens):
            script = known.forced(thought, text_of(tokens[end:]))
            return Reply(script, 0, known.speed, None, cached)
        start = min(thought, known.script.total - 1)  # after its last token comes the end of text
        return Reply(known.script, start, known.speed, known.sample.logprob, cached)

    def _next(self, text: str) -> Known:
        question = self._questions.get(text)
        if question is None:
            raise EngineError(
                f"no recording is asked {text[:80]!r}: ask the recorded questions word for word, "
                f"or by their ids where their texts were not recorded"
            )
        known = next(question.left, None)
        if known is None:
            raise EngineError(
                f"question {question.id!r} has {question.samples} recorded samples, and all are "
                f"used: the cap (`branches`) must not be larger"
            )
        return known

    def _known(self, token: int) -> Known:
        number = (token - SAMPLES) // 2
        if number >= len(self._samples):
            raise EngineError(f"token {token} belongs to none of the recorded samples")
        return self._samples[number]


def _timing(machine: Speed | Engine | None) -> Timing:
    if machine is None:
        return Paces()
    return Batched(machine) if isinstance(machine, Speed) else Computed(machine)


class _Question(NamedTuple):
    id: str
    samples: int
    left: Iterator[Known]
