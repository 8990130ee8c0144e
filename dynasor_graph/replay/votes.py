"""Votes: one program of many branches, replayed without an engine: thousands a second.

The same as `ReplayEngine` under the live executor (a test holds them equal), for policies over
finished branches: a window of branches in flight, each as long as its sample, the policy asked
whenever one ends, what is still running stopped when it is certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal, NamedTuple

from dynasor_graph.confidence import GROUP_VOTES, Confidence, GroupVote, cut_at, group_weights
from dynasor_graph.errors import InputError
from dynasor_graph.policies import Decision, Progress, Rule
from dynasor_graph.recordings import Recorded

__all__ = ["Ballot", "Decider", "Outcome", "Seen", "Vote", "replay_votes"]

Vote = Literal["majority", "confidence", "best", GroupVote]
"""Who wins: the most votes, votes weighted by exp(mean log-probability), the highest reward, or votes
weighted by the confidence of groups of tokens."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The samples of one question, as columns.

    Attributes:
        classes: The answer of each sample; equal answers share a number, -1 for none.
        tokens: Tokens of each, >= 0.
        right: Whether each class is right; None without gold.
        logprobs: Mean log-probability of each sample.
        rewards: Reward of each; empty unless all were recorded.
        confidences: Confidence of each; likewise.
    """

    classes: tuple[int, ...]
    tokens: tuple[int, ...]
    right: tuple[bool, ...] | None = None
    logprobs: tuple[float | None, ...] = ()
    rewards: tuple[float, ...] = ()
    confidences: tuple[Confidence, ...] = ()

    @classmethod
    def of(cls, recorded: Recorded) -> Ballot:
        """The columns of a recorded question.

        Raises:
            InputError: A sample has no tokens: then nothing can be saved.
        """
        numbers: dict[str, int] = {}
        right: list[bool] = []
        classes, tokens = [], []
        for sample in recorded.samples:
            if sample.tokens is None:
                raise InputError(
                    f"{recorded.id}: a sample has no tokens; replay counts them: "
                    "record again, or leave the question out"
                )
            tokens.append(sample.tokens)
            if sample.answer is None:
                classes.append(-1)
                continue
            number = numbers.setdefault(sample.answer, len(numbers))
            classes.append(number)
            if number == len(right):
                right.append(bool(sample.correct))
        rewards = [sample.reward for sample in recorded.samples if sample.reward is not None]
        sure = [one.confidence for one in recorded.samples if one.confidence is not None]
        known = all(sample.correct is not None for sample in recorded.samples)
        return cls(
            classes=tuple(classes),
            tokens=tuple(tokens),
            right=tuple(right) if known else None,
            logprobs=tuple(sample.logprob for sample in recorded.samples),
            rewards=tuple(rewards) if len(rewards) == len(tokens) else (),
            confidences=tuple(sure) if len(sure) == len(tokens) else (),
        )


class Outcome(NamedTuple):
    """What one program came to.

    Attributes:
        answer: Class of its answer; -1 if no branch gave one.
        tokens: Tokens generated, those of stopped branches included.
        wasted: Of these, tokens of branches that were stopped.
        finished: Branches that ended by themselves.
        latency: Time to the answer, in tokens of one stream (no slow-down by load).
        certain: Whether the policy ended it.
    """

    answer: int
    tokens: int
    wasted: int
    finished: int
    latency: int
    certain: bool


class Decider:
    """A policy with a memory of its verdicts, for those that look at nothing but votes.

    Args:
        policy: The policy.
        cap: Most branches of a program.
    """

    def __init__(self, policy: Rule, cap: int) -> None:
        self.policy, self.cap = policy, cap
        self._reads = policy.reads()
        self._limits = type(policy).branch_tokens is not Rule.branch_tokens
        self._by_votes: dict[tuple[int, tuple[int, ...]], Decision] | None = (
            {} if self._reads <= {"votes"} else None
        )

    def decide(self, seen: Seen) -> Decision:
        """The verdict on what has finished so far."""
        votes = tuple(sorted(seen.counts.values(), reverse=True))
        if self._by_votes is None:
            return self.policy.decide(self.progress(seen, votes))
        key = (seen.empty, votes)
        found = self._by_votes.get(key)
        if found is None:
            found = self._by_votes[key] = self.policy.decide(self.progress(seen, votes))
        return found

    def bar(self, seen: Seen) -> float | None:
        """The least group confidence that a running branch must keep; None for none."""
        reads = "groups" in self._reads
        return self.policy.bar(self.progress(seen)) if reads else None

    def limit(self, seen: Seen) -> int | None:
        """Tokens after which the next branch is not worth finishing; None for no limit."""
        return self.policy.branch_tokens(self.progress(seen)) if self._limits else None

    def progress(self, seen: Seen, votes: tuple[int, ...] | None = None) -> Progress:
        """What a policy is told of it."""
        if votes is None:
            votes = tuple(sorted(seen.counts.values(), reverse=True))
        n, ballot = len(seen.order), seen.ballot
        return Progress(
            knob=n,
            cap=self.cap,
            votes=votes,
            empty=seen.empty,
            order=tuple(None if number < 0 else number for number in seen.classes),
            lengths=tuple(seen.lengths),
            logprobs=tuple(ballot.logprobs[i] for i in seen.order) if ballot.logprobs else (),
            rewards=tuple(ballot.rewards[i] for i in seen.order) if ballot.rewards else (),
            groups=tuple(sure[i].least for i in seen.order) if (sure := ballot.confidences) else (),
            tokens=seen.tokens,
            mean_tokens=seen.tokens / n if n else 0.0,
        )


class Seen:
    """The branches of one program that have finished: as `Tally`, over samples."""

    __slots__ = ("ballot", "classes", "counts", "empty", "lengths", "order", "tokens")

    def __init__(self, ballot: Ballot) -> None:
        self.ballot = ballot
        self.counts: dict[int, int] = {}  # in the order in which classes were first seen
        self.empty = self.tokens = 0
        self.order: list[int] = []  # samples
        self.classes: list[int] = []  # of their answers
        self.lengths: list[int] = []

    def add(self, sample: int, cut: int | None = None) -> None:
        """A branch has ended; after `cut` tokens and without an answer, if that is given."""
        number = self.ballot.classes[sample] if cut is None else -1
        tokens = self.ballot.tokens[sample] if cut is None else cut
        self.order.append(sample)
        self.classes.append(number)
        self.lengths.append(tokens)
        self.tokens += tokens
        if number < 0:
            self.empty += 1
        else:
            self.counts[number] = self.counts.get(number, 0) + 1


def replay_votes(
    ballot: Ballot,
    order: Sequence[int],
    decider: Decider,
    *,
    window: int = 1,
    vote: Vote = "majority",
) -> Outcome:
    """Replay one program.

    Args:
        ballot: The question's samples.
        order: Which sample each branch is, in the order of launch; at least `decider.cap`.
        decider: The policy and the cap.
        window: Branches in flight, >= 1.
        vote: How the answer is chosen of the finished branches.
    """
    seen = Seen(ballot)
    most = decider.cap
    running: list[_Running] = []
    decision, bar, limit = decider.decide(seen), decider.bar(seen), decider.limit(seen)
    now = launched = wasted = 0
    certain = decision.verdict == "terminate"
    while not certain:
        while (
            len(running) < window
            and decision.verdict == "continue"
            and launched < min(most, decision.width)
        ):
            length, fate = _length(ballot, order[launched], bar, limit)
            heappush(running, _Running(now + length, launched, now, fate))
            launched += 1
        if not running:
            if decision.verdict == "branch" and launched < most:
                decision = _opened(decider.decide(seen))  # the round that it asked for
                continue
            break
        now, number, began, fate = heappop(running)
        if fate == "falls":
            wasted += now - began
            continue
        seen.add(order[number], now - began if fate == "late" else None)
        decision, bar, limit = decider.decide(seen), decider.bar(seen), decider.limit(seen)
        certain = decision.verdict == "terminate"
    while running and running[0].end == now and running[0].fate != "falls":
        _, number, began, fate = heappop(running)  # ended in the same moment: it votes
        seen.add(order[number], now - began if fate == "late" else None)
    wasted += sum(min(one.end, now) - one.began for one in running)
    answer = _winner(seen, vote, bar)
    return Outcome(answer, seen.tokens + wasted, wasted, len(seen.order), now, certain)


class _Running(NamedTuple):
    end: int
    number: int
    began: int
    fate: Fate


Fate = Literal["ends", "falls", "late"]
"""A branch comes to its end, falls below the policy's bar, or is not worth its further tokens."""


