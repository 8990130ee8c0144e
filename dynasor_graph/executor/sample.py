"""Sample: one branch of a question: asked for, watched on its way, judged, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any, Final

from dynasor_graph.budget import Usage
from dynasor_graph.confidence import Groups
from dynasor_graph.executor.state import Branch
from dynasor_graph.reward import Partial, Reward, score
from dynasor_graph.types import Completion, Delta

if TYPE_CHECKING:
    from dynasor_graph.executor.program import Program

__all__ = ["CANDIDATES", "prompt_usage", "sample_branch"]

CANDIDATES: Final = 20
"""Likeliest candidates that a token's confidence is the mean of (DeepConf's k)."""
_CHUNK: Final = 16
"""Tokens between two looks at a branch that may lose its confidence."""


async def sample_branch(
    p: Program[Any], index: int, prompt: tuple[int, ...], tokens: int, reward: Reward | None
) -> Branch:
    """Sample one branch to its end, unless the program ends first, or it falls below the policy's bar.

    Args:
        p: The open round.
        index: Number of the branch.
        prompt: Token ids of the question.
        tokens: Most tokens to generate.
        reward: Judges it once it has finished.
    """
    started = p.clock()
    groups = Groups(p.settings.group_window) if p.wants_groups else None
    show = p.showing.seen(index) if p.showing.begin(index) else None
    chunks = [_CHUNK] * bool(groups) + [p.showing.every] * bool(show)
    request = p.request(prompt, tokens, index, chunk=min(chunks, default=0))
    watch = _watch(p, groups, show) if chunks else None
    try:
        whole = await p.in_flight.complete(request, watch)
    finally:
        p.showing.end(index)
    finished = whole.finish_reason != "terminated"
    answer = None
    if finished:
        ended = whole.finish_reason == "stop"
        answer = p.settings.answer_in(whole.text, finished=ended)
    usage = prompt_usage(prompt, whole) + Usage(
        main=whole.tokens if finished else 0, terminated=0 if finished else whole.tokens
    )
    branch = Branch(
        index=index,
        round=p.rounds,
        answer=answer,
        text=whole.text if finished else "",
        tokens=whole.tokens,
        finish=whole.finish_reason,
        # Rounded, so that equal means stay equal: a vote by confidence may hang on a tie.
        logprob=None if whole.logprob is None else round(whole.logprob / max(1, whole.tokens), 9),
        seconds=p.clock() - started,
        queued=round(whole.queued, 6),
        usage=usage.lines(),
    )
    if groups and (sure := groups.confidence()):
        branch["confidence"] = sure.to_json()
    if p.settings.keep_tokens:
        branch["token_ids"] = whole.token_ids
    if reward is not None and finished:
        partial = Partial(
            question=p.question,
            prompt=prompt,
            tokens=tuple(whole.token_ids),
            text=whole.text,
            ended=True,
        )
        (judged,) = await score(reward, [partial])
        branch["reward"] = round(judged.value, 6)
        branch["usage"] = (usage + Usage(reward=judged.computed)).lines()
    return branch


def _watch(
    p: Program[Any], groups: Groups | None, show: Callable[[Delta], None] | None
) -> Callable[[Delta], bool]:
    """Takes in a branch's tokens; whether it has lost so much confidence that it is to end."""

    def lost(delta: Delta) -> bool:
        if show is not None:
            show(delta)
        if groups is None:
            return False
        groups.add(delta.confidences)
        return p.bar is not None and groups.lowest < p.bar

    return lost


def prompt_usage(prompt: Sized, whole: Completion) -> Usage:
    """What a branch's prompt cost; nothing if it was stopped before it ran."""
    if not whole.tokens:
        return Usage()
    return Usage(prompt=len(prompt) - whole.cached, prompt_cached=whole.cached)
