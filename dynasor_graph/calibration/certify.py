"""Certify: a policy's parameter, chosen on one half of the questions and certified on the other.

Learn then Test (arXiv 2110.01052): on the fit half the candidates are put in an order, from careful to
daring; on the certify half they are tested in that order until one fails. The last that passed loses
at most `max_loss` with probability `confidence`, whatever the questions are, as long as later ones are
like them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from typing_extensions import TypedDict

from dynasor_graph.calibration.bounds import fixed_sequence, loss_p_value, questions_needed
from dynasor_graph.errors import ConfigError, InputError
from dynasor_graph.policies import RULES, Rule, read_policy
from dynasor_graph.recordings import Recorded
from dynasor_graph.replay import Replayed, Study
from dynasor_graph.replay.arms import Floats

__all__ = [
    "SWEEPS",
    "Candidate",
    "Certificate",
    "Goal",
    "candidates_of",
    "certify",
    "losses",
    "split",
]

Goal = Literal["right", "same"]
"""What may be lost: right answers (needs gold), or the full budget's answer."""


class Sweep(NamedTuple):
    """The parameter of a rule that is tried, from careful to daring."""

    parameter: str
    values: tuple[Any, ...]


_CONFIDENCES: Final = (0.999, 0.99, 0.98, 0.97, 0.95, 0.93, 0.9, 0.87, 0.85, 0.8, 0.75, 0.7, 0.6)
_SHARES: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4)

SWEEPS: Final[Mapping[str, Sweep]] = {
    "beta": Sweep("confidence", _CONFIDENCES),
    "dirichlet": Sweep("confidence", _CONFIDENCES),
    "boinf": Sweep("factor", (3000, 1000, 300, 100, 50, 30, 20, 10, 5, 3)),
    "certaindex": Sweep("threshold", _SHARES),
    "certaindex-every": Sweep("threshold", _SHARES),
    "vote-entropy": Sweep("threshold", tuple(round(1 - share, 2) for share in _SHARES)),
    "majority-share": Sweep("share", _SHARES),
    "doubling": Sweep("share", _SHARES),
    "deepconf": Sweep("keep", (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)),
    "esc": Sweep("window", (12, 10, 8, 7, 6, 5, 4, 3, 2)),
    "even": Sweep("at", (32, 24, 20, 16, 12, 10, 8, 6, 5, 4, 3, 2, 1)),
    "probe-consistency": Sweep("window", (12, 10, 8, 7, 6, 5, 4, 3, 2)),
    "probe-confidence": Sweep("confidence", (0.999, 0.995, 0.99, 0.98, 0.97, 0.95, 0.9, 0.8, 0.7)),
    "value": Sweep("price", tuple(float(f"{x:.3g}") for x in np.geomspace(3e-4, 0.6, 20))),
}
"""What is tried of each rule, unless the caller says otherwise."""