def _length(ballot: Ballot, sample: int, bar: float | None, limit: int | None) -> tuple[int, Fate]:
    """Tokens that a branch makes, and why no more."""
    tokens = ballot.tokens[sample]
    most = tokens if limit is None else min(tokens, limit)
    cut = cut_at(ballot.confidences[sample].falls, bar) if bar is not None else None
    if cut is not None and cut < most:
        return cut, "falls"
    return most, "late" if most < tokens else "ends"


def _opened(decision: Decision) -> Decision:
    if decision.verdict != "branch":
        return decision
    return Decision(verdict="continue", width=decision.width, rule=decision.rule)


def _winner(seen: Seen, vote: Vote, bar: float | None) -> int:
    if not seen.counts:
        return -1
    if vote == "majority" and bar is None:
        return max(seen.counts, key=seen.counts.__getitem__)  # of equals the first
    ballot = seen.ballot
    voters = [i for i, number in zip(seen.order, seen.classes, strict=True) if number >= 0]
    if vote == "best":
        return ballot.classes[max(voters, key=lambda i: ballot.rewards[i])]
    if vote in GROUP_VOTES:
        each = group_weights(vote, [ballot.confidences[i] for i in voters])
    elif vote == "confidence":
        each = [math.exp(ballot.logprobs[i] or 0.0) for i in voters]
    else:
        each = [1.0] * len(voters)
    weights: dict[int, float] = {}
    for i, weight in zip(voters, each, strict=True):
        counts = bar is None or ballot.confidences[i].least >= bar
        number = ballot.classes[i]
        weights[number] = weights.get(number, 0.0) + weight * counts
    return max(weights, key=weights.__getitem__)
