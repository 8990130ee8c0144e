"""What the tests of running programs share: scripted models, waiting, and the check of the books."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.algorithms.cot import PROBE
from dynasor_graph.budget import Usage
from dynasor_graph.engine import Engine, FakeEngine, forget, register
from dynasor_graph.types import JSON, Delta, Request

CONCLUDE = "\n</think>\n"
THINKING = "assistant: <think>\n"
PROMPT = f"user: q\n{THINKING}"
"""Of the question "q"."""

_serial = itertools.count()


def reply(answer: str | None, tokens: int = 24) -> str:
    r"""A text of `tokens` tokens, end of text included, that says `\boxed{answer}` or nothing."""
    said = "" if answer is None else f"\\boxed{{{answer}}}"
    return said.rjust(tokens - 1, ".")


def replies(answers: Sequence[str | None], tokens: int = 24) -> list[str]:
    """One reply for each answer, all of one length: branches that start together end together."""
    return [reply(answer, tokens) for answer in answers]


class Watched(FakeEngine):
    """A fake that also knows how many requests were in flight at one time, at most."""

    now = peak = 0

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            async with aclosing(super().stream(request)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self.now -= 1


class Thinker:
    """A reasoning model by script: it continues its chain from whatever token it is given.

    Args:
        chain: All that it thinks (and then says, if it closes its thought).
        probed: Tokens of thought -> its response to a probe there.
        last: What it says once its thought was closed for it.
    """

    def __init__(
        self,
        chain: str,
        probed: Callable[[int], str] = lambda at: "5}",
        last: str = "\\boxed{5}",
    ) -> None:
        self.chain, self.probed, self.last = chain, probed, last

    def __call__(self, prompt: str, request: Request) -> str:
        _, _, said = prompt.partition(THINKING)
        if said.endswith(PROBE):
            return self.probed(len(self._exactly(said.removesuffix(PROBE))))
        if said.endswith(CONCLUDE):
            self._exactly(said.removesuffix(CONCLUDE))
            return self.last
        return self.chain[len(self._exactly(said)) :]

    def _exactly(self, said: str) -> str:
        assert self.chain.startswith(said), "the prompt does not continue the chain as it was"
        return said


def is_probe(request: Request) -> bool:
    """Whether this request forces an answer on the way."""
    return bytes(t for t in request.tokens if t < 256).endswith(PROBE.encode())


def probes_of(engine: FakeEngine) -> list[Request]:
    """The probes that an engine was asked, in order."""
    return [request for request in engine.requests if is_probe(request)]


def thought_in(request: Request) -> str:
    """The thought that a probe stands after."""
    text = bytes(request.tokens).decode()
    return text.removeprefix(PROMPT).removesuffix(PROBE)


def is_last_word(request: Request) -> bool:
    """Whether this request asks a thought that was closed for its answer."""
    return bytes(t for t in request.tokens if t < 256).endswith(CONCLUDE.encode())


@contextmanager
def registered(engine: Engine) -> Iterator[str]:
    """A name for the engine, for as long as it is needed."""
    name = f"stage#{next(_serial)}"
    register(name, engine)
    try:
        yield name
    finally:
        forget(name)


async def until(is_so: Callable[[], bool]) -> None:
    """Let the others work until it is so."""
    for _ in range(100_000):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never became so")


async def run(
    algorithm: str, engine: Engine, *, config: Any = None, question: Any = "q", **settings: Any
) -> tuple[JSON, list[JSON]]:
    """Run one program to its end: the graph's last state, and its events."""
    found = find_algorithm(algorithm)
    state: JSON = {}
    events: list[JSON] = []
    with registered(engine) as name:
        parts: Any = found.compile().astream(
            {"question": question},
            config,
            context=found.settings(engine=name, **settings),
            stream_mode=["custom", "values"],
        )
        async for mode, part in parts:
            if mode == "custom":
                events.append(part)
            else:
                state = part
    await books_balance(engine, state)
    return state, events


async def books_balance(engine: Engine, state: JSON) -> None:
    """Nothing runs any more, and the ledger says what the engine counted, to the token."""
    load = await engine.load()
    usage = Usage.from_json(state["usage"])
    assert (load.running, load.waiting) == (0, 0)
    assert usage.generated == load.generated
    # A request that was stopped before its first token computed its prompt in vain.
    assert usage.prompt + usage.probe_prefill <= load.prompt_computed
