"""Behaviour: whether Certaindex over what programs do tells whether the majority's program is right.

    python -m benchmarks.behaviour --seed 0

Nobody recorded these programs: they are variants of known solutions, right and wrong (`variants`). A
question is a task with a rate of right programs of its own, so that there are easy and hard ones; its
programs are drawn at this rate, the wrong ones in proportion to how often a mistake comes about. They
vote by what they do on a few inputs (`--inputs`); right is what agrees with the solution on these and
`--hidden` others. "AUC" is how often Certaindex is higher for a question whose leader is right than for
one whose leader is wrong; certain means that it is at least 0.6.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from benchmarks.output import show
from benchmarks.variants import TASKS, arguments, mutant
from dynasor_graph.answers import Behaviour
from dynasor_graph.certaindex import entropy_certaindex

CERTAIN = 0.6
RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Variant:
    """A program: what it does on each input, and whether it is right."""

    does: tuple[str, ...] | None
    right: bool


async def variants(task: str, count: int, inputs: int, hidden: int, seed: int) -> list[Variant]:
    """Programs of a task, each run on all inputs once."""
    draw = random.Random(f"{task} {seed}")
    all_inputs = arguments(task, inputs + hidden, draw)
    kind = Behaviour(
        inputs=tuple(map(tuple, all_inputs)), function="f", seconds=0.1, total_seconds=1
    )
    wanted = await kind.gold(TASKS[task][1])
    assert wanted is not None
    sources = [mutant(task, draw.choice([0, 1, 1, 2]), draw) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        forms = [group.create_task(kind.form(source)) for source in sources]
    return [Variant(task.result(), task.result() == wanted) for task in forms]


@dataclass(frozen=True)
class Question:
    """One question's vote: its Certaindex, and whether the leading program is right."""

    certaindex: float
    right: bool


def vote(drawn: Sequence[Variant], inputs: int) -> Question:
    """The vote on the first inputs; a program that fails on all of these gives none."""
    does = [one.does and one.does[:inputs] for one in drawn]
    keys = [one if one and any(told[0] == "=" for told in one) else None for one in does]
    counts = Counter(key for key in keys if key is not None)
    if not counts:
        return Question(0.0, False)
    leader = max(counts, key=counts.__getitem__)
    empty = len(drawn) - sum(counts.values())
    certaindex = entropy_certaindex(list(counts.values()), empty)
    return Question(certaindex, drawn[keys.index(leader)].right)


def row(inputs: int, questions: Sequence[Question], rates: Sequence[float]) -> dict[str, float]:
    """What votes on so many inputs come to."""
    settled = [one.certaindex for one in questions]
    right = [one.right for one in questions]
    of_right = [at for at, is_right in zip(settled, right, strict=True) if is_right]
    of_wrong = [at for at, is_right in zip(settled, right, strict=True) if not is_right]
    above = stats.mannwhitneyu(of_right, of_wrong).statistic / (len(of_right) * len(of_wrong))
    certain = [one.right for one in questions if one.certaindex >= CERTAIN]
    return {
        "inputs": inputs,
        "Spearman, right": round(float(stats.spearmanr(settled, right).statistic), 3),
        "AUC": round(float(above), 3),
        "Spearman, rate": round(float(stats.spearmanr(settled, rates).statistic), 3),
        "right %": round(100 * sum(right) / len(right), 1),
        "certain %": round(100 * len(certain) / len(right), 1),
        "certain, right %": round(100 * sum(certain) / max(1, len(certain)), 1),
    }


async def main() -> None:
    """Run all variants, draw questions from them, and print a row for each way of voting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--variants", type=int, default=80, help="programs of each task")
    parser.add_argument(
        "--inputs", type=int, nargs="+", default=[1, 2, 5, 10], help="on which programs vote"
    )
    parser.add_argument("--hidden", type=int, default=15, help="on which they have to be right")
    parser.add_argument("--branches", type=int, default=20, help="programs of a question")
    parser.add_argument("--draws", type=int, default=10, help="questions of each task and rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    draw = random.Random(options.seed)
    made = {
        task: await variants(
            task, options.variants, max(options.inputs), options.hidden, options.seed
        )
        for task in TASKS
    }
    seconds = time.perf_counter() - began
    questions: dict[int, list[Question]] = {one: [] for one in options.inputs}
    rates = []
    for found in made.values():
        good = [one for one in found if one.right]
        bad = [one for one in found if not one.right]
        for rate in RATES * options.draws:
            drawn = [
                draw.choice(good if draw.random() < rate else bad) for _ in range(options.branches)
            ]
            for inputs, voted in questions.items():
                voted.append(vote(drawn, inputs))
            rates.append(rate)
    count = sum(map(len, made.values()))
    right = sum(one.right for found in made.values() for one in found)
    title = (
        f"{len(rates)} questions of {options.branches} programs, from {count} variants of {len(made)} "
        f"tasks ({right} right), run in {seconds:.0f} s"
    )
    rows = [row(inputs, voted, rates) for inputs, voted in questions.items()]
    show(title, rows, json_out=options.json)


if __name__ == "__main__":
    asyncio.run(main())
