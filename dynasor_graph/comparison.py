"""Comparison: the same questions under several policies: accuracy, net tokens, latency, intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from typing_extensions import TypedDict

from dynasor_graph.budget import Usage
from dynasor_graph.errors import InputError
from dynasor_graph.policies import in_short
from dynasor_graph.recordings import spelled_equally
from dynasor_graph.results import Result
from dynasor_graph.trace import ProgramTrace, read_trace
from dynasor_graph.types import JSON, StopReason

__all__ = [
    "Arm",
    "Row",
    "ShadowRow",
    "arm_of",
    "compare",
    "compare_shadows",
    "paired_bootstrap",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One policy's results on a set of questions.

    Attributes:
        algorithm: Name of the algorithm.
        policy: The policy as a person would write it.
        results: One for each question; the same questions in every arm of an algorithm.
        trace: Where the events of its programs are, if they were recorded.
    """

    algorithm: str
    policy: str
    results: Sequence[Result] = field(repr=False)
    trace: Path | None = None

    @property
    def usage(self) -> Usage:
        """Tokens of all its programs."""
        return sum((result.usage for result in self.results), Usage())


class Row(TypedDict):
    """One line of a comparison. Tokens are sums over the questions, latencies seconds.

    `saved` is the share of the baseline's net tokens that this arm did not spend. The difference of
    accuracy to the baseline comes with a paired bootstrap interval (95 %); None without gold.
    """

    algorithm: str
    policy: str
    questions: int
    accuracy: float | None
    net_tokens: int
    gross_tokens: int
    saved: float
    accuracy_difference: float | None
    difference_low: float | None
    difference_high: float | None
    agreement: float
    latency_mean_s: float
    latency_p90_s: float
    usage: dict[str, int]


