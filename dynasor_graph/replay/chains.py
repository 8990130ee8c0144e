"""Chains: one chain of thought, replayed on its recorded probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dynasor_graph.errors import InputError
from dynasor_graph.policies import Fixed, Probe, Progress, Rule
from dynasor_graph.recordings import Recorded, Sample
from dynasor_graph.replay.arms import Floats, Replayed, Study
from dynasor_graph.replay.study import group_of

__all__ = ["ChainOutcome", "Costs", "replay_chain", "shorten", "study_chains"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Net tokens of what a recording does not count; measured on the bundled model.

    Attributes:
        probe: One probe: what it generates (4.9) and what it computes past the cached prefix (24).
        answer: The answer that a stopped chain is made to give.
    """

    probe: int = 29
    answer: int = 12


class ChainOutcome(NamedTuple):
    """What one chain came to.

    Attributes:
        answer: Its answer; None if it gave none.
        thought: Tokens of the chain itself, a forced answer included.
        probes: Probes that were made.
        certain: Whether the policy ended it.
    """

    answer: str | None
    thought: int
    probes: int
    certain: bool


def replay_chain(sample: Sample, policy: Rule, costs: Costs | None = None) -> ChainOutcome:
    """Replay one chain: the policy is asked at each probe, in order, without a delay.

    A chain that is stopped answers what its newest probe answered. What the probe said beside the
    answer (hesitation) is not recorded.

    Raises:
        InputError: The sample has no tokens.
    """
    costs = costs or Costs()
    if sample.tokens is None:
        raise InputError("a chain without a number of tokens cannot be replayed: record again")
    numbers: dict[str, int] = {}
    seen: list[Probe] = []
    asked = sample.probes if policy.reads() else ()
    for at, answer, confidence in asked:
        if at >= sample.tokens:
            break  # after the thought had ended
        number = None if answer is None else numbers.setdefault(answer, len(numbers))
        seen.append(Probe(at=at, answer=number, confidence=confidence))
        progress = Progress(knob=at, cap=sample.tokens, probes=tuple(seen), tokens=at)
        if policy.decide(progress).verdict == "terminate":
            return ChainOutcome(answer, at + costs.answer, len(seen), certain=True)
    answer = sample.answer
    if answer is None:  # as the live chain: what its newest probe answered
        said = (probe.answer for probe in reversed(asked[: len(seen)]))
        answer = next((one for one in said if one is not None), None)
    return ChainOutcome(answer, sample.tokens, len(seen), certain=False)


def shorten(
    recorded: Sequence[Recorded], policy: Rule, costs: Costs | None = None
) -> list[Recorded]:
    """The same questions, each chain ended by a policy; its tokens are net of its probes.

    What comes out is replayed as branches: fewer and shorter ones.

    Raises:
        InputError: There is no chain, none with probes, or the policy looks at something else.
    """
    costs = costs or Costs()
    _check_chains(recorded, {str(policy.model_dump()["rule"]): policy})
    return [
        replace(row, samples=tuple(_shortened(row, one, policy, costs)[1] for one in row.samples))
        for row in recorded
    ]


def _shortened(
    row: Recorded, sample: Sample, policy: Rule, costs: Costs
) -> tuple[ChainOutcome, Sample]:
    try:
        found = replay_chain(sample, policy, costs)
    except InputError as error:
        raise InputError(f"{row.id}: {error}") from None
    correct = sample.correct
    if found.answer != sample.answer:
        correct = None if row.gold is None else found.answer == row.gold
    return found, replace(
        sample,
        answer=found.answer,
        tokens=found.thought + found.probes * costs.probe,
        correct=correct,
        probes=(),
    )


def study_chains(
    recorded: Sequence[Recorded],
    policies: dict[str, Rule],
    *,
    costs: Costs | None = None,
    on_arm: Callable[[Replayed], None] = lambda arm: None,
) -> Study:
    """Replay policies over probes; each recorded sample is a program of its own.

    The columns are means over a question's samples, `samples` counts probes.

    Args:
        recorded: The questions, with probes.
        policies: Name -> policy. The full budget ("fixed") is added where it is missing.
        costs: What a recording does not count.
        on_arm: Called with each policy as it is done.

    Raises:
        InputError: There is no chain, none with probes, or a policy looks at something else.
    """
    costs = costs or Costs()
    _check_chains(recorded, policies)
    full = next((name for name, rule in policies.items() if isinstance(rule, Fixed)), "fixed")
    arms = []
    for name, rule in {full: Fixed(), **policies}.items():
        arms.append(_columns(name, _shortened_all(recorded, rule, costs), recorded))
        on_arm(arms[-1])
    return Study(
        questions=[row.id for row in recorded],
        groups=[group_of(row) for row in recorded],
        arms=arms,
        parallel=arms[0].latency,
    )


_Row = list[tuple[ChainOutcome, Sample]]


def _shortened_all(recorded: Sequence[Recorded], rule: Rule, costs: Costs) -> list[_Row]:
    return [[_shortened(row, one, rule, costs) for one in row.samples] for row in recorded]


def _columns(name: str, found: Sequence[_Row], recorded: Sequence[Recorded]) -> Replayed:
    def mean(column: Callable[[ChainOutcome, Sample, Sample], float]) -> Floats:
        rows = zip(found, recorded, strict=True)
        return np.array(
            [
                np.mean([column(o, new, old) for (o, new), old in zip(f, r.samples, strict=True)])
                for f, r in rows
            ]
        )

    return Replayed(
        policy=name,
        window=1,
        right=mean(lambda o, new, old: float("nan") if new.correct is None else new.correct),
        agrees=mean(lambda o, new, old: o.answer == old.answer),
        tokens=mean(lambda o, new, old: float(new.tokens or 0)),
        samples=mean(lambda o, new, old: o.probes),
        latency=mean(lambda o, new, old: o.thought),
    )


def _check_chains(recorded: Sequence[Recorded], policies: dict[str, Rule]) -> None:
    if not any(row.samples for row in recorded):
        raise InputError("there is no chain to replay")
    for row in recorded:
        if not row.samples:
            raise InputError(f"{row.id}: the question has no samples: leave it out")
    probed = [probe for row in recorded for one in row.samples for probe in one.probes]
    for name, rule in policies.items():
        reads = rule.reads()
        if strange := sorted(reads - {"probes", "confidence"}):
            raise InputError(
                f"{name} looks at {', '.join(strange)}, and these are single chains with probes: "
                "replay it by itself, over votes"
            )
        if reads and not probed:
            raise InputError(f"{name} looks at probes, and the recording has none")
        if "confidence" in reads and all(probe.confidence is None for probe in probed):
            raise InputError(
                f"{name} looks at the confidence of probes, and the recording has none: "
                "record with `-p probe-confidence`"
            )
