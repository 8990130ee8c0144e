"""Grouping: what it costs to find the class of an answer, for each kind.

    python -m benchmarks.grouping [--answers 1000] [--classes 20] [--kinds math,embedding] [--json]

Answers are drawn from so many classes, each written in several ways. They come one by one, as branches
end: "answers/s" is reading, comparing and placing. "comparisons" is how often two answers had to be
compared by more than their forms, beside what comparing each with each would take. Embeddings
are read in one batch as well, with their ratio to one by one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.output import show
from dynasor_graph.answers import Grouping, Kind, read_kind
from dynasor_graph.answers.embedding import Encoder, folder_of

THINGS = ("harbour", "orchestra", "glacier", "tax reform", "vaccine", "chess match", "railway")
DEEDS = ("was closed for repairs", "surprised everybody", "cost more than was planned", "came late")

WRITTEN: dict[str, tuple[Any, Callable[[int, random.Random], str]]] = {
    "math": ("math", lambda n, draw: draw.choice([f"{n}", f"{n}.0", rf"\frac{{{2 * n}}}{{2}}"])),
    "math, symbols": (
        "math",
        lambda n, draw: draw.choice([f"x+{n}", f"{n}+x", f"{n + 1}+x-1"]),
    ),
    "exact": ("exact", lambda n, draw: f"answer{draw.choice([' ', '  '])}{n}"),
    "choice": (
        "choice",
        lambda n, draw: draw.choice(["({})", "{}.", "option {}"]).format("ABCDE"[n % 5]),
    ),
    "number": ("number", lambda n, draw: draw.choice([f"{n} km", f"{n},000 m"])),
    "number, 1 %": ("number:tolerance=0.01", lambda n, draw: f"{1.1**n * draw.uniform(1, 1.002)}"),
    "set": ("set", lambda n, draw: draw.choice([f"{{{n}, 0}}", f"0, {n}"])),
    "json": ("json", lambda n, draw: draw.choice([f'{{"a": {n}}}', f'{{ "a":{n}.0 }}'])),
    "expression": (
        {"kind": "expression", "numbers": [1, 2, 3]},
        lambda n, draw: draw.choice(["{}+{}*{}", "{}*({}-{})", "({}-{})/{}"]).format(
            *draw.sample([1, 2, 3], 3)
        ),
    ),
    "embedding": (
        "embedding",
        lambda n, draw: (
            draw.choice(["The {} {}.", "{} {}", "It is said that the {} {}."]).format(
                THINGS[n % len(THINGS)], DEEDS[n // len(THINGS) % len(DEEDS)]
            )
            + f" ({draw.randrange(1000)})"
        ),  # none is known from before
    ),
}


async def grouped(kind: Kind, answers: Sequence[str]) -> Grouping:
    """Add answers one by one."""
    grouping = Grouping(kind)
    for answer in answers:
        await grouping.add(answer)
    return grouping


async def row(name: str, answers: int, classes: int) -> dict[str, Any]:
    """One kind: speed and comparisons."""
    spec, write = WRITTEN[name]
    draw = random.Random(name)
    kind = read_kind(spec)
    await grouped(kind, [write(1, draw)])  # what is loaded at first use
    given = [write(draw.randrange(1, classes + 1), draw) for _ in range(answers)]
    started = time.perf_counter()
    grouping = await grouped(kind, given)
    seconds = time.perf_counter() - started
    found = {grouping.root(number) for number in range(len(grouping._parent))}
    return {
        "kind": name,
        "answers": answers,
        "classes": len(found),
        "answers_s": round(answers / seconds),
        "comparisons": grouping.compared,
        "each with each": answers * (answers - 1) // 2,
    }


async def batched(answers: int, before: float) -> list[dict[str, Any]]:
    """Embeddings of as many answers in one batch: sentences as above, and short ones."""
    _, write = WRITTEN["embedding"]
    draw = random.Random(1)
    texts = {
        "sentences": [f"{write(n, draw)} {n}" for n in range(answers)],
        "short": [f"the {draw.choice(THINGS)} came {n}" for n in range(answers)],
    }
    encoder = Encoder(folder_of("all-minilm-l6-v2"))
    await encoder.vector("what is loaded at first use")
    return [await _batched(encoder, name, given, before) for name, given in texts.items()]


async def _batched(
    encoder: Encoder, name: str, given: Sequence[str], before: float
) -> dict[str, Any]:
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for text in given:
            group.create_task(encoder.vector(text))
    speed = len(given) / (time.perf_counter() - started)
    return {
        "kind": f"{name}, in one batch",
        "answers": len(given),
        "answers_s": round(speed),
        "ratio": round(speed / before, 2),
    }


async def main() -> None:
    """Measure the kinds that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--kinds", default=",".join(WRITTEN))
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    names = [name for name in WRITTEN if name.partition(",")[0] in options.kinds.split(",")]
    table = [await row(name, options.answers, options.classes) for name in names]
    if "embedding" in names:
        table += await batched(options.answers, table[-1]["answers_s"])
    show("grouping", table, json_out=options.json_out)


if __name__ == "__main__":
    asyncio.run(main())
