"""Batch: all algorithms under all policies on the bundled models, at scale: accuracy, tokens, seconds.

    python -m benchmarks.batch FOLDER [--questions 2000] [--arms rebase,cot/fixed,...] [--engine ENGINE]
                                      [--programs 64] [--minutes 9] [--json]

Each arm is an algorithm with a policy; the first of an algorithm spends the full budget and is what its
others are compared with, question by question. Results go to FOLDER as they come, and the same command
goes on where it was ended (`--minutes` ends it by itself, after the question that is under way), so that
a machine may be had for some minutes at a time. "engine s" is how long the arm had the engine for
itself: on one GPU its GPU seconds. Without anything left to run the table alone is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.output import show
from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.comparison import Arm, compare
from dynasor_graph.demo import PLANS, Plan, demo_questions
from dynasor_graph.engine import Engine, FakeEngine, open_engine
from dynasor_graph.executor import Judged
from dynasor_graph.questions import Question
from dynasor_graph.results import ResultsFile
from dynasor_graph.reward import FunctionReward, Reward, open_reward
from dynasor_graph.runner import Runner

MORE = {
    "self_consistency": ("beta-as-needed",),
    "cot": ("probe-confidence",),
    "rebase": ("beta",),
    "best_of_n": ("beta",),
}
"""Policies beside those of the demo."""


def plans() -> dict[str, Plan]:
    """All arms by name, `algorithm/policy`; of each algorithm the full budget first."""
    found: dict[str, Plan] = {}
    for name, some in PLANS.items():
        for plan in [*some, *(replace(some[0], policy=policy) for policy in MORE.get(name, ()))]:
            found[f"{name}/{plan.policy}"] = plan
    return found


def chosen(told: str | None) -> dict[str, Plan]:
    """The arms that a list names: algorithms whole, or `algorithm/policy`."""
    everything = plans()
    if told is None:
        return everything
    wanted = [name.strip() for name in told.split(",")]
    found = {
        arm: plan
        for arm, plan in everything.items()
        if arm in wanted or arm.partition("/")[0] in wanted
    }
    if not found:
        raise SystemExit(f"--arms: there are {', '.join(everything)}")
    return found


class Folder:
    """Where results are kept, and the seconds that each arm took until now."""

    def __init__(self, path: Path) -> None:
        self._path, self._clock = path, path / "seconds.json"
        path.mkdir(parents=True, exist_ok=True)
        self.seconds: dict[str, float] = (
            json.loads(self._clock.read_text()) if self._clock.exists() else {}
        )

    def results(self, arm: str, plan: Plan, count: int) -> ResultsFile:
        """The file of an arm."""
        run = {"algorithm": plan.algorithm, "policy": plan.policy, "questions": count}
        name = arm.replace("/", "-").replace(":", "-")
        run |= {"settings": dict(plan.settings)}
        return ResultsFile(self._path / f"{name}.jsonl", run, resume=True)

    def took(self, arm: str, seconds: float) -> None:
        """Note seconds of an arm."""
        self.seconds[arm] = self.seconds.get(arm, 0.0) + seconds
        self._clock.write_text(json.dumps(self.seconds))


async def run_arm(
    plan: Plan,
    questions: list[Question],
    file: ResultsFile,
    models: tuple[Engine, Reward | None],
    until: float,
) -> None:
    """Run what is left of an arm, or as much of it as there is time for."""
    engine, reward = models
    judged: dict[str, Any] = {"reward": reward} if is_judged(plan) else {}
    runner = Runner(
        plan.algorithm,
        engine=engine,
        programs=plan.programs,
        policy=plan.policy,
        **plan.settings,
        **judged,
    )
    done = {result.id for result in file.done}
    left = [question for question in questions if question.id not in done]
    with file:
        async with aclosing(runner.run(left)) as arriving:
            async for result in arriving:
                file.write(result)
                if time.monotonic() > until:
                    return


def is_judged(plan: Plan) -> bool:
    """Whether an arm needs a reward."""
    return issubclass(find_algorithm(plan.algorithm).settings, Judged)


async def run(arms: dict[str, Plan], folder: Folder, told: argparse.Namespace) -> None:
    """Run all that is left of the arms."""
    questions = demo_questions(told.questions, seed=1)
    files = {arm: folder.results(arm, plan, told.questions) for arm, plan in arms.items()}
    left = {arm: plan for arm, plan in arms.items() if len(files[arm].done) < len(questions)}
    if not left:
        return
    until = time.monotonic() + 60 * told.minutes
    fake = told.engine == "fake"
    engine: Engine = FakeEngine() if fake else open_engine("abacus-7m", **json.loads(told.engine))
    reward: Reward | None = None
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine)
        if any(map(is_judged, left.values())):
            reward = (
                FunctionReward(lambda partial: 0.9) if fake else open_reward("abacus-7m-reward")
            )
            await stack.enter_async_context(reward)
        for arm, plan in left.items():
            started = time.monotonic()
            many = replace(plan, programs=told.programs)
            await run_arm(many, questions, files[arm], (engine, reward), until)
            folder.took(arm, time.monotonic() - started)
            if time.monotonic() > until:
                return


def table(folder: Folder, count: int) -> list[dict[str, Any]]:
    """A row for each arm that is through, as the full budget of its algorithm is."""
    through: list[tuple[str, Arm]] = []
    based: set[str] = set()
    for arm, plan in plans().items():
        results = folder.results(arm, plan, count).all()
        if plan.policy == "fixed" and len(results) == count:
            based.add(plan.algorithm)
        if plan.algorithm in based and len(results) == count:
            one = Arm(algorithm=plan.algorithm, policy=plan.policy, results=results)
            through.append((arm, one))
    rows = []
    for (arm, _), row in zip(through, compare([one for _, one in through]), strict=True):
        low, high = (100 * (row[key] or 0) for key in ("difference_low", "difference_high"))
        rows.append(
            {
                "algorithm": row["algorithm"],
                "policy": row["policy"],
                "right": f"{100 * (row['accuracy'] or 0):.1f} %",
                "difference": f"{100 * (row['accuracy_difference'] or 0):+.1f}",
                "95 %": f"[{low:+.1f}, {high:+.1f}]",
                "net tokens": round(row["net_tokens"] / count),
                "saved": f"{100 * row['saved']:.1f} %",
                "engine s": round(folder.seconds.get(arm, 0.0), 1),
            }
        )
    return rows


def main() -> None:
    """Run what is left, then print the table of what is through."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--arms", help="algorithms or algorithm/policy, separated by commas")
    parser.add_argument("--engine", default="{}", help='vLLM\'s arguments as JSON, or "fake"')
    parser.add_argument("--programs", type=int, default=64, help="in flight at a time")
    parser.add_argument("--minutes", type=float, default=1e6, help="after which it ends by itself")
    parser.add_argument("--json", action="store_true", dest="json_out")
    told = parser.parse_args()
    arms, folder = chosen(told.arms), Folder(told.folder)
    asyncio.run(run(arms, folder, told))
    rows = table(folder, told.questions)
    if rows:
        show(f"{told.questions} questions", rows, json_out=told.json_out)


if __name__ == "__main__":
    main()
