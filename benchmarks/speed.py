"""Speed: what a step of an engine takes, measured and fitted, for the simulated engine.

    python -m benchmarks.speed [--engine abacus-7m] [-o speed.json] [--repeat 3] [--json]

Of an engine in this process the steps themselves are recorded, while requests come one after the other
at several sizes of the batch. Of a server: batches of 1, 2, 4, ... requests at once, with prompts of
several lengths, new ones and the same again, which are in the prefix cache; repeats are added up. Prints
what the fit says beside what was measured. --engine is what `dynasor_graph.open_engine` takes: a model,
or the URL of a server. Of an engine in this process the limits are read; of a server give them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.output import show
from benchmarks.steps import Record
from dynasor_graph.engine import Engine, complete, open_engine
from dynasor_graph.engine.vllm import VllmEngine
from dynasor_graph.simulation import Speed
from dynasor_graph.simulation.fit import MIXED, TERMS, Measured, added_up, fit_speed
from dynasor_graph.types import JSON, Request

LENGTHS = (32, 256, 1024)
STEPS_LENGTHS = (32, 512)


class Shape(NamedTuple):
    """A batch: how many requests, how long their prompts, how many tokens each makes."""

    size: int
    prompt: int
    tokens: int


def shapes(most: int, longest: int, lengths: Sequence[int]) -> list[Shape]:
    """What to measure: decoding by size and by length of the context, and prompts alone."""
    sizes = [1 << i for i in range(most.bit_length())]
    lengths = [n for n in lengths if n + 64 <= longest]
    # Programs spend their time decoding, at a few hundred tokens each: most batches are of these.
    found = [Shape(size, n, 64) for every, n in enumerate(lengths, 1) for size in sizes[::every]]
    found += [Shape(size, n, 1) for n in lengths for size in sizes[::3] if size * n <= 16_384]
    return found


async def prompts(engine: Engine, shape: Shape, rng: random.Random) -> list[tuple[int, ...]]:
    """As many prompts as the batch has requests: nothing of them was seen before."""
    found = []
    for _ in range(shape.size):
        text = " ".join(str(rng.randrange(10, 100)) for _ in range(shape.prompt))
        found.append(tuple(await engine.encode(text))[: shape.prompt])
    return found


async def batch(
    engine: Engine, name: str, tokens: Sequence[tuple[int, ...]], most: int, batched: int
) -> Measured:
    """Run a batch at once, and count what it took."""
    requests = [Request(tokens=one, max_tokens=most, temperature=1.0) for one in tokens]
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(complete(engine, request)) for request in requests]
    seconds = time.perf_counter() - started
    done = [task.result() for task in tasks]
    counted = [
        (len(one), whole.cached, whole.tokens) for one, whole in zip(tokens, done, strict=True)
    ]
    return Measured.of(name, seconds, counted, batched)


async def measure(
    engine: Engine,
    *,
    most: int,
    batched: int,
    repeat: int = 1,
    lengths: Sequence[int] = LENGTHS,
    seed: int = 1,
) -> list[Measured]:
    """Batches of all shapes; each is run twice, and is cached the second time."""
    rng = random.Random(seed)
    found = []
    for _ in range(repeat):  # a bad minute of the machine then spoils one of each, not all of one
        for shape in shapes(most, min(engine.context, batched), lengths):
            tokens = await prompts(engine, shape, rng)
            for again in ("", " again"):
                name = f"{shape.size} x ({shape.prompt} + {shape.tokens}){again}"
                found.append(await batch(engine, name, tokens, shape.tokens, batched))
    return found


async def measure_steps(engine: VllmEngine, most: int, seed: int = 2) -> list[Measured]:
    """Steps of vLLM in this process, sixteen at a time, under loads of all sizes.

    So many requests of 64 to 256 tokens that three times as many end and begin as are under way: at once
    in the beginning, then one by one, as a server has them; for two lengths of prompts.
    """
    rng, record, found = random.Random(seed), Record(engine), list[Measured]()

    async def one(tokens: tuple[int, ...], most: int, slots: asyncio.Semaphore) -> None:
        async with slots:
            await complete(engine, Request(tokens=tokens, max_tokens=most, temperature=1.0))

    for size in sorted({max(1, most >> less) for less in range(0, 8, 2)}):
        for prompt in STEPS_LENGTHS:
            slots = asyncio.Semaphore(size)
            asked = await prompts(engine, Shape(3 * size, prompt, 0), rng)
            record.start()
            async with asyncio.TaskGroup() as group:
                for tokens in asked:
                    group.create_task(one(tokens, rng.randint(64, 256), slots))
            found += record.measured(f"{size} x ({prompt} + 64 to 256)")
    record.stop(engine)
    return found


def limits_of(engine: Any, given: JSON) -> JSON:
    """The fields of a Speed that are not times: as given, else as vLLM in this process says."""
    known: JSON = {"block": engine.block}
    config = getattr(getattr(engine, "_llm", None), "vllm_config", None)
    if config is not None:
        scheduler, cache = config.scheduler_config, config.cache_config
        known |= {
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "chunked_prefill": bool(scheduler.enable_chunked_prefill),
        }
        if cache.num_gpu_blocks:
            known["kv_tokens"] = cache.num_gpu_blocks * cache.block_size
    return known | {name: value for name, value in given.items() if value is not None}


def source_of(engine: Engine) -> str:
    """What was measured and when."""
    return f"{engine.model}, {datetime.now(UTC):%Y-%m-%d}, python -m benchmarks.speed"


def rows_of(speed: Speed, measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Each batch, its repeats and parts added up: measured, and as the fit has it."""
    measured = [replace(one, name=one.name.partition(", part")[0]) for one in measured]
    return [
        {
            "batch": one.name,
            "tokens": one.sequences,
            "prompt tokens": one.prompt_tokens,
            "measured, ms": f"{1e3 * one.seconds:.1f}",
            "fitted, ms": f"{1e3 * one.predicted(speed):.1f}",
            "ratio": f"{one.predicted(speed) / one.seconds:.2f}",
        }
        for one in added_up(measured)
    ]