class Candidate(TypedDict):
    """One value of the parameter, with its evidence.

    Losses are in [-1, 1], as are their bounds; `spent` is the share of the full budget's net tokens
    on the certify half.
    """

    policy: str
    parameter: Any
    fit_loss: float
    fit_spent: float
    loss: float
    spent: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a calibration came to.

    Attributes:
        rule: The cheapest policy that was certified; None if not even the most careful was.
        candidates: What was tested, in the order of the tests.
        certified: How many of them passed.
        questions: Questions of the certify half.
        needed: Questions that would certify the most careful candidate if its loss stays as
            measured; None if no number would, or it is certified.
        losses: Loss of the chosen policy (else of the most careful) on each certify question.
    """

    rule: Rule | None
    candidates: Sequence[Candidate]
    certified: int
    questions: int
    needed: int | None
    losses: Floats = field(repr=False)


def candidates_of(
    base: Rule, parameter: str | None = None, values: Sequence[Any] = ()
) -> dict[str, tuple[Any, Rule]]:
    """The policies that differ from `base` in one parameter: name -> (value, policy).

    Raises:
        ConfigError: The rule has no sweep of its own and none is given, or a value is out of range.
    """
    name = str(base.model_dump()["rule"])
    sweep = SWEEPS.get(name)
    if parameter not in (None, *RULES[name].model_fields):
        raise ConfigError(f"policy {name!r} has no parameter {parameter!r}")
    if sweep is not None and parameter in (None, sweep.parameter):
        parameter, values = sweep.parameter, values or sweep.values
    if parameter is None or not values:
        raise ConfigError(
            f"policy {name!r}: say which --parameter to try with which --values; "
            f"known are {', '.join(SWEEPS)}"
        )
    told = base.model_dump(mode="json")
    return {
        f"{name}:{parameter}={value}": (value, read_policy({**told, parameter: value}))
        for value in values
    }


def split(recorded: Sequence[Recorded], seed: int) -> tuple[list[Recorded], list[Recorded]]:
    """The questions dealt into two halves at random, to fit and to certify.

    Equal questions in an equal order give equal halves.

    Raises:
        InputError: There are fewer than 40: too few for either; or a question is there twice, whose
            losses would go together.
    """
    seen: set[tuple[str, str]] = set()
    for row in recorded:
        if (row.dataset, row.id) in seen:
            raise InputError(
                f"{row.id} is there twice: a bound needs questions that have nothing to do with each "
                "other: calibrate one model and one run at a time"
            )
        seen.add((row.dataset, row.id))
    if len(recorded) < 40:
        raise InputError(
            f"{len(recorded)} questions are too few: each half needs at least 20, and a bound of half "
            "a point takes about 700 on the certify half"
        )
    order = np.random.default_rng(seed).permutation(len(recorded))
    half = len(recorded) // 2
    return [recorded[i] for i in order[:half]], [recorded[i] for i in order[half:]]


def losses(base: Replayed, arm: Replayed, goal: Goal) -> Floats:
    """What an arm loses on each question: in [-1, 1] of accuracy, or in [0, 1] of agreement.

    Raises:
        InputError: The goal is "right", and a question has no gold.
    """
    if goal == "same":
        return np.asarray(1.0 - arm.agrees, dtype=float)
    lost = np.asarray(base.right - arm.right, dtype=float)
    if np.isnan(lost).any():
        raise InputError(
            f"{int(np.isnan(lost).sum())} questions have no gold: certify agreement with the full "
            "budget instead (--goal same)"
        )
    return lost


def certify(
    replayed: Callable[[Sequence[Recorded], dict[str, Rule]], Study],
    fit: Sequence[Recorded],
    test: Sequence[Recorded],
    candidates: Mapping[str, tuple[Any, Rule]],
    *,
    max_loss: float,
    confidence: float = 0.95,
    goal: Goal = "right",
) -> Certificate:
    """Choose among the candidates.

    Args:
        replayed: Replays policies on questions, the full budget first.
        fit: Questions that order the candidates, the dearest first.
        test: Questions that certify, none of `fit`.
        candidates: Name -> (value, policy).
        max_loss: Greatest mean loss, in (0, 1).
        confidence: Probability that the bound holds, in (0, 1).
        goal: What may be lost.

    Raises:
        ConfigError: `max_loss` or `confidence` is out of range.
        InputError: A policy looks at what is not recorded, or gold is missing.
    """
    if not 0 < max_loss < 1:
        raise ConfigError(f"the greatest loss must be above 0 and below 100 points, got {max_loss}")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be in (0, 1), got {confidence}")
    rules = {name: rule for name, (_, rule) in candidates.items()}
    base, *arms = replayed(fit, rules).arms
    fitted = {arm.policy: (losses(base, arm, goal).mean(), _spent(base, arm)) for arm in arms}
    order = sorted(fitted, key=lambda name: -fitted[name][1])
    base, *tested = replayed(test, {name: rules[name] for name in order}).arms
    low = 0.0 if goal == "same" else -1.0
    lost = {arm.policy: losses(base, arm, goal) for arm in tested}
    p_values = [loss_p_value(lost[name].tolist(), max_loss, low, 1.0) for name in order]
    passed = fixed_sequence(p_values, 1 - confidence)
    chosen = order[max(0, passed - 1)]
    needed = None
    if not passed:
        needed = questions_needed(lost[chosen].tolist(), max_loss, 1 - confidence, low, 1.0)
    return Certificate(
        rule=rules[chosen] if passed else None,
        candidates=[
            Candidate(
                policy=arm.policy,
                parameter=candidates[arm.policy][0],
                fit_loss=float(fitted[arm.policy][0]),
                fit_spent=fitted[arm.policy][1],
                loss=float(lost[arm.policy].mean()),
                spent=_spent(base, arm),
                p_value=p_value,
            )
            for arm, p_value in zip(tested, p_values, strict=True)
        ],
        certified=passed,
        questions=len(test),
        needed=needed,
        losses=lost[chosen],
    )


def _spent(base: Replayed, arm: Replayed) -> float:
    return float(arm.tokens.sum() / max(1.0, base.tokens.sum()))
