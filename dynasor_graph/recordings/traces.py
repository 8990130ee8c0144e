"""Traces as recordings: the samples that a run's trace holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dynasor_graph.answers import Grouping
from dynasor_graph.confidence import Confidence
from dynasor_graph.errors import InputError
from dynasor_graph.recordings.recorded import Probed, Recorded, Sample, lines_of, read_lines
from dynasor_graph.types import JSON

__all__ = ["from_trace", "read_recording", "spelled_equally"]


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
    gold = start.get("gold")
    if any(branch["answer"] is not None for branch in branches):
        branches.sort(key=lambda branch: branch["index"])
        whole = [branch for branch in branches if branch["finish"] != "terminated"]
        *answers, gold = spelled_equally([*(branch["answer"] for branch in whole), gold])
        samples = [
            Sample(
                answer=answer,
                tokens=branch["tokens"],
                correct=None if gold is None else answer == gold,
                logprob=branch["logprob"],
                reward=branch.get("reward"),
                seconds=branch.get("seconds"),
                confidence=Confidence.from_json(sure)
                if (sure := branch.get("confidence"))
                else None,
            )
            for answer, branch in zip(answers, whole, strict=True)
        ]
    else:
        sample, gold = _chain(branches, events, result, gold)
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
    branches: list[JSON], events: list[JSON], result: JSON, gold: str | None
) -> tuple[Sample, str | None]:
    weights = [(b["logprob"], b["tokens"]) for b in branches if b["logprob"] is not None]
    tokens = sum(count for _, count in weights)
    probes = [event for event in events if event["event"] == "probe"]
    said = [event["answer"] for event in probes]
    answer, gold, *said = spelled_equally([result["answer"], gold, *said])
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


def spelled_equally(answers: Sequence[str | None]) -> list[str | None]:
    """The same answers, those that are equal spelled as the first of them."""
    distinct = list(dict.fromkeys(answer for answer in answers if answer is not None))
    if len(distinct) < 2:
        return list(answers)

    async def group() -> dict[str, str]:
        grouping = Grouping()
        numbers = {answer: await grouping.add(answer) for answer in distinct}
        return {answer: grouping.spelling(number) for answer, number in numbers.items()}

    # In a thread: the caller may be inside an event loop of its own.
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(asyncio.run, group()).result()
    return [None if answer is None else first[answer] for answer in answers]
