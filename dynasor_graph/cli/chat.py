"""`dynasor-graph chat`: a conversation in the terminal, each answer as far as it has settled."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dynasor_graph.cli import options as o
from dynasor_graph.errors import DynasorError, EngineDied, EngineUnreachable

if TYPE_CHECKING:
    from prompt_toolkit.input import Input

    from dynasor_graph.cli.conversation import Conversation
    from dynasor_graph.engine import Engine
    from dynasor_graph.results import Result
    from dynasor_graph.reward import Reward

STREAM_TOKENS = 4
"""Tokens between two pieces of the text on the screen."""


def chat(
    model: Annotated[
        str, typer.Argument(help="A model folder, a hub name, or a bundled model.")
    ] = "abacus-7m",
    algorithm: o.ALGORITHM = "self_consistency",
    policy: o.POLICY = None,
    url: o.URL = None,
    engine: o.ENGINE = None,
    engine_arg: o.ENGINE_ARG = None,
    reward: o.REWARD = "abacus-7m-reward",
    tokens: o.TOKENS = None,
    seconds: o.SECONDS = None,
    window: o.WINDOW = None,
    branches: o.BRANCHES = None,
    temperature: o.TEMPERATURE = None,
    max_tokens: o.MAX_TOKENS = None,
    seed: o.SEED = None,
    system: o.SYSTEM = None,
    set_: o.SET = None,
    otel: o.OTEL = False,
) -> None:
    """Talk with a model, and see how its answers settle. `/help` lists what there is to type.

    While it thinks, `s` or Ctrl-C takes the best answer there is now; once more, without a last word.
    Lines that are piped in are asked one after the other.

    For example: `echo "Ada has 7 coins. Ben has 12 more. How many has Ben?" | dynasor-graph chat`
    """
    from dynasor_graph.cli.conversation import Conversation

    o.watch_if(otel)
    settings = o.settings_of(
        policy=policy,
        tokens=tokens,
        seconds=seconds,
        window=window,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        extra=set_,
        branches=branches,
        system=system,
    )
    judged = o.is_judged([algorithm])
    conversation = Conversation(algorithm, settings, judged)  # mistakes show before the model loads
    opened = o.engine_of(engine, model, url, engine_arg, judged=judged)
    judge = o.reward_of(reward, opened) if judged else None
    asyncio.run(_talk(conversation, opened, judge))


async def _talk(conversation: Conversation, engine: Engine, reward: Reward | None) -> None:
    from dynasor_graph.cli.output import aside, opened

    async with opened(engine, reward):
        typed = sys.stdin.isatty()
        if typed:
            aside.print(
                "/help lists what there is to type, Ctrl-D ends", style="dim", highlight=False
            )
        async with aclosing(_typed() if typed else _piped()) as lines:
            async for line in lines:
                await answer(conversation, line, engine, reward)
                if conversation.over:
                    return


async def _piped() -> AsyncGenerator[str, None]:
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line.strip()


async def _typed() -> AsyncGenerator[str, None]:
    """Lines from the keyboard; Ctrl-C drops one, and ends the chat where there is nothing to drop."""
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession("> ")
    while True:
        try:
            yield (await session.prompt_async()).strip()
        except KeyboardInterrupt:
            if not session.default_buffer.text:
                return
        except EOFError:
            return


async def answer(
    conversation: Conversation,
    line: str,
    engine: Engine,
    reward: Reward | None = None,
    keys: Input | None = None,
) -> None:
    """Do what one line says, and print what comes of it. A mistake costs its line and nothing else.

    Args:
        conversation: What was said before; the line is added to it once it is answered.
        line: A question, or a command.
        engine: Is open.
        reward: Is open, if the algorithm needs one.
        keys: Where keys are read while the program runs; by default standard input if it is a terminal.

    Raises:
        EngineDied: Nothing more can be asked.
        EngineUnreachable: Nothing more can be asked.
    """
    from dynasor_graph.cli.output import aside, warn

    if not line:
        return
    try:
        if line.startswith("/"):
            if said := conversation.command(line):
                aside.print(said, highlight=False, markup=False)
        else:
            await _ask(conversation, line, engine, reward, keys)
    except (EngineDied, EngineUnreachable):
        raise
    except DynasorError as error:
        warn(f"error: {error}", style="red")


async def _ask(
    conversation: Conversation,
    line: str,
    engine: Engine,
    reward: Reward | None,
    keys: Input | None,
) -> None:
    from rich.console import Console

    from dynasor_graph.cli.output import aside, warn
    from dynasor_graph.cli.screen import facts
    from dynasor_graph.reply import Reply

    result = await _run(conversation, line, engine, reward, keys)
    if result is None:
        warn("given up: nothing of it is kept")
        return
    reply = Reply.of(result.text)
    said = reply.content or (f"({result.answer})" if result.answer else "")
    if said:
        Console().print(said, highlight=False, markup=False, soft_wrap=True)
        conversation.remember(line, said)
    else:
        warn("no answer: no branch had ended")
    aside.print(facts(result), highlight=False, style="dim")


async def _run(
    conversation: Conversation,
    line: str,
    engine: Engine,
    reward: Reward | None,
    keys: Input | None,
) -> Result | None:
    """Run the program; None if it was given up."""
    from dynasor_graph.cli.output import aside
    from dynasor_graph.cli.screen import Screen
    from dynasor_graph.executor import stop_program
    from dynasor_graph.results import Result
    from dynasor_graph.runner import stream

    name = uuid.uuid4().hex
    judged = {"reward": reward} if o.is_judged([conversation.algorithm]) else {}
    items = stream(
        conversation.ask(line, name),
        algorithm=conversation.algorithm,
        engine=engine,
        stream_tokens=STREAM_TOKENS if aside.is_terminal else 0,
        **conversation.settings,
        **judged,
    )

    async def watch() -> Result:
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Result):
                    return item
                screen.event(item)
        raise AssertionError("a program ends with a result")

    with Screen(aside) as screen:
        running = asyncio.ensure_future(watch())
        told: list[asyncio.Future[bool]] = []

        def tell() -> None:
            """Once and twice: the program is to stop; then nobody waits for it any more."""
            screen.stopping()
            if len(told) >= 2:
                running.cancel()
            told.append(asyncio.ensure_future(stop_program(name)))

        try:
            with _pressed(keys, tell):
                await asyncio.wait([running])
        finally:
            running.cancel()
            await asyncio.wait([running])
    return None if running.cancelled() else running.result()


@contextmanager
def _pressed(keys: Input | None, tell: Callable[[], None]) -> Iterator[None]:
    """While inside, `s` and Ctrl-C are read as keys.

    As a signal, Ctrl-C would end the engine's own process as well.
    """
    if keys is None and not sys.stdin.isatty():
        yield
        return
    from prompt_toolkit.input import create_input
    from prompt_toolkit.keys import Keys

    source = keys or create_input()

    def read() -> None:
        for press in source.read_keys():
            if press.key in {"s", Keys.ControlC}:
                tell()

    with source.raw_mode(), source.attach(read):
        yield
