"""Tally: the votes of a program's finished branches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from dynasor_graph.answers import Equivalence, Grouping
from dynasor_graph.confidence import GROUP_VOTES, Confidence, group_weights
from dynasor_graph.executor.state import Branch
from dynasor_graph.policies import Progress
from dynasor_graph.types import JSON

__all__ = ["Tally", "elect", "outcome"]


class Tally:
    """Who voted for what. A branch without an answer never votes; one that was stopped neither.

    What is no answer of the kind counts as none. Where the order of arrival may tell, a branch keeps the
    class it was given (`group`): whoever counts it again, after a crash or in another node, finds it.

    Args:
        kind: What makes two answers the same; mathematics by default.

    Attributes:
        grouping: The classes of the answers.
        branches: All that were counted, in their order.
        voters: Those of them that finished with an answer.
        empty: How many finished without.
    """

    def __init__(self, kind: Equivalence | None = None) -> None:
        self.branches: list[Branch] = []
        self.empty = 0
        self.grouping = Grouping(kind)
        self._classes: list[int] = []  # of the branches that have an answer
        self.voters: list[Branch] = []
        self._counts: dict[int, int] = {}  # votes of each class as it was numbered when they came
        self._order: list[int | None] = []  # classes of all finished branches
        self._finished: list[Branch] = []
        self._tokens = 0  # of finished branches

    @classmethod
    async def of(cls, branches: Iterable[Branch], kind: Equivalence | None = None) -> Self:
        """Count branches in this order."""
        tally = cls(kind)
        for branch in branches:
            await tally.add(branch)
        return tally

    async def add(self, branch: Branch) -> None:
        """Count one more branch."""
        self.branches.append(branch)
        if branch["finish"] == "terminated":
            return
        self._finished.append(branch)
        self._tokens += branch["tokens"]
        answer, number = branch["answer"], branch.get("group")
        if answer is not None:
            number = await self.grouping.add(answer, number)
        if number is None:
            self.empty += 1
            self._order.append(None)
            return
        if not self.grouping.kind.order_free:
            branch["group"] = number
        self._classes.append(number)
        self._order.append(number)
        self.voters.append(branch)
        self._counts[number] = self._counts.get(number, 0) + 1

    @property
    def finished(self) -> int:
        """Branches that came to an end of their own."""
        return len(self._finished)

    @property
    def mean_tokens(self) -> float:
        """Mean tokens of a finished branch; 0 before the first."""
        return self._tokens / self.finished if self.finished else 0.0

    @property
    def order(self) -> tuple[int | None, ...]:
        """The class of each finished branch's answer, in order; None where there is none."""
        root = self.grouping.root
        return tuple(None if number is None else root(number) for number in self._order)

    @property
    def rewards(self) -> tuple[float, ...]:
        """Rewards of the finished branches that a reward judged, in order."""
        return tuple(branch["reward"] for branch in self._finished if "reward" in branch)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of the finished branches, in order."""
        return tuple(branch["tokens"] for branch in self._finished)

    @property
    def logprobs(self) -> tuple[float | None, ...]:
        """Mean log-probability of each finished branch, in order; None where it is not known."""
        return tuple(branch["logprob"] for branch in self._finished)

    @property
    def groups(self) -> tuple[float | None, ...]:
        """Least group confidence of each finished branch, in order; None where it is not known."""
        found = (branch.get("confidence") for branch in self._finished)
        return tuple(None if one is None else one["least"] for one in found)

    def progress(self, cap: int, tokens: int = 0) -> Progress:
        """What a policy may know of these branches.

        Args:
            cap: Most branches.
            tokens: Tokens generated so far, of every kind.
        """
        return Progress(
            knob=self.finished,
            cap=cap,
            votes=self.votes,
            empty=self.empty,
            order=self.order,
            lengths=self.lengths,
            logprobs=self.logprobs,
            tokens=tokens,
            mean_tokens=self.mean_tokens,
            rewards=self.rewards,
            groups=self.groups,
        )

    @property
    def votes(self) -> tuple[int, ...]:
        """Votes of each distinct answer, most first; of equals the earlier seen first."""
        # One step a distinct answer, not one a branch: this is asked at every branch that ends.
        sums: dict[int, int] = {}
        for number, count in self._counts.items():
            root = self.grouping.root(number)
            sums[root] = sums.get(root, 0) + count
        return tuple(sorted(sums.values(), reverse=True))

    def leader(self, weights: Sequence[float] | None = None) -> Branch | None:
        """The earliest branch that gave the leading answer; None if no branch gave any.

        Args:
            weights: Of each branch with an answer, in order; by default all alike.
        """
        sums: dict[int, float] = {}
        roots = [self.grouping.root(number) for number in self._classes]
        for root, weight in zip(roots, weights or [1.0] * len(roots), strict=True):
            sums[root] = sums.get(root, 0.0) + weight
        if not sums:
            return None
        best = max(sums, key=sums.__getitem__)  # of equals the class that was seen first
        return next(b for b, root in zip(self.voters, roots, strict=True) if root == best)

    def best(self) -> Branch | None:
        """The branch with an answer and the highest reward; of equals the earliest."""
        return max(self.voters, key=lambda branch: branch.get("reward", 0.0), default=None)


def elect(tally: Tally, vote: str, bar: float | None = None) -> Branch | None:
    """The branch whose answer wins; None if no branch gave any.

    Args:
        tally: The finished branches.
        vote: "weighted": answers weigh by the sum of their rewards (paper, Rebase). "best": the one
            with the highest reward (paper, MCTS). "confidence": by exp(mean log-probability).
            "majority": all alike. Or one of `confidence.GROUP_VOTES`.
        bar: Least group confidence of branches that count, in nats.
    """
    if vote == "best":
        return tally.best()
    scores = [_confidence(branch) for branch in tally.voters]
    if vote in GROUP_VOTES:
        weights = group_weights(vote, scores)
    else:
        weights = [_WEIGHTS.get(vote, _alike)(branch) for branch in tally.voters]
    if bar is not None:
        sure = [one is not None and one.least >= bar for one in scores]
        weights = [weight * counts for weight, counts in zip(weights, sure, strict=True)]
    return tally.leader(weights)


def outcome(tally: Tally, leader: Branch | None) -> JSON:
    """Answer and text of a program, for its state.

    Not every question has an answer that can be extracted: then the text alone says something, of the
    branch with the highest reward, or of the first.
    """
    if leader is not None:
        return {"answer": leader["answer"], "text": leader["text"]}
    ended = (branch for branch in tally.branches if branch["finish"] != "terminated")
    best = max(ended, key=lambda branch: branch.get("reward", 0.0), default=None)
    return {"answer": None, "text": "" if best is None else best["text"]}


def _confidence(branch: Branch) -> Confidence | None:
    return Confidence.from_json(branch["confidence"]) if "confidence" in branch else None


def _alike(branch: Branch) -> float:
    return 1.0


_WEIGHTS: dict[str, Callable[[Branch], float]] = {
    "weighted": lambda branch: branch.get("reward", 0.0),
    "confidence": lambda branch: math.exp(branch["logprob"] or 0.0),
}
