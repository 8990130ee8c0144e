"""Make the training data of abacus-7m: generated examples as token ids, in batches of equal length.

python -m models.abacus.data --tokenizer runs/abacus/tokenizer --examples 10000 --show 2
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dynasor_graph.abacus.problems import example
from models.abacus import options
from models.abacus.tokenizer import END

BUCKETS: Final = (128, 192, 288, 448, 768)
IGNORED: Final = -100
"""The label of tokens that carry no loss: questions and padding."""

_CHUNK: Final = 2000
_SEED_STRIDE: Final = 1_000_003

_Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Example:
    """One example as the model sees it.

    Attributes:
        ids: The prompt, the completion and the end token.
        prompt: How many of them are the prompt.
    """

    ids: NDArray[np.uint16]
    prompt: int


def dataset(count: int, tokenizer: Path, seed: int) -> list[Example]:
    """Generate and encode examples on all cores.

    Args:
        count: How many examples.
        tokenizer: The ``tokenizer.json`` to encode them with.
        seed: Fixes the examples and their order, whatever the number of cores.

    Returns:
        The examples.
    """
    jobs = [
        (seed * _SEED_STRIDE + chunk, min(_CHUNK, count - chunk * _CHUNK), tokenizer)
        for chunk in range(math.ceil(count / _CHUNK))
    ]
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(jobs))) as pool:
        return [one for part in pool.imap(_encode, jobs) for one in part]


def batch_plan(
    lengths: Sequence[int], tokens: int, rng: np.random.Generator
) -> Iterator[tuple[int, _Ids]]:
    """Choose the examples of each batch, epoch after epoch without end.

    Args:
        lengths: The length of each example; those longer than the last bucket are left out.
        tokens: The size of a batch in tokens, padding included.
        rng: The source of the order.

    Yields:
        The padded length of a batch and the positions of its examples.

    Raises:
        ValueError: There are too few examples to fill any batch.
    """
    size = np.asarray(lengths)
    while True:
        epoch: list[tuple[int, _Ids]] = []
        low = 0
        for bucket in BUCKETS:
            chosen = np.flatnonzero((size > low) & (size <= bucket))
            rng.shuffle(chosen)
            rows = max(1, tokens // bucket)
            whole = range(0, len(chosen) - rows + 1, rows)
            epoch += [(bucket, chosen[start : start + rows]) for start in whole]
            low = bucket
        if not epoch:
            raise ValueError(
                f"{len(size)} examples do not fill one batch of {tokens} tokens: "
                "take more examples or a smaller batch"
            )
        rng.shuffle(epoch)
        yield from epoch


def batches(
    data: Sequence[Example], tokens: int, seed: int, skip: int = 0
) -> Iterator[tuple[_Ids, _Ids]]:
    """Lay out batches without end.

    Args:
        data: The examples.
        tokens: The size of a batch in tokens, padding included.
        seed: Fixes the order.
        skip: How many batches to leave out, to go on where an earlier run ended.

    Yields:
        The ids and the labels of a batch, both of one row per example. Padding is token 0.
    """
    plan = batch_plan([len(one.ids) for one in data], tokens, np.random.default_rng(seed))
    for width, chosen in islice(plan, skip, None):
        ids = np.zeros((len(chosen), width), dtype=np.int64)
        labels = np.full((len(chosen), width), IGNORED, dtype=np.int64)
        for row, position in enumerate(chosen):
            one = data[position]
            ids[row, : len(one.ids)] = one.ids
            labels[row, one.prompt : len(one.ids)] = one.ids[one.prompt :]
        yield ids, labels


def _encode(job: tuple[int, int, Path]) -> list[Example]:
    seed, count, path = job
    # Each worker has one core: threads of its own would only get in the way of the others.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.from_file(str(path))
    rng = random.Random(seed)
    pairs = [example(rng) for _ in range(count)]
    end = tokenizer.token_to_id(END)
    prompts = tokenizer.encode_batch([prompt for prompt, _ in pairs])
    completions = tokenizer.encode_batch([completion for _, completion in pairs])
    return [
        Example(np.array([*prompt.ids, *completion.ids, end], dtype=np.uint16), len(prompt.ids))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def main() -> None:
    """Generate examples, and say how many tokens they have."""
    parser = argparse.ArgumentParser(description=options.first_line(__doc__))
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument(
        "--examples",
        type=options.positive_int,
        default=10_000,
        help="how many (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument(
        "--show", type=int, default=1, help="how many to print in full (default: %(default)s)"
    )
    args = parser.parse_args()
    path = args.tokenizer / "tokenizer.json"
    if not path.is_file():
        parser.error(f"there is no {path}: build it with python -m models.abacus.tokenizer")
    start = time.perf_counter()
    data = dataset(args.examples, path, args.seed)
    lengths = np.array([len(one.ids) for one in data])
    print(
        f"{len(data)} examples, {lengths.sum() / 1e6:.2f} M tokens, {lengths.mean():.0f} on "
        f"average, longest {lengths.max()}, {time.perf_counter() - start:.0f} s"
    )
    tokenizer = Tokenizer.from_file(str(path))
    for one in data[: args.show]:
        print("\n" + tokenizer.decode(one.ids.tolist(), skip_special_tokens=False))


if __name__ == "__main__":
    main()
