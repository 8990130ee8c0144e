"""Behaviour: whether Certaindex over what programs do tells whether the majority's program is right.

    python -m benchmarks.behaviour --seed 0

Nobody recorded these programs: they are variants of known solutions, right and wrong (`variants`). A
question is a task with a rate of right programs of its own, so that there are easy and hard ones; its
programs are drawn at this rate, the wrong ones in proportion to how often a mistake comes about. They
vote by what they do on a few inputs (`--inputs`); right is what agrees with the solution on other inputs
(`--hidden`). The same programs also vote as texts, and by what one input tells.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from scipy import stats

from benchmarks.output import show
from benchmarks.variants import TASKS, arguments, mutant
from dynasor_graph.answers import Behaviour
from dynasor_graph.certaindex import entropy_certaindex

RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Variant:
    """A program: what it does on the inputs that are voted on, and whether it is right."""

    source: str
    does: tuple[str, ...] | None
    right: bool


async def variants(task: str, count: int, inputs: int, hidden: int, seed: int) -> list[Variant]:
    """Programs of a task, each run on all inputs once."""
    draw = random.Random(f"{task} {seed}")
    all_inputs = arguments(task, inputs + hidden, draw)
    kind = Behaviour(
        inputs=tuple(map(tuple, all_inputs)), function="f", seconds=0.5, total_seconds=3
    )
    wanted = await kind.gold(TASKS[task][1])
    assert wanted is not None
    sources = [mutant(task, draw.choice([0, 1, 1, 2]), draw) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        forms = [group.create_task(kind.form(source)) for source in sources]
    found = []
    for source, task_of in zip(sources, forms, strict=True):
        form = task_of.result()
        does = None if form is None or not any(one[0] == "=" for one in form[:inputs]) else form
        found.append(Variant(source, does and does[:inputs], form == wanted))
    return found


@dataclass(frozen=True)
class Question:
    """One question's vote: its Certaindex, and whether the leading program is right."""

    certaindex: float
    right: bool


def vote(drawn: Sequence[Variant], keys: Sequence[Hashable | None]) -> Question:
    """Certaindex of the votes; a program without a key gives none."""
    counts = Counter(key for key in keys if key is not None)
    if not counts:
        return Question(0.0, False)
    leader = max(counts, key=counts.__getitem__)
    at = keys.index(leader)
    return Question(entropy_certaindex(list(counts.values()), len(drawn)), drawn[at].right)


def row(name: str, questions: Sequence[Question], rates: Sequence[float]) -> dict[str, str | float]:
    """What one way of voting comes to."""
    settled = [one.certaindex for one in questions]
    right = [one.right for one in questions]
    rho = stats.spearmanr(settled, right)
    known = len(set(settled)) > 1
    sure = [one.right for one in questions if one.certaindex >= 0.6]
    return {
        "voted by": name,
        "Spearman with right": round(float(rho.statistic), 3) if known else 0.0,
        "p": f"{float(rho.pvalue):.0e}" if known else "",
        "Spearman with rate": round(float(stats.spearmanr(settled, rates).statistic), 3)
        if known
        else 0.0,
        "majority right %": round(100 * sum(right) / len(right), 1),
        "of these certain %": round(100 * len(sure) / len(right), 1),
        "certain and right %": round(100 * sum(sure) / len(sure), 1) if sure else "",
    }


async def main() -> None:
    """Run all variants, draw questions from them, and print a row for each way of voting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--variants", type=int, default=120, help="programs of each task")
    parser.add_argument("--inputs", type=int, default=5, help="on which programs vote")
    parser.add_argument("--hidden", type=int, default=15, help="on which they have to be right")
    parser.add_argument("--branches", type=int, default=20, help="programs of a question")
    parser.add_argument("--draws", type=int, default=10, help="questions of each task and rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    draw = random.Random(options.seed)
    made = {
        task: await variants(task, options.variants, options.inputs, options.hidden, options.seed)
        for task in TASKS
    }
    seconds = time.perf_counter() - began
    questions: dict[str, list[Question]] = {
        "what they do": [],
        "what one input tells": [],
        "text": [],
    }
    rates = []
    for found in made.values():
        good = [one for one in found if one.right]
        bad = [one for one in found if not one.right]
        for rate in RATES * options.draws:
            drawn = [
                draw.choice(good if draw.random() < rate else bad) for _ in range(options.branches)
            ]
            does = [one.does for one in drawn]
            questions["what they do"].append(vote(drawn, does))
            first = [one and one[:1] for one in does]
            questions["what one input tells"].append(vote(drawn, first))
            questions["text"].append(vote(drawn, [one.source for one in drawn]))
            rates.append(rate)
    count = sum(map(len, made.values()))
    right = sum(one.right for found in made.values() for one in found)
    title = (
        f"{len(rates)} questions of {options.branches} programs, from {count} variants of {len(made)} "
        f"tasks ({right} right), run in {seconds:.0f} s"
    )
    rows = [row(name, found, rates) for name, found in questions.items()]
    show(title, rows, json_out=options.json)


if __name__ == "__main__":
    asyncio.run(main())
