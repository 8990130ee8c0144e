"""Demo: the main job on real input: the bundled model's questions under several policies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynasor_graph.abacus import questions as generate
from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.comparison import Arm
from dynasor_graph.engine import Engine
from dynasor_graph.errors import UnknownName
from dynasor_graph.executor import Judged
from dynasor_graph.questions import Question
from dynasor_graph.results import Result
from dynasor_graph.reward import DEFAULT_REWARD, Reward
from dynasor_graph.runner import Runner
from dynasor_graph.trace import TraceWriter
from dynasor_graph.types import JSON

__all__ = ["PLANS", "Plan", "demo_questions", "plans_for", "run_arm", "start_cold"]


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

_SEARCH: JSON = {**_SAMPLE, "budget": {"concurrency": 8}}
del _SEARCH["branches"]


def _search(algorithm: str, policy: str, **settings: Any) -> list[Plan]:
    """The full budget of a search, and the same search with Certaindex."""
    told = {**_SEARCH, **settings}
    return [Plan(algorithm=algorithm, policy=one, settings=told) for one in ("fixed", policy)]


PLANS: dict[str, list[Plan]] = {
    "self_consistency": [
        Plan(algorithm="self_consistency", policy=policy, settings=_SAMPLE)
        for policy in ("fixed", "certaindex", "beta")
    ],
    "cot": [
        Plan(algorithm="cot", policy=policy, settings=_THINK, programs=48)
        for policy in ("fixed", "probe-consistency")
    ],
    "best_of_n": _search("best_of_n", "judged", branches=16),
    "rebase": _search("rebase", "judged", width=16),
    "mcts": _search("mcts", "mcts-gsm8k", iterations=10),
    "beam": _search("beam", "judged", width=16),
    "dvts": _search("dvts", "judged", width=16),
    "particle_filter": _search("particle_filter", "judged", width=16),
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


async def start_cold(*models: object) -> None:
    """Empty the prefix caches of models that have one in this process.

    Arms with the same seeds say the same: the second would be spared what the first had computed, and a
    reward model would seem to cost it nothing.
    """
    for model in models:
        forget = getattr(model, "forget_prefixes", None)
        if forget is not None:
            await forget()


async def run_arm(
    plan: Plan,
    questions: Sequence[Question],
    *,
    engine: Engine,
    reward: Reward | None = None,
    trace: Path | None = None,
    on_event: Callable[[JSON], None] = lambda event: None,
    on_result: Callable[[Result], None] = lambda result: None,
) -> Arm:
    """Run one plan over the questions, on empty prefix caches.

    Args:
        plan: What to run.
        questions: What to ask.
        engine: An open engine.
        reward: An open reward, for plans that search.
        trace: File that the events go to; an older one is replaced.
        on_event: Called with every event.
        on_result: Called with every result, as it comes.
    """
    results: list[Result] = []
    await start_cold(engine, reward)
    with ExitStack() as stack:
        record: Callable[[JSON], Any] = lambda event: None  # noqa: E731
        if trace is not None:
            trace.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anything runs
            record = stack.enter_context(TraceWriter(trace)).write

        def both(event: JSON) -> None:
            record(event)
            on_event(event)

        judged: JSON = {}
        if issubclass(find_algorithm(plan.algorithm).settings, Judged):
            judged["reward"] = reward or DEFAULT_REWARD
        runner = Runner(
            plan.algorithm,
            engine=engine,
            programs=plan.programs,
            on_event=both,
            policy=plan.policy,
            **plan.settings,
            **judged,
        )
        stream: AsyncGenerator[Result, None] = runner.run(questions)
        async with aclosing(stream) as arriving:
            async for result in arriving:
                results.append(result)
                on_result(result)
    return Arm(algorithm=plan.algorithm, policy=plan.policy, results=results, trace=trace)
