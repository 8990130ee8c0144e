"""Expected: how much of a program's knob is still to come, for who orders the programs.

Shortest job first needs a guess (paper, appendix D.3.1: "remaining knob"; how Certaindex shrinks it is
not given). Ours: the fewest further branches that would make the policy stop, were each of them to give
the leading answer, over the leader's share: a leader with half of the votes gets half of the next ones.
"""

from __future__ import annotations

from functools import lru_cache

from dynasor_graph.policies import Decision, Progress, Rule

__all__ = ["expected_remaining"]


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
    if not most or not progress.votes or not rule.reads() <= {"votes"}:
        return float(most)
    fewest = _fewest(rule, progress.votes, progress.empty, progress.cap, most)
    share = progress.votes[0] / (sum(progress.votes) + progress.empty)
    return min(float(most), fewest / share)


@lru_cache(maxsize=65_536)
def _fewest(rule: Rule, votes: tuple[int, ...], empty: int, cap: int, most: int) -> int:
    """Branches for the leader until the policy stops; `most` if it does not.

    Doubling and halving: a policy that stops for a lead also stops for a larger one.
    """

    def stops(more: int) -> bool:
        new = (votes[0] + more, *votes[1:])
        knob = sum(new) + empty
        return (
            rule.decide(Progress(knob=knob, cap=cap, votes=new, empty=empty)).verdict == "terminate"
        )

    high = 1
    while high < most and not stops(high):
        high *= 2
    low, high = high // 2, min(high, most)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if stops(middle) else (middle, high)
    return high
