"""Traces as recordings: the samples that a run's trace holds."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from dynasor_graph.answers import Exact, Grouping, Judge, Kind, agrees, read_kind
from dynasor_graph.confidence import Confidence
from dynasor_graph.errors import InputError
from dynasor_graph.recordings.recorded import Probed, Recorded, Sample, lines_of, read_lines
from dynasor_graph.types import JSON

__all__ = ["from_trace", "read_recording", "spelled_equally"]

T = TypeVar("T")


def read_recording(path: Path | str) -> list[Recorded]:
    """Read a recording, or the trace of a run.

    Raises:
        InputError: There is no such file, or a line of it is no question with samples.
    """
    path = Path(path)
    first = next(lines_of(path), b"")
    try:
        is_trace = json.loads(first).get("event") == "trace"
    except (AttributeError, ValueError):
        is_trace = False
    if is_trace:
        return [recorded for _, recorded in from_trace(path)]
    return read_lines(path)


def from_trace(path: Path | str) -> Iterator[tuple[str, Recorded]]:
    """The samples in a trace (see `trace`), one pass, whatever its size.

    Of an algorithm whose branches answer, each branch that was not stopped is a sample; of a chain
    of thought the whole program is one, with its probes.

    Yields:
        The name of each program that came to its end, and what it recorded.

    Raises:
        InputError: There is no such file, or a line of it cannot be read.
    """
    path = Path(path)
    running: dict[str, tuple[JSON, list[JSON]]] = {}
    for number, line in enumerate(lines_of(path), start=1):
        try:
            event = json.loads(line)
            kind, name = event["event"], event.get("program")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}:{number}: no event of a trace: {error}") from None
        if kind == "program":
            running[name] = (event, [])
        elif kind in {"branch", "probe"} and name in running:
            running[name][1].append(event)
        elif kind == "result" and name in running:
            start, events = running.pop(name)
            if event.get("error") is None:
                yield name, _recorded(name, start, events, event)


def _recorded(name: str, start: JSON, events: list[JSON], result: JSON) -> Recorded:
    branches = [event for event in events if event["event"] == "branch"]
    gold, kind = start.get("gold"), read_kind(start["settings"].get("answers", "math"))
    if any(branch["answer"] is not None for branch in branches):
        branches.sort(key=lambda branch: branch["index"])
        whole = [branch for branch in branches if branch["finish"] != "terminated"]
        given = [branch["answer"] for branch in whole]
        answers = spelled_equally(given, kind, [branch.get("group") for branch in whole])
        right = _right(given, gold, kind) if gold is not None else {}
        if result.get("correct") and result["answer"] in given:  # a judge said so, and is not here
            settled = answers[given.index(result["answer"])]
            right |= {x: True for x, one in zip(given, answers, strict=True) if one == settled}
        samples = [
            Sample(
                answer=answer,
                tokens=branch["tokens"],
                correct=None if gold is None else answer is not None and right[branch["answer"]],
                logprob=branch["logprob"],
                reward=branch.get("reward"),
                seconds=branch.get("seconds"),
                confidence=Confidence.from_json(sure)
                if (sure := branch.get("confidence"))
                else None,
            )
            for answer, branch in zip(answers, whole, strict=True)
        ]
        gold = next((x for x, one in zip(answers, samples, strict=True) if one.correct), gold)
    else:
        sample, gold = _chain(branches, events, result, gold, kind)
        samples = [sample]
    return Recorded(
        id=name,
        samples=tuple(samples),
        model=start.get("model") or "",
        temperature=start["settings"]["sampling"]["temperature"],
        question=start.get("question"),
        gold=gold,
    )


def _chain(
    branches: list[JSON], events: list[JSON], result: JSON, gold: str | None, kind: Kind
) -> tuple[Sample, str | None]:
    weights = [(b["logprob"], b["tokens"]) for b in branches if b["logprob"] is not None]
    tokens = sum(count for _, count in weights)
    probes = [event for event in events if event["event"] == "probe"]
    said = [event["answer"] for event in probes]
    groups = [None, *(event.get("group") for event in probes)]
    answer, *said = spelled_equally([result["answer"], *said], kind, groups)
    answer = answer or result["answer"]
    gold = answer if result["correct"] and answer else gold
    sample = Sample(
        answer=answer,
        tokens=result["usage"]["main"],
        correct=result["correct"],
        logprob=sum(mean * count for mean, count in weights) / tokens if tokens else None,
        probes=tuple(
            Probed(event["at"], one, event.get("confidence"))
            for event, one in zip(probes, said, strict=True)
        ),
        seconds=result.get("latency_s"),
    )
    return sample, gold


def spelled_equally(
    answers: Sequence[str | None], kind: Kind | None = None, groups: Sequence[int | None] = ()
) -> list[str | None]:
    """The same answers, those that are equal spelled as the first of them.

    Args:
        answers: None where there is none.
        kind: What makes two the same, mathematics by default; what is no answer of it becomes None.
        groups: The class of each answer, where that was found out before.
    """
    if kind is not None and not kind.order_free:
        return _by_group(answers, groups)

    async def group() -> dict[str, str | None]:
        grouping = Grouping(kind)
        distinct = list(dict.fromkeys(answer for answer in answers if answer is not None))
        numbers = await grouping.add_all(distinct)
        return {
            answer: None if number is None else grouping.spelling(number)
            for answer, number in zip(distinct, numbers, strict=True)
        }

    first = _run(group())
    return [None if answer is None else first[answer] for answer in answers]


def _by_group(answers: Sequence[str | None], groups: Sequence[int | None]) -> list[str | None]:
    """Each answer spelled as the first of its class; None for one that was given no class."""
    first: dict[int, str] = {}
    known: dict[str, int] = {}
    for answer, number in itertools.zip_longest(answers, groups):
        if answer is not None and number is not None:
            first.setdefault(number, answer)
            known[answer] = number
    return [first[known[answer]] if answer in known else None for answer in answers]


def _right(answers: Sequence[str | None], gold: str | None, kind: Kind) -> dict[str, bool]:
    """Which of the answers are the gold one; without its engine a judge knows none but equal words."""
    by = Exact(case=False) if isinstance(kind, Judge) else kind

    async def compare() -> dict[str, bool]:
        distinct = {answer for answer in answers if answer is not None}
        return {answer: gold is not None and await agrees(answer, gold, by) for answer in distinct}

    return _run(compare())


def _run(work: Coroutine[Any, Any, T]) -> T:
    # In a thread: the caller may be inside an event loop of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
