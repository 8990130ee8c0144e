"""Probing: what probes cost the chains beside which they run, by their interval.

    python -m benchmarks.probing [--model FOLDER --dummy] [--chains 64] [--intervals 64 128 256]

Chains of thought of a fixed length, all at once, on one vLLM: without probes, then probed every so many
tokens, nothing stopped. "speed" is tokens of thought a second against no probing; "computed" and
"cached" are what the prompts of probes took and what of them was found in the prefix cache. The folder
is one of `benchmarks.shape`: random weights never end a thought.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import aclosing
from typing import Any

from benchmarks.output import show
from benchmarks.shape import ENGINE_ARGS
from dynasor_graph.budget import Usage
from dynasor_graph.demo import demo_questions
from dynasor_graph.engine import Engine
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.questions import Question
from dynasor_graph.runner import Runner

NEVER = "probe-consistency:window=100000"
"""Looks at every probe, and never stops."""


async def chains(
    engine: Engine, questions: list[Question], tokens: int, interval: int
) -> tuple[Usage, float]:
    """What all chains took together, and the seconds."""
    runner = Runner(
        "cot",
        engine=engine,
        programs=len(questions),
        policy=NEVER if interval else "fixed",
        interval=interval or 64,
        answer_tokens=1,
        sampling={"max_tokens": tokens, "temperature": 1.0},
    )
    used, started = Usage(), time.perf_counter()
    async with aclosing(runner.run(questions)) as results:
        async for result in results:
            used += result.usage
    return used, time.perf_counter() - started


async def rows(engine: Engine, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each interval; the first is without."""
    questions = demo_questions(options.chains, seed=3)
    await chains(engine, questions, min(256, options.tokens), 64)  # warms up
    table: list[dict[str, Any]] = []
    base = 0.0
    for repeat in range(options.repeat):
        for interval in (0, *options.intervals):
            # Other texts each time: nothing is to be found in the cache but its own.
            asked = [Question(id=q.id, text=f"{repeat}/{interval}: {q.text}") for q in questions]
            used, seconds = await chains(engine, asked, options.tokens, interval)
            speed = used.main / seconds
            base = base if interval else speed
            prompts = used.probe_prefill + used.probe_cached
            table.append(
                {
                    "interval": interval or "none",
                    "thought": used.main,
                    "seconds": round(seconds, 2),
                    "tokens/s": round(speed),
                    "speed": f"{speed / base:.3f}",
                    "said by probes": used.probe,
                    "computed": used.probe_prefill,
                    "cached, %": f"{100 * used.probe_cached / prompts:.1f}" if prompts else "",
                }
            )
    return table


async def _run(options: argparse.Namespace) -> list[dict[str, Any]]:
    arguments = ENGINE_ARGS if options.dummy else {}
    seats = options.seats or 2 * options.chains
    async with VllmEngine(options.model, max_num_seqs=seats, **arguments) as engine:
        return await rows(engine, options)


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="abacus-7m")
    parser.add_argument("--dummy", action="store_true", help="the folder has no weights")
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--seats", type=int, help="max_num_seqs; by default two for each chain")
    parser.add_argument("--tokens", type=int, default=2048, help="of thought")
    parser.add_argument("--intervals", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    show("probing", asyncio.run(_run(options)), json_out=options.json_out)


if __name__ == "__main__":
    main()