def paired_bootstrap(
    differences: Sequence[float], *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of paired differences, one for each question.

    Args:
        differences: This arm's score less the baseline's, question by question.
        resamples: Bootstrap samples.
        level: Probability that the interval covers.
        seed: Of the resampling: equal input gives an equal interval.
    """
    values = np.asarray(differences, dtype=float)
    if values.size == 0:
        raise ValueError("there is nothing to resample: no question has a gold answer")
    picks = np.random.default_rng(seed).integers(0, values.size, (resamples, values.size))
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(values[picks].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def compare(arms: Sequence[Arm]) -> list[Row]:
    """One row an arm; the first arm of each algorithm is the baseline of its others.

    Raises:
        InputError: Two arms of one algorithm were not asked the same questions, or one none.
    """
    first: dict[str, Arm] = {}
    for arm in arms:
        if not arm.results:
            raise InputError(f"{arm.algorithm}: {arm.policy!r} was not asked a single question")
        first.setdefault(arm.algorithm, arm)
    return [_row(arm, first[arm.algorithm]) for arm in arms]


def _row(arm: Arm, base: Arm) -> Row:
    mine = {result.id: result for result in arm.results}
    theirs = {result.id: result for result in base.results}
    if mine.keys() != theirs.keys():
        raise InputError(
            f"{arm.algorithm}: {arm.policy!r} and {base.policy!r} were not asked the same questions"
        )
    pairs = [(mine[key], theirs[key]) for key in theirs]
    scored = [(a, b) for a, b in pairs if a.correct is not None and b.correct is not None]
    differences = [float(bool(a.correct)) - float(bool(b.correct)) for a, b in scored]
    low, high = paired_bootstrap(differences) if scored else (None, None)
    latencies = np.array([result.latency_s for result in arm.results])
    return Row(
        algorithm=arm.algorithm,
        policy=arm.policy,
        questions=len(pairs),
        accuracy=float(np.mean([bool(a.correct) for a, _ in scored])) if scored else None,
        net_tokens=arm.usage.net,
        gross_tokens=arm.usage.gross,
        saved=1 - arm.usage.net / max(1, base.usage.net),
        accuracy_difference=float(np.mean(differences)) if scored else None,
        difference_low=low,
        difference_high=high,
        agreement=float(np.mean([a.answer == b.answer for a, b in pairs])),
        latency_mean_s=float(latencies.mean()),
        latency_p90_s=float(np.percentile(latencies, 90)),
        usage=arm.usage.lines(),
    )


class ShadowRow(TypedDict):
    """What one shadow policy would have made of an arm's programs.

    Its answer to a question is the one at its stop; where it never stopped, the program's own. So its
    tokens are those generated by then, or all; `share` is that of the arm's gross tokens, and may
    pass 1 where probes were paid for. What was in flight at the stop, and what a stopped chain says
    last, is not in it.

    `programs` did not fail and are in the trace. Of these it would have stopped `stopped`, and
    `unknown` ended by the arm's own policy before it spoke: it might have gone on for longer.
    """

    algorithm: str
    policy: str
    shadow: str
    programs: int
    stopped: int
    unknown: int
    accuracy: float | None
    agreement: float
    tokens: int
    share: float


def arm_of(path: Path) -> Arm:
    """The programs of a run that came to their end, out of its trace.

    Raises:
        InputError: The file is no trace, it holds no result, or programs of different algorithms or
            policies.
    """
    ended = [program for program in read_trace(path).values() if program.result is not None]
    if not ended:
        raise InputError(f"{path}: not one program came to its end")
    kinds = {
        (p.start.get("algorithm", ""), _written(p.start.get("settings", {}).get("policy", "")))
        for p in ended
    }
    if len(kinds) > 1:
        told = "; ".join(f"{algorithm} with {policy}" for algorithm, policy in sorted(kinds))
        raise InputError(f"{path}: holds different runs: {told}")
    ((algorithm, _),) = kinds
    results = [Result.from_json(program.result) for program in ended if program.result]
    spelled = in_short(ended[0].start.get("settings", {}).get("policy", "fixed"))
    return Arm(algorithm=algorithm, policy=spelled, results=results, trace=path)


def compare_shadows(arm: Arm) -> list[ShadowRow]:
    """One row for each shadow policy of a run, in the order of its settings; none without a trace.

    Raises:
        InputError: The trace cannot be read.
    """
    trace = read_trace(arm.trace) if arm.trace else {}
    pairs = [(r, trace[r.id]) for r in arm.results if r.error is None and r.id in trace]
    policies: dict[str, None] = {}
    for _, program in pairs:
        known = program.start.get("settings", {}).get("shadow", ())
        said = (row["policy"] for row in program.shadows)
        policies.update(dict.fromkeys(map(_written, (*known, *said))))
    ends = [_ends(result, program) for result, program in pairs]
    return [_shadow_row(arm, name, [result for result, _ in pairs], ends) for name in policies]


class _End(TypedDict):
    tokens: int
    right: bool | None
    agrees: bool


def _ends(result: Result, program: ProgramTrace) -> dict[str, _End]:
    """What the program's shadows would have answered: of those that would have stopped it."""
    rows = program.shadows
    spelled = [result.answer, result.gold, *(row["answer"] for row in rows)]
    if len({*spelled} - {None}) > 1:  # else there is nothing to compare
        spelled = spelled_equally(spelled)
    final, gold, *answers = spelled
    return {
        _written(row["policy"]): _End(
            tokens=row["tokens"],
            right=None if gold is None else answer == gold,
            agrees=answer == final,
        )
        for row, answer in zip(rows, answers, strict=True)
    }


def _shadow_row(
    arm: Arm, name: str, results: Sequence[Result], ends: Sequence[dict[str, _End]]
) -> ShadowRow:
    own = [_End(tokens=r.usage.generated, right=r.correct, agrees=True) for r in results]
    found = [stops.get(name, end) for stops, end in zip(ends, own, strict=True)]
    scored = [end["right"] for end in found if end["right"] is not None]
    left = [r for r, stops in zip(results, ends, strict=True) if name not in stops]
    tokens = sum(end["tokens"] for end in found)
    return ShadowRow(
        algorithm=arm.algorithm,
        policy=arm.policy,
        shadow=name,
        programs=len(results),
        stopped=len(results) - len(left),
        unknown=sum(r.stop_reason is StopReason.CERTAIN for r in left),
        accuracy=float(np.mean(scored)) if scored else None,
        agreement=float(np.mean([end["agrees"] for end in found])),
        tokens=tokens,
        share=tokens / max(1, sum(r.usage.gross for r in results)),
    )


def _written(policy: str | JSON) -> str:
    return policy if isinstance(policy, str) else json.dumps(policy)
