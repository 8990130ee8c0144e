"""Demo: the main job on real input: the bundled model's questions under several policies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynasor_graph.abacus import questions as generate
from dynasor_graph.comparison import Arm
from dynasor_graph.engine import Engine
from dynasor_graph.errors import UnknownName
from dynasor_graph.questions import Question
from dynasor_graph.results import Result
from dynasor_graph.runner import Runner
from dynasor_graph.trace import TraceWriter
from dynasor_graph.types import JSON

__all__ = ["PLANS", "Plan", "demo_questions", "plans_for", "run_arm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One arm of the demo, before it runs.

    Attributes:
        algorithm: Name of the algorithm.
        policy: The policy; the first plan of an algorithm is the baseline of its others.
        settings: The algorithm's other settings, equal in all its plans: the same cap for all.
        programs: Most programs in flight.
    """

    algorithm: str
    policy: str
    settings: JSON = field(default_factory=dict)
    programs: int = 16


_SAMPLE: JSON = {
    "branches": 20,
    "budget": {"concurrency": 4},
    "sampling": {"temperature": 0.7, "max_tokens": 400, "seed": 1},
}
_THINK: JSON = {
    "interval": 64,
    "answer_tokens": 24,
    "probe_tokens": 8,
    "sampling": {"temperature": 0.7, "max_tokens": 1100, "seed": 1},
}

PLANS: dict[str, list[Plan]] = {
    "self_consistency": [
        Plan(algorithm="self_consistency", policy=policy, settings=_SAMPLE)
        for policy in ("fixed", "certaindex", "beta")
    ],
    "cot": [
        Plan(algorithm="cot", policy=policy, settings=_THINK, programs=48)
        for policy in ("fixed", "probe-consistency")
    ],
}
"""What the demo compares, by algorithm. Branch seeds are fixed: policies see the same first samples,
so that their difference is not the luck of the draw."""


def demo_questions(n: int, *, seed: int) -> list[Question]:
    """Generated questions of 1 to 16 steps: from those that are always right to hopeless ones."""
    drawn = generate(n, seed=seed)
    return [Question(id=q.id, text=q.question, gold=q.answer) for q in drawn]


def plans_for(algorithms: Sequence[str]) -> list[Plan]:
    """The plans of these algorithms.

    Raises:
        UnknownName: The demo has no plan for one of them.
    """
    for name in algorithms:
        if name not in PLANS:
            raise UnknownName("demo algorithm", name, PLANS)
    return [plan for name in algorithms for plan in PLANS[name]]


async def run_arm(
    plan: Plan,
    questions: Sequence[Question],
    *,
    engine: Engine,
    trace: Path | None = None,
    on_event: Callable[[JSON], None] = lambda event: None,
    on_result: Callable[[Result], None] = lambda result: None,
) -> Arm:
    """Run one plan over the questions.

    Args:
        plan: What to run.
        questions: What to ask.
        engine: An open engine.
        trace: File that the events go to; an older one is replaced.
        on_event: Called with every event.
        on_result: Called with every result, as it comes.
    """
    results: list[Result] = []
    with ExitStack() as stack:
        record: Callable[[JSON], Any] = lambda event: None  # noqa: E731
        if trace is not None:
            trace.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anything runs
            record = stack.enter_context(TraceWriter(trace)).write

        def both(event: JSON) -> None:
            record(event)
            on_event(event)

        runner = Runner(
            plan.algorithm,
            engine=engine,
            programs=plan.programs,
            on_event=both,
            policy=plan.policy,
            **plan.settings,
        )
        stream: AsyncGenerator[Result, None] = runner.run(questions)
        async with aclosing(stream) as arriving:
            async for result in arriving:
                results.append(result)
                on_result(result)
    return Arm(algorithm=plan.algorithm, policy=plan.policy, results=results, trace=trace)
