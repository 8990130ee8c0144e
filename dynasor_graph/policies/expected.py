"""Expected: how much of a program's knob is still to come, and a rule that launches no more than that.

Shortest job first needs a guess (paper, appendix D.3.1: "remaining knob"; how Certaindex shrinks it is
not given). Ours: the fewest further branches that would make the policy stop, were each of them to give
the leading answer (as sure, as long and as well rewarded as its branches are in the mean), over the
leader's share: a leader with half of the votes gets half of the next ones.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, Literal

from pydantic import Field, SerializeAsAny

from dynasor_graph.policies.base import Decision, Progress, Rule
from dynasor_graph.policies.value import leader_of

__all__ = ["AsNeeded", "expected_remaining"]

_KNOWN: Final = frozenset({"votes", "order", "lengths", "logprobs", "rewards"})
"""What a branch that is still to come can be imagined to bring."""
_UNSEEN: Final = 4
"""Branches that are expected where none is there to be like: the equal ones with which `beta` begins."""


class AsNeeded(Rule):
    """Another policy, with no more branches in flight than it is expected to need still.

    A window that opens and closes: few branches at first and near the end, where more would be in vain;
    many where the votes are split, where waiting for a few at a time only takes longer. Give it a wide
    `budget.concurrency`.
    """

    rule: Literal["as-needed"] = "as-needed"
    policy: SerializeAsAny[Rule] = Field(description="what decides when to stop")
    ahead: float = Field(1.0, ge=0, description="branches in flight for each that is expected")
    least: int = Field(1, ge=1, description="branches in flight however few are expected")

    def reads(self) -> frozenset[str]:
        """What the other policy looks at."""
        return self.policy.reads()

    def bar(self, progress: Progress, /) -> float | None:
        """The other policy's."""
        return self.policy.bar(progress)

    def branch_tokens(self, progress: Progress, /) -> int | None:
        """The other policy's."""
        return self.policy.branch_tokens(progress)

    def decide(self, progress: Progress, /) -> Decision:
        """As the other policy decides, and no wider than its end is expected."""
        decision = self.policy.decide(progress)
        if decision.verdict == "terminate":
            return decision
        expected = expected_remaining(self.policy, progress, decision)
        more = max(self.least, math.ceil(self.ahead * expected))
        return replace(decision, width=min(decision.width, progress.knob + more))


def expected_remaining(rule: Rule, progress: Progress, decision: Decision) -> float:
    """Steps of the knob that are still expected, from 0 to what the policy grants.

    Args:
        rule: The policy.
        progress: How far the program has come.
        decision: What the policy said of it. A round that it wants anew counts up to its width.
    """
    if decision.verdict == "terminate":
        return 0.0
    most = max(0, min(decision.width, progress.cap) - progress.knob)
    if not most or not rule.reads() <= _KNOWN:
        return float(most)
    votes = progress.votes or (0,)
    if rule.reads() <= {"votes"}:
        fewest = _by_votes(rule, votes, progress.empty, progress.cap, most)
    elif len(progress.order) < sum(votes):
        return float(most)  # nobody knows which branches are the leader's
    elif not votes[0]:
        fewest = min(most, _UNSEEN)
    else:
        fewest = _fewest(lambda more: _stops(rule, _agreeing(progress, more)), most)
    cast = sum(votes) + progress.empty
    return min(float(most), fewest * cast / votes[0] if votes[0] else float(fewest))


@lru_cache(maxsize=65_536)
def _by_votes(rule: Rule, votes: tuple[int, ...], empty: int, cap: int, most: int) -> int:
    def stops(more: int) -> bool:
        new = (votes[0] + more, *votes[1:])
        return _stops(rule, Progress(knob=sum(new) + empty, cap=cap, votes=new, empty=empty))

    return _fewest(stops, most)


def _stops(rule: Rule, progress: Progress) -> bool:
    return rule.decide(progress).verdict == "terminate"


def _agreeing(progress: Progress, more: int) -> Progress:
    """As after so many more branches that are like those of the leader in the mean."""
    leader = leader_of(progress, "majority").answer
    mine = [i for i, number in enumerate(progress.order) if number == leader]

    def longer(column: tuple[Any, ...]) -> tuple[Any, ...]:
        known = [column[i] for i in mine if i < len(column) and column[i] is not None]
        return (*column, *([statistics.fmean(known) if known else None] * more))

    return replace(
        progress,
        knob=progress.knob + more,
        votes=(progress.votes[0] + more, *progress.votes[1:]),
        order=(*progress.order, *([leader] * more)),
        lengths=longer(progress.lengths) if progress.lengths else (),
        logprobs=longer(progress.logprobs) if progress.logprobs else (),
        rewards=longer(progress.rewards) if progress.rewards else (),
        tokens=progress.tokens + round(more * progress.mean_tokens),
    )


def _fewest(stops: Callable[[int], bool], most: int) -> int:
    """Branches for the leader until the policy stops; `most` if it does not.

    Doubling and halving: a policy that stops for a lead also stops for a larger one.
    """
    high = 1
    while high < most and not stops(high):
        high *= 2
    low, high = high // 2, min(high, most)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if stops(middle) else (middle, high)
    return high
