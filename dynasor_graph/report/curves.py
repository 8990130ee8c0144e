"""Curves: how single programs settled, out of traces; and which of them are worth a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynasor_graph.comparison import Arm
from dynasor_graph.results import Result
from dynasor_graph.trace import ProgramTrace, read_trace
from dynasor_graph.types import StopReason

__all__ = ["Curve", "Example", "read_curves", "select"]

Curves = Mapping[str, "Curve"]
"""Of one arm: question's id -> its curve."""

Kind = tuple[str, Sequence[Result]]
"""What a question shows, and the programs that show it, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Certaindex of one program over its rounds.

    Attributes:
        at: The knob at each measurement: finished branches, or tokens of thought.
        certaindex: What was measured.
        stop: Which measurement made the policy stop the program; None if none did.
    """

    at: tuple[int, ...]
    certaindex: tuple[float, ...]
    stop: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question that shows something.

    Attributes:
        kind: What it shows.
        id: The question's id.
    """

    kind: str
    id: str


def read_curves(arms: Sequence[Arm]) -> tuple[list[Curves], str]:
    """The curves of one algorithm's arms, and what their knob counts.

    An arm without a trace, or one that measured nothing on the way, has no curve.

    Raises:
        InputError: A trace cannot be read.
    """
    traces = [read_trace(arm.trace) if arm.trace else {} for arm in arms]
    probed = any(program.probes for trace in traces for program in trace.values())
    curves: list[Curves] = [
        {name: curve for name, program in trace.items() if (curve := _curve(program, probed))}
        for trace in traces
    ]
    return curves, "tokens of thought" if probed else "finished branches"


def _curve(program: ProgramTrace, probed: bool) -> Curve | None:
    if probed:
        points = [(row["at"], row["certaindex"]) for row in program.probes]
    else:
        finished = [row for row in program.branches if row["finish"] != "terminated"]
        points = [(i, row["certaindex"]) for i, row in enumerate(finished, start=1)]
    if not points:
        return None
    # The policy is asked once for each measurement, so the lists run side by side.
    stops = (i for i, row in enumerate(program.decisions) if row["verdict"] == "terminate")
    stop = next(stops, None)
    return Curve(
        at=tuple(at for at, _ in points),
        certaindex=tuple(value for _, value in points),
        stop=None if stop is None else min(stop, len(points) - 1),
    )


def select(arms: Sequence[Arm], curves: Sequence[Curves]) -> tuple[str, list[Example]]:
    """Up to six questions of one algorithm, each of another kind.

    Returns:
        The policy whose programs they were chosen by (of those with curves, the one that stopped
        most of them), and the questions.
    """
    arm, known = max(
        ((arm, known) for arm, known in zip(arms, curves, strict=True) if known),
        key=lambda pair: sum(r.stop_reason is StopReason.CERTAIN for r in pair[0].results),
    )
    shown = [r for r in arm.results if r.id in known and r.error is None]
    stopped = [r for r in shown if known[r.id].stop is not None]
    never = [r for r in shown if known[r.id].stop is None]
    stopped.sort(key=lambda r: (known[r.id].stop or 0, r.id))
    never.sort(key=lambda r: (known[r.id].certaindex[-1], -len(known[r.id].at), r.id))
    examples: dict[str, Example] = {}
    for kind, choice in [*_stopped_kinds(stopped, known), *_other_kinds(never, bool(stopped))]:
        free = next((r.id for r in choice if r.id not in examples), None)
        if free is not None:
            examples[free] = Example(kind=kind, id=free)
    return arm.policy, list(examples.values())


def _stopped_kinds(stopped: Sequence[Result], known: Curves) -> list[Kind]:
    """Kinds among the programs that the policy stopped, earliest first."""
    fine = [r for r in stopped if r.correct is not False]
    stops = [known[r.id].stop or 0 for r in fine]
    later = [r for r, stop in zip(fine, stops, strict=True) if stop > stops[0]]
    between = [r for r in later if (known[r.id].stop or 0) < stops[-1]]
    return [
        ("Settled at once", fine),
        ("Settled midway", _middle_out(between)),
        ("Settled late", later[::-1]),
        ("Settled on a wrong answer", [r for r in stopped if r.correct is False]),
    ]


def _other_kinds(never: Sequence[Result], others_stopped: bool) -> list[Kind]:
    """Kinds among the programs that came to their own end, least settled first."""
    if not others_stopped:
        return [("Open to the end", never), ("Settled at its end", never[::-1])]
    lucky = [r for r in never if r.correct]
    return [("Never settled", never), ("Never settled, and yet right", lucky)]


def _middle_out(results: Sequence[Result]) -> list[Result]:
    middle = (len(results) - 1) / 2
    order = sorted(range(len(results)), key=lambda i: abs(i - middle))
    return [results[i] for i in order]
