"""Program: one round of one question: its budget, its requests, and the latched verdict.

A node opens its round with `program(state, runtime, Settings)` and calls `sample`. The round keeps
a window of branches in flight, looks at each one that finishes, and when the policy says
"terminate" every outstanding request *returns* what it has: termination is a value, nothing
raises, and the superstep ends at once. The verdict is latched: branches that finish in the same
moment cannot undo it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, cast

from langgraph.config import get_config
from langgraph.runtime import Runtime

from dynasor_graph.answers import Grouping
from dynasor_graph.budget import Grant, Ledger, Usage
from dynasor_graph.engine import Engine, engine_named
from dynasor_graph.errors import ConfigError, PromptTooLong
from dynasor_graph.executor.accounts import account
from dynasor_graph.executor.context import Context, resolve
from dynasor_graph.executor.inflight import InFlight
from dynasor_graph.executor.judging import Judging, equivalence_of
from dynasor_graph.executor.sample import CANDIDATES, prompt_usage, sample_branch
from dynasor_graph.executor.shadow import Shadows
from dynasor_graph.executor.showing import Showing
from dynasor_graph.executor.state import Branch, Reasoning
from dynasor_graph.executor.stopping import attend
from dynasor_graph.executor.tally import Tally
from dynasor_graph.executor.tasks import BranchTasks
from dynasor_graph.executor.window import Launch, Window
from dynasor_graph.policies import Decision, Progress, expected_remaining
from dynasor_graph.reward import Reward
from dynasor_graph.scheduler import scheduler_of
from dynasor_graph.types import JSON, Message, Request, StopReason, Verdict, last_asked

__all__ = ["Program", "program"]

C = TypeVar("C", bound=Context)
R = TypeVar("R")


class Program(Generic[C]):
    """One round of one program. Single-use: open it with `program(...)`.

    Attributes:
        settings: The algorithm's context.
        chat: The messages that ask.
        question: The text of the last that a user wrote; a node may change it.
        engine: The engine it names.
        ledger: Tokens spent and promised, over all rounds.
        tally: Votes of the finished branches, over all rounds.
        in_flight: Its requests that are running.
        showing: Which branch is shown as it grows.
        tasks: Its branches as LangGraph tasks.
        shadows: Policies that are asked too, and do not act.
        decision: What the policy said last.
        bar: The least group confidence that a running branch must keep; None for none.
        wants_groups: Whether the confidence of its tokens is measured.
        clock: Seconds of the event loop's time.
        limit: Tokens after which the next branch is not worth finishing; None for no limit.
        stop_reason: Set as soon as the program is to end, and never changed after.
    """

    def __init__(
        self,
        state: Reasoning,
        settings: C,
        engine: Engine,
        emit: Callable[[JSON], None],
    ) -> None:
        self.settings, self.engine = settings, engine
        asked = state["question"]
        self.chat = [Message(role="user", content=asked)] if isinstance(asked, str) else asked
        self.question = last_asked(self.chat)
        self.name = state.get("program") or _digest(str(asked))
        self.rounds = state["rounds"]
        self.ledger = Ledger(
            settings.budget.tokens,
            usage=Usage.from_json(state["usage"]),
            parent=account(settings.account),
        )
        self.tally = Tally(
            equivalence_of(settings.answers, engine, self.question, self.ledger, self.name)
        )
        self.decision: Decision | None = None
        self._decided_at = 0  # tokens
        self.stop_reason: StopReason | None = None
        self.certaindex = state["certaindex"]
        self.bar: float | None = None
        self.limit: int | None = None
        self.in_flight = InFlight(engine)
        self.showing = Showing(settings.stream_tokens, self.emit)
        self.tasks = BranchTasks(get_config())
        self.shadows = Shadows(settings, self.tally, state.get("shadowed", ()), self.emit)
        self._emit = emit
        self._scheduler = scheduler_of(engine)
        self.clock = asyncio.get_running_loop().time  # the monotonic clock, unless it is virtual
        self._rule = settings.rule
        self._logprobs, self.wants_groups = settings.wants_logprobs, settings.wants_groups
        self._seconds_before, self._queued_before = state["seconds"], state.get("queued", 0.0)
        self._started = self.clock()

    # What a node does --------------------------------------------------------------------------

    async def prompt(self) -> tuple[int, ...]:
        """The question as token ids, by the model's chat template unless it is a raw prompt."""
        s, chat = self.settings, list(self.chat)
        if s.raw_prompt:
            return tuple(await self.engine.encode(self.question))
        if chat[-1]["role"] == "user":  # the node may have changed the question
            chat[-1] = {**chat[-1], "content": self.question}
        if s.system:
            chat.insert(0, Message(role="system", content=s.system))
        return tuple(await self.engine.render(chat, thinking=s.thinking, tools=s.tools))

    def room(self, prompt: int, reserve: int = 0) -> int:
        """Most tokens a branch may generate after `prompt` tokens, `reserve` kept free after it.

        Raises:
            PromptTooLong: None.
        """
        room = min(self.settings.sampling.max_tokens, self.engine.context - prompt - reserve)
        if room < 1:
            raise PromptTooLong(prompt, self.engine.context)
        return room

    async def sample(self, width: int, *, reward: Reward | None = None) -> list[Branch]:
        """Sample branches of the question, up to `width` over all rounds, until the round is over.

        The round is over when the policy is certain, when it wants a new round, when the width is
        reached, or when the budget is spent.

        Args:
            width: Most branches.
            reward: Judges each branch that has finished.
        """
        prompt = await self.prompt()
        most = self.room(len(prompt))
        cap = min(width, self.settings.budget.branches or width)

        def launch(index: int, grant: Grant) -> Awaitable[Branch]:
            return sample_branch(self, index, prompt, grant.tokens, reward)

        return await self.run(launch, tokens=most, cap=cap)

    async def run(self, launch: Launch, *, tokens: int, cap: int) -> list[Branch]:
        """Keep a window of branches in flight until the round is over.

        Args:
            launch: Index of a branch and the tokens it is granted -> the branch. Called in order
                of the index, which is what lets LangGraph find finished branches again.
            tokens: What to ask of the ledger for one branch.
            cap: Most branches, over all rounds.
        """
        return await Window(self, launch, tokens=tokens, cap=cap).roll()

    async def run_one(self, work: Callable[[int, Grant], Awaitable[R]], tokens: int) -> R:
        """Run a round of a single branch, which asks the policy itself (`judge`) on its way.

        Args:
            work: Index and grant -> plain JSON with the key "branch".
            tokens: What the branch may generate, probes included.
        """
        index = len(self.tally.branches)
        grant = self.ledger.reserve(tokens, tokens)
        if grant is None:
            raise ValueError(f"{tokens} tokens are more than the {self.ledger.remaining} left")
        found = await self._in_time(self.tasks.start(index, lambda: work(index, grant)))
        branch: Branch = found["branch"]
        self.settle(index, grant, branch)
        self.emit_branch(branch)
        return cast("R", found)

    async def wait_for_others(self, tokens: int) -> bool:
        """Wait a little if other programs of the run hold what this one needs; they return some.

        Args:
            tokens: What it needs, at the least.

        Returns:
            Whether it is worth looking again; not if nothing is held, or the time is up.
        """
        limit, seconds = self.ledger.limit, self.settings.budget.seconds
        own = tokens if limit is None else limit - self.ledger.usage.generated
        if self.in_flight.stopped or own < tokens or not self.ledger.promised_elsewhere:
            return False
        if seconds is not None and self.seconds >= seconds:
            await self.stop(StopReason.DEADLINE)
            return False
        await asyncio.sleep(0.01)
        return True

    async def say(self, prompt: tuple[int, ...], tokens: int) -> str:
        """Generate a last text, such as the answer that a stopped chain is made to give.

        Gives "" if the budget leaves nothing.
        """
        while (grant := self.ledger.reserve(tokens, tokens)) is None:
            if not await self.wait_for_others(tokens):
                break
        grant = grant or self.ledger.reserve(tokens)
        if grant is None:
            return ""
        request = self.request(prompt, grant.tokens, -1, chunk=self.showing.every)
        show = self.showing.seen(-1, "answer") if self.showing.every else None
        started = self.clock()
        whole = await self._in_time(asyncio.ensure_future(self.in_flight.complete(request, show)))
        used = prompt_usage(prompt, whole) + Usage(main=whole.tokens)
        self.ledger.settle(grant, used)
        self.emit(
            "answer",
            text=whole.text,
            tokens=whole.tokens,
            usage=used.lines(),
            seconds=self.clock() - started,
        )
        return whole.text

    def update(self, done: list[Branch], **more: Any) -> JSON:
        """What the node returns: the state after this round."""
        rounds = self.rounds + 1
        limit = self.settings.budget.rounds
        self.warn_if_fragile(self.tally.grouping)
        if self.stop_reason is None and limit is not None and rounds >= limit:
            self.stop_reason = StopReason.ROUNDS
        verdict: Verdict = "terminate" if self.stop_reason else "continue"
        if self.stop_reason is None and self.decision is not None:
            verdict = self.decision.verdict
        return {
            "branches": [_without_tokens(branch) for branch in done],
            "usage": self.ledger.usage.to_json(),
            "rounds": rounds,
            "seconds": self.seconds,
            "queued": self._queued_before + self.in_flight.queued,
            "certaindex": self.certaindex,
            "decision": self.decision and self.decision.to_json() | {"tokens": self._decided_at},
            "shadowed": self.shadows.said,
            "verdict": verdict,
            "stop_reason": self.stop_reason and self.stop_reason.value,
            **more,
        }

    def request(
        self, prompt: tuple[int, ...], tokens: int, index: int, *, chunk: int = 0
    ) -> Request:
        """A request with this program's sampling.

        Each branch draws its own seed, whichever round it is in: policies see the same branches.
        """
        sampling = self.settings.sampling
        seed = None
        if sampling.seed is not None:
            source = self.settings.seeded_by or self.name
            seed = int(_digest(f"{sampling.seed}/{source}/{index}")[:7], 16)
        return Request(
            tokens=prompt,
            max_tokens=tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            stop=sampling.stop,
            seed=seed,
            chunk=chunk,
            logprobs=self._logprobs,
            top_logprobs=CANDIDATES if self.wants_groups else 0,
            program=self.name,
        )

    # Deciding ----------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Seconds this program has run, over all rounds."""
        return self._seconds_before + self.clock() - self._started

    async def stop(self, reason: StopReason) -> None:
        """Latch the end: no new request starts, and every running one returns what it has."""
        if self.stop_reason is None:
            self.stop_reason = reason
        await self.in_flight.stop()

    async def judge(
        self, progress: Progress, certaindex: float, *, probed: str | None = None
    ) -> None:
        """Ask the policy and its shadows, record what they said, and stop if it is certain.

        Args:
            progress: What they may know.
            certaindex: How settled the answer is.
            probed: What a chain of thought would answer now; of branches the votes say it.
        """
        self.certaindex = certaindex
        if self.in_flight.stopped:
            return
        self.decision, self._decided_at = self._rule.decide(progress), progress.tokens
        self.bar, self.limit = self._rule.bar(progress), self._rule.branch_tokens(progress)
        self.tell(expected_remaining(self._rule, progress, self.decision), progress.mean_tokens)
        self.emit("decision", **self.decision.to_json(), knob=progress.knob, tokens=progress.tokens)
        self.shadows.ask(progress, probed)
        if self.decision.verdict == "terminate":
            await self.stop(StopReason.CERTAIN)

    def tell(self, remaining: float | None = None, mean_tokens: float = 0.0) -> None:
        """Tell the scheduler, if there is one, how far the program has come.

        Args:
            remaining: Steps of the knob that are still expected; None: as before.
            mean_tokens: Tokens of one of them so far; 0 before the first.
        """
        limits = (self.settings.budget.seconds, self.settings.budget.slo)
        limit = min((one for one in limits if one is not None), default=None)
        self._scheduler.tell(
            self.name,
            algorithm=type(self.settings).__name__,
            tenant=self.settings.tenant,
            deadline=None if limit is None else self.clock() + limit - self.seconds,
            remaining=remaining,
            mean_tokens=mean_tokens or None,
        )

    def emit(self, event: str, **fields: Any) -> None:
        """Send an event to the graph's "custom" stream, where traces are made of it."""
        row = {"event": event, "program": self.name, "round": self.rounds}
        self._emit(row | fields | {"certaindex": round(self.certaindex, 6)})

    def emit_branch(self, branch: Branch, **more: Any) -> None:
        """Send a branch that has ended."""
        left_out = {"text", "round"}
        row = {key: value for key, value in branch.items() if key not in left_out}
        self.emit("branch", **row, **more)

    def warn_if_fragile(self, grouping: Grouping) -> None:
        """Send an event if a slightly other threshold would have made other classes of the answers."""
        kind, counts = grouping.kind, {"compared": grouping.compared, "close": grouping.close}
        if isinstance(kind, Judging):
            counts |= {"unclear": kind.unclear, "unasked": kind.unasked}
        if grouping.fragile or counts.get("unclear") or counts.get("unasked"):
            self.emit("fragile", kind=kind.kind, margin=kind.margin, **counts)

    def settle(self, index: int, grant: Grant, branch: Branch) -> None:
        """Put a branch that has ended on the ledger."""
        before = self.tasks.was_restored(index)
        self.ledger.settle(grant, Usage.from_json(branch["usage"]), before=before)

    async def _in_time(self, job: asyncio.Future[R]) -> R:
        """The result of one job; at the deadline it is told to return what it has."""
        arrived: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()
        job.add_done_callback(arrived.put_nowait)
        try:
            while await self.before_deadline(arrived) is None:
                await self.stop(StopReason.DEADLINE)
            return job.result()
        finally:
            job.cancel()

    async def before_deadline(self, arrived: asyncio.Queue[R]) -> R | None:
        """The next job that ends, or None if the deadline comes first."""
        limit = self.settings.budget.seconds
        if limit is None or self.in_flight.stopped:
            return await arrived.get()
        try:
            async with asyncio.timeout(max(0.0, limit - self.seconds)):
                return await arrived.get()
        except TimeoutError:
            return None


