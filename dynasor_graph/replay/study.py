"""Study: many policies in many windows over recorded questions, each paired with the full budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from dynasor_graph.confidence import GROUP_VOTES
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import Fixed, Rule
from dynasor_graph.recordings import Recorded
from dynasor_graph.replay.arms import Floats, Replayed, Study
from dynasor_graph.replay.votes import Ballot, Decider, Outcome, Vote, replay_votes

__all__ = ["REWARD_COST", "check_signals", "checked_cap", "group_of", "orders", "study"]

REWARD_COST: Final = 35
"""Measured on the bundled model: what judging computed past the cached prefix, a branch."""


def orders(count: int, cap: int, shuffles: int, rng: np.random.Generator) -> list[list[int]]:
    """Which samples a question's branches are: `shuffles` draws without replacement.

    With 0 shuffles the samples in the order in which they were recorded, once.
    """
    if not shuffles:
        return [list(range(cap))]
    return [rng.permutation(count)[:cap].tolist() for _ in range(shuffles)]


def study(
    recorded: Sequence[Recorded],
    policies: dict[str, Rule],
    *,
    windows: Sequence[int] = (1,),
    cap: int | None = None,
    shuffles: int = 10,
    seed: int = 0,
    vote: Vote = "majority",
    reward_cost: int = REWARD_COST,
    on_arm: Callable[[Replayed], None] = lambda arm: None,
) -> Study:
    """Replay each policy in each window; all see the same samples in the same orders.

    Args:
        recorded: The questions.
        policies: Name -> policy. The full budget ("fixed") is added where it is missing.
        windows: Branches in flight, each >= 1.
        cap: Most branches of a program; by default as many samples as every question has.
        shuffles: Random orders of each question's samples; 0 keeps the recorded order.
        seed: Of these orders.
        vote: How the answer is chosen.
        reward_cost: Tokens that a reward model computes for a branch; counted where rewards are read.
        on_arm: Called with each policy and window as it is done.

    Raises:
        InputError: There is no question, too few samples, or a policy looks at what is not recorded.
        ConfigError: A window or the cap is below 1.
    """
    ballots = [Ballot.of(row) for row in recorded]
    cap = checked_cap(recorded, ballots, cap)
    for window in windows:
        if window < 1:
            raise ConfigError(f"window must be at least 1, got {window}")
    needed = {name: rule.reads() for name, rule in policies.items()}
    check_signals(recorded, ballots, needed, vote)
    rng = np.random.default_rng(seed)
    drawn = [orders(len(ballot.classes), cap, shuffles, rng) for ballot in ballots]
    pairs = list(zip(ballots, drawn, strict=True))
    full = next((name for name, rule in policies.items() if isinstance(rule, Fixed)), "fixed")
    arms: list[Replayed] = []
    for window in windows:
        base: list[Outcome] = []
        for name, rule in {full: Fixed(), **policies}.items():
            found = list(_all(pairs, Decider(rule, cap), window, vote))
            base = base or found
            judged = vote == "best" or "rewards" in rule.reads()
            each = reward_cost if judged else 0
            arm = _columns(name, window, ballots, len(drawn[0]), found, base, each)
            arms.append(arm)
            on_arm(arm)
    longest = [[max(b.tokens[i] for i in order) for order in draws] for b, draws in pairs]
    return Study(
        questions=[row.id for row in recorded],
        groups=[group_of(row) for row in recorded],
        arms=arms,
        parallel=np.asarray(longest, dtype=float).mean(axis=1),
    )


def group_of(row: Recorded) -> str:
    """The set and the model that a question belongs to."""
    return " · ".join(filter(None, (row.dataset, row.model)))


def _all(
    pairs: Sequence[tuple[Ballot, Sequence[Sequence[int]]]],
    decider: Decider,
    window: int,
    vote: Vote,
) -> Iterator[Outcome]:
    for ballot, draws in pairs:
        for order in draws:
            yield replay_votes(ballot, order, decider, window=window, vote=vote)


def _columns(
    name: str,
    window: int,
    ballots: Sequence[Ballot],
    draws: int,
    found: Sequence[Outcome],
    base: Sequence[Outcome],
    reward_cost: int,
) -> Replayed:
    right = [
        float("nan") if b.right is None else float(o.answer >= 0 and b.right[o.answer])
        for b, outcomes in zip(ballots, _chunks(found, draws), strict=True)
        for o in outcomes
    ]
    agrees = [a.answer == b.answer for a, b in zip(found, base, strict=True)]

    def mean(values: Sequence[float]) -> Floats:
        by_draw = np.asarray(values, dtype=float).reshape(len(ballots), draws)
        return np.asarray(by_draw.mean(axis=1), dtype=float)

    return Replayed(
        policy=name,
        window=window,
        right=mean(right),
        agrees=mean(agrees),
        tokens=mean([o.tokens + reward_cost * o.finished for o in found]),
        samples=mean([o.finished for o in found]),
        latency=mean([o.latency for o in found]),
    )


def _chunks(found: Sequence[Outcome], size: int) -> Iterator[Sequence[Outcome]]:
    for start in range(0, len(found), size):
        yield found[start : start + size]


def checked_cap(recorded: Sequence[Recorded], ballots: Sequence[Ballot], cap: int | None) -> int:
    """The cap, or as many samples as every question has.

    Raises:
        InputError: There is no question, or one has too few samples.
        ConfigError: The cap is below 1.
    """
    if not ballots:
        raise InputError("there is no question to replay")
    fewest = min(range(len(ballots)), key=lambda i: len(ballots[i].classes))
    have = len(ballots[fewest].classes)
    if have < 1:
        raise InputError(f"{recorded[fewest].id}: the question has no samples: leave it out")
    if cap is None:
        return have
    if cap < 1:
        raise ConfigError(f"cap must be at least 1, got {cap}")
    if cap > have:
        raise InputError(
            f"{recorded[fewest].id}: {have} samples, and a cap of {cap}: lower the cap to {have}, or "
            "leave out questions with fewer samples"
        )
    return cap


def check_signals(
    recorded: Sequence[Recorded],
    ballots: Sequence[Ballot],
    needed: Mapping[str, frozenset[str]],
    vote: Vote,
) -> None:
    """Refuse what looks at signals that were not recorded.

    Args:
        recorded: The questions.
        ballots: Their samples.
        needed: What each policy reads, by its name.
        vote: How the answer is chosen.

    Raises:
        InputError: A question lacks what is read.
    """
    needed = dict(needed)
    if vote == "best":
        needed["vote 'best'"] = frozenset({"rewards"})
    if vote == "confidence":
        needed["vote 'confidence'"] = frozenset({"logprobs"})
    if vote in GROUP_VOTES:
        needed[f"vote {vote!r}"] = frozenset({"groups"})
    for name, reads in needed.items():
        if reads & {"probes", "confidence"}:
            raise InputError(
                f"{name} looks at probes of a chain, and these are votes over branches: "
                "replay it by itself, or give it as the chain policy"
            )
        for row, ballot in zip(recorded, ballots, strict=True):
            if "rewards" in reads and not ballot.rewards:
                raise InputError(
                    f"{name} looks at rewards, and {row.id} has samples without: "
                    "record with an algorithm that judges, such as best_of_n"
                )
            if "groups" in reads and not ballot.confidences:
                raise InputError(
                    f"{name} looks at the confidence of tokens, and {row.id} has samples without: "
                    "record with `--set confidences=true`"
                )
            if "logprobs" in reads and None in ballot.logprobs:
                raise InputError(
                    f"{name} looks at log-probabilities, and {row.id} has samples without: "
                    "record with `--set logprobs=true`"
                )
