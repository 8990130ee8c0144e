"""The answers that the reward model learns from: written ones, and the language model's own.

Both become batches of token ids with a label at each place where something is known to be right or
wrong.
"""

from __future__ import annotations

import itertools
import os
import random
from argparse import Namespace
from collections.abc import Generator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from dynasor_graph.abacus import FAMILIES, Problem, chat, make
from dynasor_graph.abacus.questions import TRAINED_STEPS
from dynasor_graph.abacus.writing import CARELESS, boxed_answer, solve, solve_with_mistake
from models.abacus.data import in_order
from models.abacus.sampling import boxed, encode, load_model, load_tokenizer, sample
from models.abacus.scoring import line_ends

__all__ = ["SAMPLES", "UNLABELLED", "Answer", "Batch", "lay_out", "own", "own_batches", "written"]
__all__ += ["written_batches"]

SAMPLES: Final = 8
"""How many answers the language model gives to each question."""
UNLABELLED: Final = -1.0

_MAX_TOKENS: Final = 420
_TEMPERATURE: Final = 0.7
_WIDTH: Final = 128
"""Batches are padded to a multiple of so many tokens, so that few widths are compiled."""
_POOL: Final = 8
"""Written answers are made for so many batches at a time, to have some of each length."""

Batch = tuple[NDArray[np.int64], NDArray[np.float32]]
"""The ids [answers, width] and their labels; only what is known to be right or wrong has one."""


class Answer(NamedTuple):
    """One answer: question and answer as token ids, places in them, and what is true at each."""

    ids: list[int]
    places: list[int]
    labels: list[float]


def draw_problem(rng: random.Random) -> Problem:
    """A problem of any length and family."""
    return make(rng, rng.randint(1, TRAINED_STEPS), rng.choice(list(FAMILIES)))


def written(count: int, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> list[Answer]:
    """Written answers; a token is labelled by whether all is right so far.

    A third is right, a third is the careless writer's, with the mistakes that the language model makes
    too, and a third has one mistake of any kind with equal chance: some kinds are so seldom that they
    are not learned from answers that have them by nature. The label turns at the very digit or sign
    that is wrong, which tells more than one label for a line, or for an answer.
    """
    answers = []
    for _ in range(count):
        problem = draw_problem(rng)
        true = _encoded(tokenizer, *solve(problem, rng))
        write = rng.choice((solve, _solve_carelessly, solve_with_mistake))
        said = _encoded(tokenizer, *write(problem, rng))
        same = [a == b for a, b in itertools.zip_longest(said, true[: len(said)])]
        so_far = [float(flag) for flag in itertools.accumulate(same, min)]
        start = encode(tokenizer, chat(problem.question))
        ids = start + said
        answers.append(Answer(ids, list(range(len(start), len(ids))), so_far))
    return answers


def _solve_carelessly(problem: Problem, rng: random.Random) -> tuple[list[str], int]:
    return solve(problem, rng, CARELESS)


def _encoded(tokenizer: PreTrainedTokenizerFast, lines: list[str], value: int) -> list[int]:
    return encode(tokenizer, "\n".join([*lines, boxed_answer(value)]))


def own(args: Namespace, device: torch.device) -> list[Answer]:
    """Let the language model answer new questions; a line is labelled by how the answer ended."""
    tokenizer, model = load_tokenizer(args.model), load_model(args.model, device)
    rng = random.Random(args.seed + 1)
    torch.manual_seed(args.seed)
    problems = [draw_problem(rng) for _ in range(args.problems)]
    prompts = [chat(problem.question) for problem in problems]
    drawn = sample(
        model,
        tokenizer,
        prompts,
        count=SAMPLES,
        max_tokens=_MAX_TOKENS,
        temperature=_TEMPERATURE,
    )
    (newline,) = encode(tokenizer, "\n")
    answers = []
    for problem, prompt, completions in zip(problems, prompts, drawn, strict=True):
        start = encode(tokenizer, prompt)
        for completion in completions:
            right = boxed(tokenizer.decode(completion)) == str(problem.answer)
            ends = [len(start) + end for end in line_ends(completion, newline)]
            answers.append(Answer(start + completion, ends, [float(right)] * len(ends)))
    return answers


def lay_out(answers: list[Answer]) -> Batch:
    """A batch of answers, padded."""
    width = max(len(answer.ids) for answer in answers)
    width = -(-width // _WIDTH) * _WIDTH
    ids = np.zeros((len(answers), width), dtype=np.int64)
    labels = np.full((len(answers), width), UNLABELLED, dtype=np.float32)
    for row, answer in enumerate(answers):
        ids[row, : len(answer.ids)] = answer.ids
        labels[row, answer.places] = answer.labels
    return ids, labels


def written_batches(
    model: Path, batch: int, seed: int, first: int = 0
) -> Generator[Batch, None, None]:
    """Batches of written answers without end, made on all cores.

    Args:
        model: The folder with the tokenizer.
        batch: How many answers each has.
        seed: Fixes the batches, whatever the number of cores.
        first: How many to leave out: a resumed run has seen them.
    """
    numbers = itertools.count(first // _POOL)
    pools = in_order(_pool, ((f"{seed} written {n}", model, batch) for n in numbers))
    yield from itertools.islice(itertools.chain.from_iterable(pools), first % _POOL, None)


def _pool(seed: str, model: Path, batch: int) -> list[Batch]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each worker has one core
    rng = random.Random(seed)
    answers = written(_POOL * batch, load_tokenizer(model), rng)
    answers.sort(key=_length)
    batches = [lay_out(answers[at : at + batch]) for at in range(0, len(answers), batch)]
    rng.shuffle(batches)
    return batches


def own_batches(
    answers: list[Answer], batch: int, seed: int, first: int = 0
) -> Generator[Batch, None, None]:
    """Batches without end of answers that are about equally long, so that little of it is padding.

    Args:
        answers: All answers.
        batch: How many each batch draws.
        seed: Fixes the batches.
        first: How many to leave out.
    """
    in_length = sorted(answers, key=_length)
    for step in itertools.count(first):
        start = random.Random(f"{seed} own {step}").randint(-batch, len(in_length) - 1)
        yield lay_out(in_length[max(0, start) : max(0, start) + batch])


def _length(answer: Answer) -> int:
    return len(answer.ids)
