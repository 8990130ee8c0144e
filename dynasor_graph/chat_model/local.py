"""Local: programs of the chat model in this process, on an engine by name."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from dynasor_graph.chat_model.asked import Asked, Ended
from dynasor_graph.engine import Engine, engine_named
from dynasor_graph.naming import named
from dynasor_graph.questions import Question
from dynasor_graph.reply import CLOSED, LiveReply, Piece, Reply
from dynasor_graph.results import Result
from dynasor_graph.runner import configure, stream
from dynasor_graph.types import JSON, Message, StopReason

__all__ = ["Local"]

_FINISH = {StopReason.TOKENS: "length"}


class Local:
    """Runs programs on one engine.

    Args:
        engine: An open engine, or the name of a registered one.
    """

    def __init__(self, engine: Engine | str) -> None:
        self._engine = engine

    async def ask(self, asked: Asked) -> AsyncGenerator[Piece | Ended, None]:
        """Run the program; see `Source`."""
        with named(self._engine) as name:
            engine = await engine_named(name)
            context = configure(asked.algorithm, **_plain(asked.settings))
            live = LiveReply(
                one_chain=context.is_one_chain,
                thinking=context.thinking,
                tools=bool(context.tools),
            )
            items = stream(
                Question.of(asked.chat, name=uuid.uuid4().hex),
                algorithm=asked.algorithm,
                engine=name,
                stream_tokens=asked.every,
                seeded_by=_digest(asked.chat),
                **asked.settings,
            )
            async with aclosing(items):
                async for item in items:
                    if not isinstance(item, Result):
                        for piece in live.event(item):
                            yield piece
                        continue
                    for piece in live.end(item.text) if asked.every else _whole(item, asked):
                        yield piece
                    yield await _ended(item, asked, engine)


def _plain(settings: JSON) -> JSON:
    """Without the reward, which may be an object."""
    return {name: value for name, value in settings.items() if name != "reward"}


def _digest(chat: list[Message]) -> str:
    """Names a conversation: the same one, asked with the same seed, gets the same reply."""
    return hashlib.blake2b(json.dumps(chat, sort_keys=True).encode(), digest_size=6).hexdigest()


def _whole(result: Result, asked: Asked) -> list[Piece]:
    reply = Reply.of(result.text, tools=bool(asked.settings.get("tools")))
    texts = [Piece("reasoning", reply.reasoning), Piece("content", reply.content)]
    calls = [Piece("tool_call", "", call) for call in reply.tool_calls]
    return [piece for piece in texts if piece.text] + calls


async def _ended(result: Result, asked: Asked, engine: Engine) -> Ended:
    called = bool(Reply.of(result.text, tools=bool(asked.settings.get("tools"))).tool_calls)
    reason = result.stop_reason or StopReason.FINISHED
    return Ended(
        usage=await usage_of(result, engine),
        metadata={
            "model_name": engine.model,
            "model_provider": "dynasor_graph",
            "algorithm": asked.algorithm,
            "finish_reason": "tool_calls" if called else _FINISH.get(reason, "stop"),
            "answer": result.answer,
            "certaindex": result.certaindex,
            "stop_reason": reason.value,
            "rounds": result.rounds,
            "branches": result.branches,
            "tokens_saved": result.tokens_saved,
            "ledger": result.usage.lines(),
            "decision": result.decision,
            "latency_s": result.latency_s,
        },
    )


async def usage_of(result: Result, engine: Engine) -> JSON:
    """A result's ledger as LangChain's `UsageMetadata`.

    All prompts count, of every branch and probe, and all that was generated. What was generated and is
    not in the content (thoughts, other branches, probes) is `reasoning`.
    """
    spent = result.usage
    _, thought, said = result.text.rpartition(CLOSED)
    content = len(await engine.encode(said if thought else result.text))
    return {
        "input_tokens": spent.read,
        "output_tokens": spent.generated,
        "total_tokens": spent.read + spent.generated,
        "input_token_details": {"cache_read": spent.cached},
        "output_token_details": {"reasoning": max(0, spent.generated - content)},
    }
