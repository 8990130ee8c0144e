"""Search: what judging costs a tree search in time, and what checkpoints of its tree weigh.

    python -m benchmarks.search [--part reward|state|both] [--json]

reward: Rebase on real vLLM with the bundled models, against the same trees with rewards that are looked
up: both sides in one process, in turn, the same seeds, scores recorded in a first run (bar: 15 %
more wall time at most).
state: all checkpoints of a tree of 128 paths and 20 steps, as an in-memory saver holds them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import dynasor_graph as dg
from benchmarks.output import show
from dynasor_graph.demo import demo_questions
from dynasor_graph.reward import FunctionReward, Partial, Reward, Score, register_reward

SETTINGS: dict[str, Any] = {
    "policy": "fixed",
    "width": 16,
    "budget": {"concurrency": 16},
    "sampling": {"temperature": 0.7, "max_tokens": 400, "seed": 1},
}


class Recorded:
    """A reward that keeps what another one said, and can repeat it for nothing."""

    name = "recorded"

    def __init__(self, inner: Reward) -> None:
        self._inner, self._said = inner, dict[tuple[int, ...], Score]()
        self.repeats = False

    async def score(self, partials: Sequence[Partial]) -> list[Score]:
        """What the other one said."""
        keys = [(*partial.prompt, *partial.tokens) for partial in partials]
        if self.repeats and all(key in self._said for key in keys):
            return [self._said[key] for key in keys]
        scores = await self._inner.score(partials)
        self._said.update(zip(keys, scores, strict=True))
        return scores

    async def __aenter__(self) -> Recorded:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None


async def reward_rows(count: int, programs: int, repeat: int) -> list[dict[str, Any]]:
    """Rebase with the reward model and with its recorded scores, in turn."""
    questions = demo_questions(count, seed=7)
    async with dg.open_engine("abacus-7m", max_num_seqs=256) as engine, dg.open_reward() as model:
        reward = Recorded(model)

        async def once() -> tuple[float, int]:
            started, tokens = time.perf_counter(), 0
            runner = dg.Runner(
                "rebase", engine=engine, reward=reward, programs=programs, **SETTINGS
            )
            async with aclosing(runner.run(questions)) as results:
                async for result in results:
                    tokens += result.usage.generated
            return time.perf_counter() - started, tokens

        await once()  # warms up, and records
        sides: dict[str, list[tuple[float, int]]] = {"reward model": [], "looked up": []}
        for _ in range(repeat):
            for name, repeats in (("looked up", True), ("reward model", False)):
                reward.repeats = repeats
                sides[name].append(await once())
    rows: list[dict[str, Any]] = [
        {
            "side": name,
            "seconds": round(statistics.median(seconds for seconds, _ in runs), 2),
            "tokens": runs[-1][1],
            "ratio": "",
        }
        for name, runs in sides.items()
    ]
    pairs = zip(sides["reward model"], sides["looked up"], strict=True)
    ratio = statistics.median(judged[0] / free[0] for judged, free in pairs)
    return [
        *rows,
        {
            "side": "reward model / looked up (median of pairs)",
            "seconds": "",
            "tokens": "",
            "ratio": round(ratio, 3),
        },
    ]


async def state_rows(width: int, depth: int, step: int) -> list[dict[str, Any]]:
    """The size of all checkpoints of one tree, and of the last alone."""
    from langgraph.checkpoint.memory import InMemorySaver

    def line(prompt: str, request: dg.Request) -> str:
        done = prompt.partition("assistant: ")[2].count("\n")
        words = f"{request.seed}".rjust(step - 1, ".")
        return f"{words}\n" if done + 1 < depth else "\\boxed{4}"

    rows = []
    algorithm = dg.find_algorithm("rebase")
    rng = random.Random(0)
    async with dg.FakeEngine(line, context=100_000) as engine:
        dg.register("state", engine)
        register_reward("state", FunctionReward(lambda partial: rng.random(), name="random"))
        context = algorithm.settings.model_validate(
            {
                "engine": "state",
                "reward": "state",
                "policy": "fixed",
                "width": width,
                "sampling": {"seed": 1, "max_tokens": 50_000},
                "budget": {"concurrency": 64},
            }
        )
        for durability in ("async", "exit"):
            saver = InMemorySaver()
            graph = algorithm.compile(checkpointer=saver)
            started = time.perf_counter()
            state = await graph.ainvoke(
                {"question": "q"},
                {"configurable": {"thread_id": durability}, "recursion_limit": 200},
                context=context,
                durability=durability,
            )
            blobs = [len(blob[1]) for blob in saver.blobs.values()]
            writes = sum(len(w[2][1]) for ws in saver.writes.values() for w in ws.values())
            rows.append(
                {
                    "durability": durability,
                    "steps": len(state["nodes"]),
                    "tokens": sum(len(node["tokens"]) for node in state["nodes"]),
                    "checkpoints": sum(
                        1 for _ in saver.list({"configurable": {"thread_id": durability}})
                    ),
                    "MB": round(sum(blobs) / 1e6, 2),
                    "largest MB": round(max(blobs) / 1e6, 2),
                    "pending MB": round(writes / 1e6, 2),
                    "seconds": round(time.perf_counter() - started, 2),
                }
            )
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", choices=["reward", "state", "both"], default="both")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--programs", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if args.part != "reward":
        found = asyncio.run(state_rows(128, 20, 20))
        rows += found
        if not args.json:
            show("checkpoints of a tree, 128 wide, 20 deep", found, json_out=False)
    if args.part != "state":
        found = asyncio.run(reward_rows(args.questions, args.programs, args.repeat))
        rows += found
        if not args.json:
            show(f"judging in Rebase, {args.questions} questions", found, json_out=False)
    if args.json:
        show("search", rows, json_out=True)


if __name__ == "__main__":
    main()
