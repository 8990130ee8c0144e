"""Game of 24: the verifier against recorded verdicts, and search against sampling at equal tokens.

    python -m benchmarks.game24 SAMPLES.jsonl.gz TREES.jsonl.gz [--part verdicts|search|both] [--json]

SAMPLES: a line is a question, its four numbers, with its samples: answer, tokens and verdict. TREES: a
line is a tree of Tree of Thoughts: its steps with the model's values, its last answers with their
verdicts (https://github.com/princeton-nlp/tree-of-thought-llm, logs/game24, brought into this form).

verdicts: what `Expression` says of every recorded answer, against what was recorded; each disagreement
is put down to a cause, which is looked up in the text and not assumed.
search: what the trees solve at widths 1 to 5, with and without the verifier, against plain samples
of the same number of tokens. Trees record the tokens of a question as a whole: each step that was valued
counts for its share.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import gzip
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.output import show
from dynasor_graph.answers import Expression, agrees, calculate
from dynasor_graph.recordings import Recorded, read_recording
from workflows.game24 import numbers_in, step_is_right

WIDTHS = (1, 2, 3, 5)


def game(numbers: str) -> Expression:
    """The kind of the answers to one question."""
    return Expression(numbers=numbers_in(numbers))


# Verdicts --------------------------------------------------------------------------------------


def cause(answer: str | None, kind: Expression, recorded: bool) -> str:
    """Why the verifier and the recorded verdict differ, found out from the answer itself."""
    found = None if answer is None else calculate(answer)
    if answer is None:
        return "recorded right without an answer"
    if found is None:
        return "recorded right, and no arithmetic" if recorded else "not read"
    if recorded and not kind.uses_numbers(found):
        return "recorded right with other numbers than given"
    if recorded:
        return f"recorded right, and comes to {found.value}"
    return "recorded wrong, and right exactly"


async def verdicts(name: str, answers: Sequence[tuple[str | None, Expression, bool]]) -> Any:
    """A row: how many verdicts agree, and the causes of those that do not."""
    causes: collections.Counter[str] = collections.Counter()
    for answer, kind, recorded in answers:
        if (answer is not None and await agrees(answer, "24", kind)) != recorded:
            causes[cause(answer, kind, recorded)] += 1
    return {
        "recorded": name,
        "answers": len(answers),
        "right": sum(recorded for *_, recorded in answers),
        "agree": len(answers) - sum(causes.values()),
        "causes": "; ".join(f"{n}x {why}" for why, n in causes.most_common()) or "none",
    }


def sampled(rows: Sequence[Recorded]) -> list[tuple[str | None, Expression, bool]]:
    """Every recorded sample with its verdict."""
    return [
        (sample.answer, game(row.question or ""), bool(sample.correct))
        for row in rows
        for sample in row.samples
    ]


def last_answer(text: str) -> str | None:
    """What a path of a tree answers: the expression after "Answer:"."""
    _, said, answer = text.strip().splitlines()[-1].partition("nswer:")
    return answer.strip() if said else None


# Search ----------------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a search came to on one question: the share solved, and the tokens."""

    solved: float
    tokens: float


def search(tree: dict[str, Any], tokens: float, width: int, verified: bool) -> Found:
    """Walk a recorded tree level by level, `width` steps kept at each.

    With the verifier a step whose arithmetic is wrong is not valued, and the first right answer ends the
    search. Without it the answer with the highest value is taken.
    """
    kind, numbers = game(tree["x"]), game(tree["x"]).numbers
    each = tokens / sum(len(level["children"]) for level in tree["steps"])
    kept, spent, finals = [""], 0, list[tuple[float, str]]()
    for level in tree["steps"]:
        grown = list(_children(level, kept))
        if verified:
            grown = [one for one in grown if _holds(one[1], numbers)]
        spent += len(grown)
        finals = sorted(grown, key=lambda one: -one[0])
        kept = [text for _, text in finals[:width]]
    if not verified:
        best = last_answer(finals[0][1]) if finals else None
        return Found(float(best is not None and is_right(best, kind)), spent * each)
    solved = any(is_right(last_answer(text) or "", kind) for _, text in finals)
    return Found(float(solved), spent * each)