def _without_tokens(branch: Branch) -> Branch:
    """As the state keeps it: token ids and the falls of its confidence go to the trace alone."""
    kept = {key: value for key, value in branch.items() if key != "token_ids"}
    if "confidence" in branch:
        kept["confidence"] = {k: v for k, v in branch["confidence"].items() if k != "falls"}
    return cast("Branch", kept)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@asynccontextmanager
async def program(
    state: Reasoning | Mapping[str, Any], runtime: Runtime[Any], kind: type[C]
) -> AsyncIterator[Program[C]]:
    """Open this node's round of the program that the state describes.

    Raises:
        ConfigError: The context is wrong, no such engine is registered, or LangGraph was given
            `max_concurrency=1`.
    """
    # The node holds LangGraph's only permit while it waits for its branch tasks: a deadlock.
    if (get_config().get("max_concurrency") or 2) < 2:
        raise ConfigError(
            "max_concurrency=1 would deadlock: leave it out, and set budget.concurrency=1 instead"
        )
    settings = resolve(runtime, kind)
    engine = await engine_named(settings.engine)
    opened = Program(state, settings, engine, runtime.stream_writer)  # type: ignore[arg-type]
    for branch in state.get("branches", ()):
        await opened.tally.add(branch)
    ended_before = state.get("stop_reason") is not None
    opened.tell()
    with opened.tasks, attend(opened, ended=ended_before):
        try:
            yield opened
        finally:
            opened.ledger.close()
            if opened.stop_reason is not None and (ended_before or not settings.has_last_word):
                scheduler_of(engine).forget(opened.name)
