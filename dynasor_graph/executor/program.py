"""Executor: runs one program's rounds under its budget, and latches what its policy says.

A node opens its round with `program(state, runtime, Settings)` and calls `sample`. The round keeps
a window of branches in flight, looks at each one that finishes, and when the policy says
"terminate" every outstanding request *returns* what it has: termination is a value, nothing
raises, and the superstep ends at once. The verdict is latched: branches that finish in the same
moment cannot undo it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sized
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, cast

from langgraph.config import get_config
from langgraph.func import task
from langgraph.runtime import Runtime

from dynasor_graph.answers import extract_answer
from dynasor_graph.budget import Grant, Ledger, Usage
from dynasor_graph.certaindex import entropy_certaindex
from dynasor_graph.engine import Engine, complete, engine_named
from dynasor_graph.errors import ConfigError, PromptTooLong
from dynasor_graph.executor.accounts import account
from dynasor_graph.executor.context import Context, resolve
from dynasor_graph.executor.state import Branch, Reasoning
from dynasor_graph.executor.tally import Tally
from dynasor_graph.policies import Decision, Progress
from dynasor_graph.types import JSON, Completion, Message, Request, StopReason, Verdict

__all__ = ["Program", "program", "prompt_usage"]

C = TypeVar("C", bound=Context)
R = TypeVar("R")
Work = Callable[[Grant], Awaitable[Branch]]

_live: dict[str, Program[Any]] = {}
"""Rounds that are open in this process; a branch task finds its own by key."""


async def _work(key: str, index: int) -> Any:
    return await _live[key].work(index)


_branch: Callable[[str, int], asyncio.Future[Any]] = cast(
    "Any", task(name="branch")(cast("Any", _work))
)
"""One branch as a LangGraph task: finished ones survive a crash, and each is seen in streams."""


class Program(Generic[C]):
    """One round of one program. Single-use: open it with `program(...)`.

    Attributes:
        settings: The algorithm's context.
        engine: The engine it names.
        ledger: Tokens spent and promised, over all rounds.
        tally: Votes of the finished branches, over all rounds.
        decision: What the policy said last.
        stop_reason: Set as soon as the program is to end, and never changed after.
    """

    def __init__(
        self,
        state: Reasoning,
        settings: C,
        engine: Engine,
        tally: Tally,
        emit: Callable[[JSON], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.engine, self.tally = settings, engine, tally
        self.name = state.get("program") or _digest(state["question"])
        self.question = state["question"]
        self.rounds = state["rounds"]
        self.ledger = Ledger(
            settings.budget.tokens,
            usage=Usage.from_json(state["usage"]),
            parent=account(settings.account),
        )
        self.decision: Decision | None = None
        self.stop_reason: StopReason | None = None
        self.certaindex = state["certaindex"]
        self.key = uuid.uuid4().hex
        self._emit, self._clock = emit, clock
        self._rule = settings.rule
        self._seconds_before = state["seconds"]
        self._started = clock()
        self._work: dict[int, Callable[[], Awaitable[Any]]] = {}
        self._requests: set[Request] = set()
        self._stopped = False

    # What a node does --------------------------------------------------------------------------

    async def prompt(self) -> tuple[int, ...]:
        """The question as token ids, by the model's chat template."""
        messages: list[Message] = [{"role": "user", "content": self.question}]
        if self.settings.system:
            messages.insert(0, {"role": "system", "content": self.settings.system})
        return tuple(await self.engine.render(messages, thinking=self.settings.thinking))

    def room(self, prompt: int, reserve: int = 0) -> int:
        """Most tokens a branch may generate after `prompt` tokens, `reserve` kept free after it.

        Raises:
            PromptTooLong: None.
        """
        room = min(self.settings.sampling.max_tokens, self.engine.context - prompt - reserve)
        if room < 1:
            raise PromptTooLong(prompt, self.engine.context)
        return room

    async def sample(self, width: int) -> list[Branch]:
        """Sample branches of the question, up to `width` over all rounds, until the round is over.

        The round is over when the policy is certain, when it wants a new round, when the width is
        reached, or when the budget is spent.
        """
        prompt = await self.prompt()
        most = self.room(len(prompt))
        cap = min(width, self.settings.budget.branches or width)

        def launch(index: int) -> Work:
            return lambda grant: self._sample_one(index, prompt, grant.tokens)

        return await self.run(launch, tokens=most, cap=cap)

    async def run(self, launch: Callable[[int], Work], *, tokens: int, cap: int) -> list[Branch]:
        """Keep a window of branches in flight until the round is over.

        Args:
            launch: Index of a branch -> what it does with the tokens it is granted. Called in
                order of the index, which is what lets LangGraph find finished branches again.
            tokens: What to ask of the ledger for one branch.
            cap: Most branches, over all rounds.
        """
        done: list[Branch] = []
        jobs: dict[asyncio.Future[Branch], tuple[int, Grant]] = {}
        arrived: asyncio.Queue[asyncio.Future[Branch]] = asyncio.Queue()
        index = len(self.tally.branches)
        self.decision = self._ask(cap)
        try:
            while True:
                while self._may_launch(index, cap, len(jobs)):
                    grant = self.ledger.reserve(tokens, self._least(tokens, bool(jobs)))
                    if grant is None:
                        break
                    self._work[index] = _bind(launch(index), grant)
                    job = _branch(self.key, index)
                    job.add_done_callback(arrived.put_nowait)
                    jobs[job] = (index, grant)
                    index += 1
                if not jobs:
                    if self._may_launch(index, cap, 0) and self._may_get(tokens):
                        # Other programs hold what is left of the run's budget; they will return some.
                        await self._wait_a_little()
                        continue
                    break
                if (finished := await self._next(arrived)) is None:
                    await self.stop(StopReason.DEADLINE)
                    continue
                _, grant = jobs.pop(finished)
                branch = finished.result()
                self.ledger.settle(grant, Usage.from_json(branch["usage"]))
                done.append(branch)
                await self._observe(branch, cap)
        finally:
            # Bites only if the caller cancelled, or a branch failed.
            for job in jobs:
                job.cancel()
        if self.stop_reason is None and not self._opens_round(index, cap):
            self.stop_reason = self._why_over(index, cap)
        return done

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
        self._work[index] = lambda: work(index, grant)
        arrived: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()
        job = _branch(self.key, index)
        job.add_done_callback(arrived.put_nowait)
        try:
            while await self._next(arrived) is None:
                await self.stop(StopReason.DEADLINE)
            found = job.result()
        finally:
            job.cancel()
        branch: Branch = found["branch"]
        self.ledger.settle(grant, Usage.from_json(branch["usage"]))
        self._emit_branch(branch)
        return cast("R", found)

    async def say(self, prompt: tuple[int, ...], tokens: int) -> str:
        """Generate a last text, such as the answer that a stopped chain is made to give.

        Gives "" if the budget leaves nothing.
        """
        if (grant := self.ledger.reserve(tokens)) is None:
            return ""
        whole = await self.complete(self.request(prompt, grant.tokens, -1))
        used = prompt_usage(prompt, whole) + Usage(main=whole.tokens)
        self.ledger.settle(grant, used)
        self.emit("answer", text=whole.text, tokens=whole.tokens, usage=used.lines())
        return whole.text

    def update(self, done: list[Branch], **more: Any) -> JSON:
        """What the node returns: the state after this round."""
        rounds = self.rounds + 1
        limit = self.settings.budget.rounds
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
            "certaindex": self.certaindex,
            "decision": self.decision.to_json() if self.decision else None,
            "verdict": verdict,
            "stop_reason": self.stop_reason and self.stop_reason.value,
            **more,
        }

    # One branch --------------------------------------------------------------------------------

    async def _sample_one(self, index: int, prompt: tuple[int, ...], tokens: int) -> Branch:
        started = self._clock()
        whole = await self.complete(self.request(prompt, tokens, index))
        finished = whole.finish_reason != "terminated"
        answer = None
        if finished:
            ended = whole.finish_reason == "stop"
            answer = extract_answer(whole.text, self.settings.extract, finished=ended)
        usage = prompt_usage(prompt, whole) + Usage(
            main=whole.tokens if finished else 0, terminated=0 if finished else whole.tokens
        )
        branch = Branch(
            index=index,
            round=self.rounds,
            answer=answer,
            text=whole.text if finished else "",
            tokens=whole.tokens,
            finish=whole.finish_reason,
            logprob=None if whole.logprob is None else whole.logprob / max(1, whole.tokens),
            seconds=self._clock() - started,
            usage=usage.lines(),
        )
        if self.settings.keep_tokens:
            branch["token_ids"] = whole.token_ids
        return branch

    def request(
        self, prompt: tuple[int, ...], tokens: int, index: int, *, chunk: int = 0
    ) -> Request:
        """A request with this program's sampling; each branch and round draws its own seed."""
        sampling = self.settings.sampling
        seed = None
        if sampling.seed is not None:
            seed = int(_digest(f"{sampling.seed}/{self.name}/{self.rounds}/{index}")[:7], 16)
        return Request(
            tokens=prompt,
            max_tokens=tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            stop=sampling.stop,
            seed=seed,
            chunk=chunk,
            logprobs=self.wants_logprobs,
            program=self.name,
        )

    @property
    def wants_logprobs(self) -> bool:
        """Whether this algorithm reads log-probabilities; they cost the engine time."""
        return getattr(self.settings, "vote", None) == "confidence"

    async def complete(self, request: Request) -> Completion:
        """Read a request to its end; if the program is stopped before it starts, at once."""
        if self._stopped:
            return Completion()
        with self.watched(request):
            return await complete(self.engine, request)

    def watched(self, request: Request) -> _Watched:
        """While inside, `stop` ends this request too."""
        return _Watched(self._requests, request)

    async def work(self, index: int) -> Any:
        """Do what was laid out for this branch."""
        try:
            return await self._work.pop(index)()
        except ExceptionGroup as group:  # probes run in a task group; callers want the one reason
            raise _first(group) from group

    # Deciding ----------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether the program's requests have been told to end."""
        return self._stopped

    @property
    def seconds(self) -> float:
        """Seconds this program has run, over all rounds."""
        return self._seconds_before + self._clock() - self._started

    async def stop(self, reason: StopReason) -> None:
        """Latch the end: no new request starts, and every running one returns what it has."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self._stopped = True
        async with asyncio.TaskGroup() as group:
            for request in list(self._requests):
                group.create_task(self.engine.abort(request))

    async def judge(self, progress: Progress, certaindex: float) -> None:
        """Ask the policy, record what it said, and stop if it is certain."""
        self.certaindex = certaindex
        if self._stopped:
            return
        self.decision = self._rule.decide(progress)
        self.emit("decision", **self.decision.to_json(), knob=progress.knob, tokens=progress.tokens)
        if self.decision.verdict == "terminate":
            await self.stop(StopReason.CERTAIN)

    def emit(self, event: str, **fields: Any) -> None:
        """Send an event to the graph's "custom" stream, where traces are made of it."""
        row = {"event": event, "program": self.name, "round": self.rounds}
        self._emit(row | fields | {"certaindex": round(self.certaindex, 6)})

    async def _observe(self, branch: Branch, cap: int) -> None:
        await self.tally.add(branch)
        votes, empty = self.tally.votes, self.tally.empty
        if branch["finish"] != "terminated":
            self.certaindex = entropy_certaindex(votes, empty)
        self._emit_branch(branch, votes=votes, empty=empty)
        if branch["finish"] != "terminated":
            await self.judge(self._progress(cap), self.certaindex)

    def _emit_branch(self, branch: Branch, **more: Any) -> None:
        left_out = {"text", "round"}
        row = {key: value for key, value in branch.items() if key not in left_out}
        self.emit("branch", **row, **more)

    def _progress(self, cap: int) -> Progress:
        return Progress(
            knob=self.tally.finished,
            cap=cap,
            votes=self.tally.votes,
            empty=self.tally.empty,
            tokens=self.ledger.usage.generated,
            mean_tokens=self.tally.mean_tokens,
        )

    def _ask(self, cap: int) -> Decision:
        """What the policy says of the state that the round starts from."""
        decision = self._rule.decide(self._progress(cap))
        if (
            decision.verdict == "branch"
        ):  # it said so at the end of the last round; this is the next
            return Decision(verdict="continue", width=decision.width, rule=decision.rule)
        return decision

    def _may_launch(self, index: int, cap: int, in_flight: int) -> bool:
        decision = self.decision
        return (
            self.stop_reason is None
            and decision is not None
            and decision.verdict == "continue"
            and index < min(cap, decision.width)
            and in_flight < self.settings.budget.concurrency
        )

    def _least(self, tokens: int, busy: bool) -> int:
        """Fewest tokens worth starting a branch with.

        While others run, wait for what they give back; a branch that is cut has no answer.
        """
        if busy:
            return tokens
        return min(tokens, max(1, round(self.tally.mean_tokens)))

    def _may_get(self, tokens: int) -> bool:
        """Whether other programs hold tokens of the run that would make a branch possible here."""
        limit = self.ledger.limit
        own = tokens if limit is None else limit - self.ledger.usage.generated
        return own >= self._least(tokens, busy=False) and self.ledger.promised_elsewhere

    async def _wait_a_little(self) -> None:
        limit = self.settings.budget.seconds
        if limit is not None and self.seconds >= limit:
            await self.stop(StopReason.DEADLINE)
        else:
            await asyncio.sleep(0.01)

    def _opens_round(self, index: int, cap: int) -> bool:
        if self.decision is None or self.decision.verdict != "branch" or index >= cap:
            return False
        return self.ledger.remaining is None or self.ledger.remaining > 0

    def _why_over(self, index: int, cap: int) -> StopReason:
        decision = self.decision
        reached = index >= cap or (decision is not None and index >= decision.width)
        return StopReason.FINISHED if reached else StopReason.TOKENS

    async def _next(self, arrived: asyncio.Queue[asyncio.Future[Branch]]) -> Any:
        """The next branch that ends, or None if the deadline comes first."""
        limit = self.settings.budget.seconds
        if limit is None or self._stopped:
            return await arrived.get()
        try:
            async with asyncio.timeout(max(0.0, limit - self.seconds)):
                return await arrived.get()
        except TimeoutError:
            return None


class _Watched:
    """Keeps a request in a set for as long as it runs."""

    def __init__(self, requests: set[Request], request: Request) -> None:
        self._requests, self._request = requests, request

    def __enter__(self) -> None:
        self._requests.add(self._request)

    def __exit__(self, *exc: object) -> None:
        self._requests.discard(self._request)


def prompt_usage(prompt: Sized, whole: Completion) -> Usage:
    """What a branch's prompt cost; nothing if it was stopped before it ran."""
    if not whole.tokens:
        return Usage()
    return Usage(prompt=len(prompt) - whole.cached, prompt_cached=whole.cached)


def _without_tokens(branch: Branch) -> Branch:
    """As the state keeps it: token ids go to the trace alone."""
    return cast("Branch", {key: value for key, value in branch.items() if key != "token_ids"})


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group that is none itself."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _bind(work: Work, grant: Grant) -> Callable[[], Awaitable[Branch]]:
    return lambda: work(grant)


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
    tally = await Tally.of(state.get("branches", ()))
    opened = Program(state, settings, engine, tally, runtime.stream_writer)  # type: ignore[arg-type]
    _live[opened.key] = opened
    try:
        yield opened
    finally:
        opened.ledger.close()
        del _live[opened.key]