def _children(level: dict[str, Any], kept: Sequence[str]) -> Iterator[tuple[float, str]]:
    for text, value in zip(level["children"], level["values"], strict=True):
        if any(text.startswith(parent) for parent in kept):
            yield float(value), text


def _holds(text: str, numbers: Sequence[int]) -> bool:
    """Whether every step of a path is right, the numbers that are left over included."""
    left: list[Fraction] = [Fraction(number) for number in numbers]
    for line in text.strip().splitlines():
        if "nswer:" in line:
            return True
        after = step_is_right(line, left)
        if after is None:
            return False
        left = after
    return True


def is_right(answer: str, kind: Expression) -> bool:
    """Whether an expression reaches 24 with the given numbers."""
    found = calculate(answer)
    return found is not None and found.value == kind.goal and kind.uses_numbers(found)


def sampling(row: Recorded, tokens: float, verified: bool) -> Found:
    """Plain samples for so many tokens, in the recorded order; all of them if there are not so many.

    With the verifier any right one solves it: its expectation over all draws. Without it they vote.
    """
    kind = game(row.question or "")
    each = statistics.fmean(sample.tokens or 0 for sample in row.samples)
    n = max(1, min(len(row.samples), int(tokens / each)))
    if verified:
        right = sum(is_right(sample.answer or "", kind) for sample in row.samples)
        total = len(row.samples)
        missed = math.comb(total - right, n) / math.comb(total, n)
        return Found(1 - missed, n * each)
    votes = collections.Counter(s.answer for s in row.samples[:n] if s.answer is not None)
    leader = max(votes, key=votes.__getitem__) if votes else ""  # equal answers are spelled alike
    return Found(float(is_right(leader, kind)), n * each)


def searches(rows: Sequence[Recorded], trees: Sequence[dict[str, Any]]) -> list[Any]:
    """The table of searches, each with plain samples of as many tokens beside it."""
    totals = [tree["usage_so_far"]["completion_tokens"] for tree in trees]
    spent = [b - a for a, b in zip([0, *totals], totals, strict=False)]
    asked = {row.id: row for row in rows if row.model.endswith("cot")}
    table = []
    for width in WIDTHS:
        for verified in (False, True):
            found = [
                search(tree, tokens, width, verified)
                for tree, tokens in zip(trees, spent, strict=True)
            ]
            plain = [
                sampling(asked[tree["id"]], one.tokens, verified)
                for tree, one in zip(trees, found, strict=True)
            ]
            table.append(
                {
                    "width": width,
                    "verifier": "yes" if verified else "no",
                    "search solves": f"{statistics.fmean(one.solved for one in found):.1%}",
                    "tokens": round(statistics.fmean(one.tokens for one in found)),
                    "samples solve": f"{statistics.fmean(one.solved for one in plain):.1%}",
                    "their tokens": round(statistics.fmean(one.tokens for one in plain)),
                }
            )
    return table


async def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("samples", type=Path)
    parser.add_argument("trees", type=Path)
    parser.add_argument("--part", choices=["verdicts", "search", "both"], default="both")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    rows, trees = read_recording(told.samples), list(read_trees(told.trees))
    if told.part != "search":
        finals = [
            (last_answer(text), game(tree["x"]), bool(reward))
            for tree in trees
            for text, reward in zip(tree["final"], tree["reward"], strict=True)
        ]
        by_model: dict[str, list[Recorded]] = {}
        for row in rows:
            by_model.setdefault(row.model, []).append(row)
        table = [await verdicts(name, sampled(one)) for name, one in by_model.items()]
        table.append(await verdicts("trees, last answers", finals))
        show("Verifier against recorded verdicts", table, json_out=told.json)
    if told.part != "verdicts":
        table = searches(rows, trees)
        show("Search against plain samples of as many tokens", table, json_out=told.json)


def read_trees(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of trees."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


if __name__ == "__main__":
    asyncio.run(main())
