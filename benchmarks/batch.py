"""Batch: all algorithms under all policies on the bundled models, at scale: accuracy, tokens, seconds.

    python -m benchmarks.batch FOLDER [--questions 2000] [--arms rebase,cot/fixed,...] [--engine ENGINE]
                                      [--engines 1] [--gpus 1] [--programs 64] [--minutes 9]
                                      [--fitted self_consistency=FILE ...] [--json]

Each arm is an algorithm with a policy; the first of an algorithm spends the full budget and is what its
others are compared with, question by question. Results go to FOLDER as they come, and the same command
goes on where it was ended (`--minutes` ends it by itself, after the question that is under way), so that
a machine may be had for some minutes at a time. With a model this small Python is the limit, not the
GPU: `--engines 6` runs six engines side by side, each a process with its share of the questions
and `--programs` of its own, on `--gpus` in turn. "GPU s" is for how long the arm had one GPU for
itself: the seconds of all its engines by the engines on a GPU. `--fitted` adds an arm that stops by a
policy file of `dynasor-graph calibrate` (searches as-needed: as wide as it is expected to need).
Without anything left to run the table alone is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing as mp
import os
import sys
import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.output import show
from dynasor_graph.algorithms import find_algorithm
from dynasor_graph.calibration import read_policy_file
from dynasor_graph.comparison import Arm, compare
from dynasor_graph.demo import PLANS, Plan, demo_questions, start_cold
from dynasor_graph.engine import Engine, FakeEngine, open_engine
from dynasor_graph.executor import Judged
from dynasor_graph.questions import Question
from dynasor_graph.results import Result, ResultsFile
from dynasor_graph.reward import FunctionReward, Reward, open_reward
from dynasor_graph.runner import Runner

SEARCHES = ("rebase", "mcts", "beam", "dvts", "particle_filter")
MORE = {
    "self_consistency": ("beta-as-needed",),
    "cot": ("probe-confidence",),
    **dict.fromkeys(("best_of_n", *SEARCHES), ("beta",)),
}
"""Policies beside those of the demo."""


REWARD_TOO = ("gpu_memory_utilization", "kv_cache_memory_bytes", "thread")
"""Arguments of the engine that hold for the reward model beside it, too."""


def plans(fitted: list[str]) -> dict[str, Plan]:
    """All arms by name, `algorithm/policy`; of each algorithm the full budget first.

    Args:
        fitted: `algorithm=FILE`, with the policy of an arm `algorithm/fitted`.
    """
    files = dict(told.split("=", 1) for told in fitted)
    found: dict[str, Plan] = {}
    for name, some in PLANS.items():
        for plan in [*some, *(replace(some[0], policy=policy) for policy in MORE.get(name, ()))]:
            found[f"{name}/{plan.policy}"] = plan
        if name in files and name in SEARCHES:  # a level's paths end together: begin with few
            policy = f"as-needed:policy={files[name]}"
            found[f"{name}/fitted"] = replace(some[0], policy=policy)
        elif name in files:
            vote = read_policy_file(Path(files[name])).belongs_to.vote
            settings = {**some[0].settings, "vote": vote}
            found[f"{name}/fitted"] = replace(some[0], policy=files[name], settings=settings)
    return found


def chosen(everything: dict[str, Plan], told: str | None) -> dict[str, Plan]:
    """The arms that a list names, in its order: algorithms whole, or `algorithm/policy`."""
    if told is None:
        return everything
    found = {
        arm: everything[arm]
        for name in told.split(",")
        for arm in everything
        if name.strip() in (arm, arm.partition("/")[0])
    }
    if not found:
        raise SystemExit(f"--arms: there are {', '.join(everything)}")
    return found


class Folder:
    """Where results are kept: a folder for each engine, and in it the seconds of each arm."""

    def __init__(self, path: Path, questions: int) -> None:
        self._path, self._questions = path, questions

    def file(self, arm: str, plan: Plan, engine: int) -> ResultsFile:
        """What one engine found for an arm."""
        run = {"algorithm": plan.algorithm, "policy": plan.policy, "questions": self._questions}
        run |= {"settings": dict(plan.settings)}
        name = arm.replace("/", "-").replace(":", "-")
        return ResultsFile(self._path / str(engine) / f"{name}.jsonl", run, resume=True)

    def results(self, arm: str, plan: Plan) -> list[Result]:
        """What all engines found for an arm, in order."""
        found = [result for i in self._engines() for result in self.file(arm, plan, i).done]
        return sorted(found, key=lambda result: result.id)

    def seconds(self, arm: str) -> float:
        """Seconds that an arm had all of the GPU."""
        return sum(self._clock(i).get(arm, 0.0) for i in self._engines())

    def took(self, arm: str, engine: int, seconds: float) -> None:
        """Note more of them."""
        clock = self._clock(engine)
        clock[arm] = clock.get(arm, 0.0) + seconds
        (self._path / str(engine) / "seconds.json").write_text(json.dumps(clock))

    def _engines(self) -> list[int]:
        return sorted(int(own.name) for own in self._path.glob("[0-9]*"))

    def _clock(self, engine: int) -> dict[str, float]:
        path = self._path / str(engine) / "seconds.json"
        clock: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        return clock


async def run_arm(
    plan: Plan,
    questions: list[Question],
    file: ResultsFile,
    models: tuple[Engine, Reward | None],
    until: float,
) -> None:
    """Run an arm, or as much of it as there is time for."""
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
    with file:
        async with aclosing(runner.run(questions)) as arriving:
            async for result in arriving:
                file.write(result)
                if time.time() > until:
                    return


def is_judged(plan: Plan) -> bool:
    """Whether an arm needs a reward."""
    return issubclass(find_algorithm(plan.algorithm).settings, Judged)


Left = dict[str, tuple[Plan, list[Question]]]
"""Questions that an arm has still to answer."""


def left_of(arms: dict[str, Plan], folder: Folder, count: int) -> Left:
    """All that is left of the arms."""
    questions = demo_questions(count, seed=1)
    left: Left = {}
    for arm, plan in arms.items():
        done = {result.id for result in folder.results(arm, plan)}
        if some := [question for question in questions if question.id not in done]:
            left[arm] = (plan, some)
    return left


async def run(
    left: Left, folder: Folder, told: argparse.Namespace, number: int, ready: Any
) -> None:
    """Run on one engine its share of what is left; `number` is the engine's."""
    fake = told.engine == "fake"
    arguments = {} if fake else json.loads(told.engine)
    engine: Engine = FakeEngine() if fake else open_engine("abacus-7m", **arguments)
    reward: Reward | None = None
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine)
        ready.set()
        if any(is_judged(plan) for plan, _ in left.values()):
            like = {key: arguments[key] for key in REWARD_TOO if key in arguments}
            reward = FunctionReward(lambda partial: 0.9) if fake else open_reward(**like)
            await stack.enter_async_context(reward)
        for arm, (plan, questions) in left.items():
            await start_cold(engine, reward)
            started = time.monotonic()
            many = replace(plan, programs=told.programs)
            share = questions[number :: told.engines]
            file = folder.file(arm, plan, number)
            await run_arm(many, share, file, (engine, reward), told.until)
            seconds = time.monotonic() - started
            folder.took(arm, number, seconds * told.gpus / told.engines)
            sys.stderr.write(f"engine {number}: {arm} {len(share)} in {seconds:.1f} s\n")
            if time.time() > told.until:
                return