async def measured_speed(
    engine: Engine, given: JSON, *, most: int, repeat: int = 1
) -> tuple[Speed, list[Measured]]:
    """The speed of an open engine, and what it is fitted to: steps, if it is vLLM here, or batches."""
    limits = limits_of(engine, given)
    whole = Speed(fixed=1.0, **limits)
    most, batched = min(most, whole.max_num_seqs), whole.max_num_batched_tokens
    await measure(engine, most=min(4, most), batched=batched, seed=0)  # warms up
    if isinstance(engine, VllmEngine):
        found = [one for seed in range(repeat) for one in await measure_steps(engine, most, seed)]
        terms: tuple[str, ...] = (*TERMS, *MIXED)
    else:
        found = await measure(engine, most=most, batched=batched, repeat=repeat)
        terms = TERMS
    return fit_speed(found, terms=terms, source=source_of(engine), **limits), found


async def _run(options: argparse.Namespace) -> tuple[Speed, list[Measured]]:
    given = {
        name: getattr(options, name)
        for name in ("max_num_seqs", "max_num_batched_tokens", "kv_tokens", "block")
    }
    async with open_engine(options.engine) as engine:
        return await measured_speed(engine, given, most=options.most, repeat=options.repeat)


def main() -> None:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="abacus-7m")
    parser.add_argument("--most", type=int, default=256, help="requests in the largest batch")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--max-num-seqs", type=int)
    parser.add_argument("--max-num-batched-tokens", type=int)
    parser.add_argument("--kv-tokens", type=int)
    parser.add_argument("--block", type=int)
    parser.add_argument("-o", "--output", type=Path, help="where to write the speed as JSON")
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    speed, measured = asyncio.run(_run(options))
    if options.output:
        speed.write(options.output)
    show("speed: batches", rows_of(speed, measured), json_out=options.json_out)
    if not options.json_out:
        print(speed.model_dump_json(indent=2))


if __name__ == "__main__":
    main()
