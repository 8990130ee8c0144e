"""Overhead: the same requests through graph and executor, and straight to vLLM's AsyncLLM.

    python -m benchmarks.overhead [--part engine|executor|both] [--json]
    python -m benchmarks.overhead --part engine --model FOLDER --dummy --in-flight 64 256 1024

engine: real vLLM, the bundled model or any other; graph, executor and scheduler against a bare loop over
AsyncLLM, in one process, in turn, the same seeds, the same number in flight (bar: tokens/s ratio at
least 0.97). With --dummy the folder is one of `benchmarks.shape`, and every branch takes all --tokens;
with --sleeping nothing is computed, and a step takes as long as a GPU's: what Python costs, anywhere.
"ms_of_cpu" is what this process, vLLM's front end in it, takes for a branch.
--ahead 1 1.5 are two ways to run them: as many programs as fill the places, and half as many again,
whose requests wait in the scheduler. --spread 0 0.5 are two kinds of branches: all of one length, so
that all that run end in the same step, and from half to one and a half of it, as told beforehand.
executor: the scripted engine, 1,000 branches in flight; CPU time of one branch through graph and
executor, less what the scripted engine itself costs (bar: 1 ms).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import time
from contextlib import aclosing
from typing import Any, NamedTuple

import dynasor_graph as dg
from benchmarks.output import show
from benchmarks.shape import ENGINE_ARGS
from benchmarks.steps import Record
from dynasor_graph.demo import demo_questions
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.scheduler import Scheduled

BRANCHES = 20


def settings(window: int, tokens: int = 300, branches: int = BRANCHES) -> dict[str, Any]:
    """Full budget: nothing is stopped, so that both sides generate the same."""
    return {
        "policy": "fixed",
        "branches": branches,
        "budget": {"concurrency": window},
        "sampling": {"temperature": 0.7, "max_tokens": tokens, "seed": 1},
    }


class Told:
    """An engine that passes everything through, keeps the requests, and says how long they are.

    Attributes:
        spread: Lengths are drawn, by the request's seed, from `tokens` less and more this share of it.
        requests: All that came, until it is set to None.
    """

    def __init__(self, inner: Any, tokens: int) -> None:
        self.inner, self.tokens = inner, tokens
        self.spread = 0.0
        self.requests: list[dg.Request] | None = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def tell(self, request: dg.Request) -> None:
        """Set its length."""
        part = random.Random(request.seed).uniform(-self.spread, self.spread)
        request.max_tokens = round(self.tokens * (1 + part))

    def stream(self, request: dg.Request) -> Any:
        self.tell(request)
        if self.requests is not None:
            self.requests.append(request)
        return self.inner.stream(request)


class Way(NamedTuple):
    """How programs are run.

    Attributes:
        ahead: Programs begun, by those that fill the places.
        gather: Seconds for which the scheduler gathers free places; None: what the engine says.
    """

    ahead: float
    gather: float | None

    def __str__(self) -> str:
        told = "" if self.gather is None else f", gather {1e3 * self.gather:g} ms"
        return f"graph, ahead {self.ahead:g}{told}"


async def through_graph(
    engine: Any, questions: list[dg.Question], programs: int, how: dict[str, Any], way: Way
) -> tuple[int, float]:
    """Tokens and seconds of all questions through LangGraph, the executor and the scheduler."""
    places = programs * how["budget"]["concurrency"]
    behind = Scheduled(engine, "sjf", limit=places, gather=way.gather)
    runner = dg.Runner(engine=behind, programs=round(programs * way.ahead), **how)
    started, tokens = time.perf_counter(), 0
    async with aclosing(runner.run(questions)) as results:
        async for result in results:
            tokens += result.usage.generated
    return tokens, time.perf_counter() - started


async def straight(
    engine: VllmEngine, requests: list[dg.Request], places: int
) -> tuple[int, float]:
    """The same requests straight to AsyncLLM, in its own loop: the next one as soon as one ends."""
    from vllm.inputs import tokens_input

    from dynasor_graph.engine.vllm import _sampling_params

    tokens = 0

    async def one(request: dg.Request, slots: asyncio.Semaphore) -> None:
        nonlocal tokens
        async with slots:
            prompt = tokens_input(list(request.tokens))
            name = f"bare-{id(request)}-{time.perf_counter_ns()}"
            params = _sampling_params(request)
            async for output in engine._llm.generate(prompt, params, request_id=name):
                tokens += len(output.outputs[0].token_ids)

    async def everything() -> None:
        slots = asyncio.Semaphore(places)
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(one(request, slots))

    started = time.perf_counter()
    await engine._own.run(everything())
    return tokens, time.perf_counter() - started


def opened(options: argparse.Namespace) -> VllmEngine:
    """The engine that was asked for, not yet open."""
    most = max(options.in_flight)
    if options.sleeping:
        from benchmarks.sleeping import SleepingEngine

        return SleepingEngine(
            options.model, max_num_seqs=most, thread=options.thread, hurry=options.hurry
        )
    arguments = ENGINE_ARGS if options.dummy else {}
    return VllmEngine(options.model, max_num_seqs=most, thread=options.thread, **arguments)


async def engine_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """For each number in flight both sides in turn, and the ratio of their speeds."""
    rows: list[dict[str, Any]] = []
    async with opened(options) as engine:
        if options.switch:
            sys.setswitchinterval(options.switch)
        record = Record(engine) if options.steps else None
        for number, in_flight in enumerate(options.in_flight):
            repeat, rounds = _of(options.repeat, number), _of(options.rounds, number)
            window = min(options.window, in_flight)
            programs = in_flight // window
            count = max(options.questions, rounds * programs)
            fixed = options.dummy or options.sleeping
            most = round(options.tokens * (1 + max(options.spread)))
            how = settings(window, most, window if fixed else BRANCHES)
            rows += await _pairs(engine, count, programs, how, options, repeat, record)
    return rows


def _of(told: list[int], number: int) -> int:
    """That of a number in flight, or the last that was told."""
    return told[min(number, len(told) - 1)]


async def _pairs(
    engine: VllmEngine,
    count: int,
    programs: int,
    how: dict[str, Any],
    options: argparse.Namespace,
    repeat: int,
    record: Record | None,
) -> list[dict[str, Any]]:
    questions = demo_questions(count, seed=7)
    told = Told(engine, options.tokens)
    await through_graph(told, questions, programs, how, Way(1.0, 0.0))  # warms up
    requests, told.requests = told.requests or [], None
    places = programs * how["budget"]["concurrency"]
    rows: list[dict[str, Any]] = []
    ways = [None, *itertools.starmap(Way, itertools.product(options.ahead, options.gather))]
    for told.spread in options.spread:
        for request in requests:
            told.tell(request)
        found: dict[Way | None, list[tuple[int, float, float]]] = {way: [] for way in ways}
        for turn in range(repeat):  # forth and back: a machine that gets slower does so for all
            for way in reversed(ways) if turn % 2 else ways:
                if record is not None:
                    record.start()
                before = time.process_time()
                if way is None:
                    tokens, seconds = await straight(engine, requests, places)
                else:
                    tokens, seconds = await through_graph(told, questions, programs, how, way)
                found[way].append((tokens, seconds, time.process_time() - before))
                about = f"a prompt {1e3 * engine.surcharge:.2f} ms; {record or ''}"
                sys.stderr.write(
                    f"{places} in flight, spread {told.spread:g}, {way or 'straight'}: "
                    f"{tokens:,} tokens, {seconds:.3f} s, {tokens / seconds:,.0f}/s; {about}\n"
                )
        same = {"in_flight": places, "spread": told.spread}
        branches = repeat * len(requests)
        rows += [
            {"side": str(way or "straight"), **same} | _row(runs, found[None], branches)
            for way, runs in found.items()
        ]
    return rows


def _row(
    runs: list[tuple[int, float, float]], straight: list[tuple[int, float, float]], branches: int
) -> dict[str, Any]:
    tokens, seconds, cpu = (sum(column) for column in zip(*runs, strict=True))
    ratios = [
        (its / own) * (made / its_made)
        for (its_made, its, _), (made, own, _) in zip(straight, runs, strict=True)
    ]
    return {
        "tokens": int(tokens),
        "seconds": round(seconds, 2),
        "tokens_per_s": round(tokens / seconds),
        "ms_of_cpu": round(1e3 * cpu / branches, 3),
        "ratio": round(statistics.median(ratios), 3),
        "pairs": " ".join(f"{ratio:.3f}" for ratio in ratios),
    }


async def executor_rows(in_flight: int, window: int) -> list[dict[str, Any]]:
    """CPU of one branch at `in_flight`, with and without graph and executor."""
    reply = "Let me see. " * 20 + "The answer is \\boxed{4}."
    questions = [dg.Question(id=str(i), text=f"{i} + 1?") for i in range(2 * in_flight // window)]
    rows: list[dict[str, Any]] = []
    async with dg.FakeEngine([reply]) as engine:
        prompt = tuple(await engine.render([{"role": "user", "content": "1 + 1?"}]))
        for side in ("scripted engine alone", "graph + executor"):
            started, done = time.process_time(), 0
            if side == "graph + executor":
                runner = dg.Runner(engine=engine, programs=in_flight // window, **settings(window))
                async with aclosing(runner.run(questions)) as results:
                    async for result in results:
                        done += result.branches
            else:
                slots = asyncio.Semaphore(in_flight)

                async def one(slots: asyncio.Semaphore = slots) -> None:
                    async with slots:
                        await dg.complete(engine, dg.Request(tokens=prompt, max_tokens=300))

                async with asyncio.TaskGroup() as group:
                    for _ in range(len(questions) * BRANCHES):
                        group.create_task(one())
                done = len(questions) * BRANCHES
            cpu = time.process_time() - started
            rows.append(
                {"side": side, "in_flight": in_flight, "branches": done, "cpu_ms": 1e3 * cpu / done}
            )
    own = rows[1]["cpu_ms"] - rows[0]["cpu_ms"]
    rows.append(
        {
            "side": "graph + executor, own share",
            "in_flight": in_flight,
            "branches": "",
            "cpu_ms": own,
        }
    )
    return [{**row, "cpu_ms": round(row["cpu_ms"], 3)} for row in rows]


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--part", choices=("engine", "executor", "both"), default="both")
    parser.add_argument("--model", default="abacus-7m")
    parser.add_argument("--dummy", action="store_true", help="the folder has no weights")
    parser.add_argument("--sleeping", action="store_true", help="steps that compute nothing")
    parser.add_argument("--hurry", type=float, default=1.0, help="so many times as fast")
    parser.add_argument(
        "--ahead",
        type=float,
        nargs="+",
        default=[1.0],
        help="programs begun, by those that fill the places",
    )
    parser.add_argument(
        "--gather",
        type=lambda text: None if text == "engine" else float(text),
        nargs="+",
        default=[None],
        help="seconds for which the scheduler gathers free places; `engine`: what the engine says",
    )
    parser.add_argument(
        "--spread",
        type=float,
        nargs="+",
        default=[0.0],
        help="lengths differ by this share of --tokens; 0: all end in the same step",
    )
    parser.add_argument("--thread", action="store_true", help="vLLM has a thread of its own")
    parser.add_argument("--steps", action="store_true", help="tell how full the engine was")
    parser.add_argument("--switch", type=float, help="Python's switch interval, in seconds")
    parser.add_argument("--questions", type=int, default=32, help="at least")
    parser.add_argument(
        "--rounds",
        type=int,
        nargs="+",
        default=[2],
        help="of programs, one after the other, for each number in flight",
    )
    parser.add_argument("--in-flight", type=int, nargs="+", default=[64])
    parser.add_argument("--window", type=int, default=4, help="of them, of one program")
    parser.add_argument("--tokens", type=int, default=300, help="most of a branch")
    parser.add_argument(
        "--repeat", type=int, nargs="+", default=[3], help="pairs, for each number in flight"
    )
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.part != "engine":
        rows += asyncio.run(executor_rows(1000, 8))
    if options.part != "executor":
        rows += asyncio.run(engine_rows(options))
    if options.json_out:
        show("overhead", rows, json_out=True)
        return
    for columns in ("cpu_ms", "tokens_per_s"):
        part = [row for row in rows if columns in row]
        if part:
            show(f"overhead: {columns}", part, json_out=False)


if __name__ == "__main__":
    main()