def work(left: Left, folder: Folder, told: argparse.Namespace, number: int, ready: Any) -> None:
    """The process of one engine."""
    if told.gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % told.gpus)
    asyncio.run(run(left, folder, told, number, ready))


def run_all(left: Left, folder: Folder, told: argparse.Namespace) -> None:
    """Start the engines, the others after the first: it has compiled for them."""
    spawn = mp.get_context("spawn")
    started, ready = [], spawn.Event()
    for number in range(told.engines):
        process = spawn.Process(target=work, args=(left, folder, told, number, ready))
        process.start()
        started.append(process)
        while number == 0 and process.is_alive() and not ready.wait(1.0):
            pass
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise SystemExit("an engine ended with an error: the same command goes on where it was")


def table(folder: Folder, everything: dict[str, Plan], count: int) -> list[dict[str, Any]]:
    """A row for each arm that is through, as the full budget of its algorithm is."""
    through: list[tuple[str, Arm]] = []
    based: set[str] = set()
    for arm, plan in everything.items():
        results = folder.results(arm, plan)
        if plan.policy == "fixed" and len(results) == count:
            based.add(plan.algorithm)
        if plan.algorithm in based and len(results) == count:
            policy = arm.partition("/")[2]
            one = Arm(algorithm=plan.algorithm, policy=policy, results=results)
            through.append((arm, one))
    rows = []
    full: dict[str, bool] = {}  # question -> whether its algorithm's full budget is right
    for (arm, one), row in zip(through, compare([one for _, one in through]), strict=True):
        if one.policy == "fixed":
            full = {result.id: bool(result.correct) for result in one.results}
        changed = [bool(result.correct) - full[result.id] for result in one.results]
        low, high = (100 * (row[key] or 0) for key in ("difference_low", "difference_high"))
        rows.append(
            {
                "algorithm": row["algorithm"],
                "policy": row["policy"],
                "right": f"{100 * (row['accuracy'] or 0):.1f} %",
                "difference": f"{100 * (row['accuracy_difference'] or 0):+.1f}",
                "95 %": f"[{low:+.1f}, {high:+.1f}]",
                "worse": changed.count(-1),
                "better": changed.count(1),
                "net tokens": round(row["net_tokens"] / count),
                "rewards": round(sum(result.usage.reward for result in one.results) / count),
                "rounds": f"{sum(result.rounds for result in one.results) / count:.1f}",
                "saved": f"{100 * row['saved']:.1f} %",
                "GPU s": round(folder.seconds(arm), 1),
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
    parser.add_argument("--engines", type=int, default=1, help="side by side, a process each")
    parser.add_argument("--gpus", type=int, default=1, help="that the engines are spread over")
    parser.add_argument("--programs", type=int, default=64, help="in flight in each engine")
    parser.add_argument(
        "--fitted", nargs="*", default=[], metavar="ALGORITHM=FILE", help="of calibrate: more arms"
    )
    parser.add_argument("--minutes", type=float, default=1e6, help="after which it ends by itself")
    parser.add_argument("--json", action="store_true", dest="json_out")
    told = parser.parse_args()
    told.until = time.time() + 60 * told.minutes
    folder = Folder(told.folder, told.questions)
    everything = plans(told.fitted)
    if left := left_of(chosen(everything, told.arms), folder, told.questions):
        run_all(left, folder, told)
    rows = table(folder, everything, told.questions)
    if rows:
        show(f"{told.questions} questions", rows, json_out=told.json_out)


if __name__ == "__main__":
    main()
