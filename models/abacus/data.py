"""Make the training data of abacus-7m: generated examples as token ids, in batches of equal width.

python -m models.abacus.data --tokenizer runs/abacus/tokenizer --show 2

Examples are drawn while the model trains, by all cores, and no example is seen twice.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dynasor_graph.abacus.chat import END, PROBE
from dynasor_graph.abacus.questions import Example, example
from models.abacus import options

BUCKETS: Final = (128, 224, 384, 640, 1088)
"""Widths of batches, in tokens. Examples that are longer than the last are left out."""
IGNORED: Final = -100
"""The label of tokens that carry no loss: questions, what forces an answer, and padding."""

_CHUNK: Final = 2000
_AHEAD: Final = 3

Ids = NDArray[np.int64]
T = TypeVar("T")
_Part = tuple[NDArray[np.uint16], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as the model sees it.

    Attributes:
        ids: All its tokens, the end token last.
        learn: For each of them, whether it carries loss.
    """

    ids: list[int]
    learn: list[bool]


class Encoder:
    """Turns examples into tokens.

    Args:
        path: The ``tokenizer.json``.
    """

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        (self._end,) = self._ids(END)
        self._probe = self._ids(PROBE)

    def encode(self, one: Example, rng: random.Random) -> Encoded:
        """Encode an example; `rng` says where one that is forced is cut, at any of its tokens."""
        prompt, completion = self._ids(one.prompt), self._ids(one.completion)
        if one.forced is None:
            answer = [*completion, self._end]
            return Encoded(prompt + answer, [False] * len(prompt) + [True] * len(answer))
        # What follows the thinking, or the last line, is the answer itself: no cut comes after it.
        body = self._ids(one.completion.split("\n</think>")[0].split("\nThe answer is")[0])
        body = body[: rng.randint(0, len(body))]
        answer = [*self._ids(one.forced + "}"), self._end]
        return Encoded(
            prompt + body + self._probe + answer,
            [False] * len(prompt)
            + [True] * len(body)
            + [False] * len(self._probe)
            + [True] * len(answer),
        )

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def batches(tokenizer: Path, tokens: int, seed: str) -> Generator[tuple[Ids, Ids], None, None]:
    """Draw batches without end, on all cores.

    Args:
        tokenizer: The ``tokenizer.json`` to encode them with.
        tokens: The size of a batch in tokens, padding included.
        seed: Fixes the batches, whatever the number of cores.

    Yields:
        The ids and the labels of a batch, both of one row per example.
    """
    waiting: list[deque[_Part]] = [deque() for _ in BUCKETS]
    seeds = ((f"{seed} {number}", tokenizer) for number in itertools.count())
    for chunk in in_order(_chunk, seeds):
        for width, queue, part in zip(BUCKETS, waiting, chunk, strict=True):
            queue.append(part)
            rows = max(1, tokens // width)
            while sum(len(ids) for ids, _ in queue) >= rows:
                ids = np.concatenate([ids for ids, _ in queue])
                learn = np.concatenate([learn for _, learn in queue])
                queue.clear()
                queue.append((ids[rows:], learn[rows:]))
                whole = ids[:rows].astype(np.int64)
                yield whole, np.where(learn[:rows], whole, IGNORED)


def in_order(function: Callable[..., T], calls: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    """Call a function on all cores; results come in the order of the calls, a few ahead of time.

    Args:
        function: What the workers call: a function of a module's top level.
        calls: The arguments of each call.
    """
    cores = len(os.sched_getaffinity(0))
    waiting = iter(calls)
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        running: deque[AsyncResult[T]] = deque()
        while True:
            for arguments in itertools.islice(waiting, _AHEAD * cores - len(running)):
                running.append(pool.apply_async(function, arguments))
            if not running:
                return
            yield running.popleft().get()


def _chunk(seed: str, tokenizer: Path) -> list[_Part]:
    """The examples of one seed: for each bucket their ids and what carries loss, padded."""
    # Each worker has one core: threads of its own would only get in the way of the others.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    rng, encoder = random.Random(seed), Encoder(tokenizer)
    sorted_in: list[list[Encoded]] = [[] for _ in BUCKETS]
    for _ in range(_CHUNK):
        one = encoder.encode(example(rng), rng)
        bucket = next((i for i, width in enumerate(BUCKETS) if len(one.ids) <= width), None)
        if bucket is not None:
            sorted_in[bucket].append(one)
    return [_pad(rows, width) for rows, width in zip(sorted_in, BUCKETS, strict=True)]


def _pad(rows: list[Encoded], width: int) -> _Part:
    ids = np.zeros((len(rows), width), dtype=np.uint16)
    learn = np.zeros((len(rows), width), dtype=np.bool_)
    for row, one in enumerate(rows):
        ids[row, : len(one.ids)] = one.ids
        learn[row, : len(one.ids)] = one.learn
    return ids, learn


def main() -> None:
    """Draw examples, and say how many tokens they have."""
    parser = argparse.ArgumentParser(description=options.first_line(__doc__))
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    options.add_defaulted(
        parser,
        ("--examples", options.positive_int, 10_000, "how many to count"),
        ("--show", options.count, 1, "how many to print in full"),
        ("--seed", int, 0, "fixes the examples"),
    )
    args = parser.parse_args()
    path = args.tokenizer / "tokenizer.json"
    if not path.is_file():
        parser.error(f"there is no {path}: build it with python -m models.abacus.tokenizer")
    start = time.perf_counter()
    rng, encoder = random.Random(args.seed), Encoder(path)
    drawn = [encoder.encode(example(rng), rng) for _ in range(args.examples)]
    lengths = np.array([len(one.ids) for one in drawn])
    left_out = (lengths > BUCKETS[-1]).mean()
    print(
        f"{len(drawn)} examples, {lengths.sum() / 1e6:.2f} M tokens, {lengths.mean():.0f} on "
        f"average, longest {lengths.max()}, {left_out:.1%} longer than {BUCKETS[-1]}, "
        f"{time.perf_counter() - start:.0f} s"
    )
    tokenizer = Tokenizer.from_file(str(path))
    for one in drawn[: args.show]:
        print("\n" + tokenizer.decode(one.ids, skip_special_tokens=False))


if __name__ == "__main__":
    main()
