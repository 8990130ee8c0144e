"""Training data: what carries loss and what does not, and batches that a seed fixes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dynasor_graph.abacus import chat, model_path
from dynasor_graph.abacus.chat import END, PROBE, THINK
from dynasor_graph.abacus.questions import Example, example

pytest.importorskip("tokenizers")

from models.abacus.data import BUCKETS, IGNORED, Encoded, Encoder, batches

TOKENIZER = model_path() / "tokenizer.json"
TOKENS = 1100
"""Of a batch: eight rows of the shortest, one of the longest, which is longer than that."""

QUESTION = "Xena has 28 cards. How many cards does Xena have?"
DIRECT = Example(chat(QUESTION), "Xena has 28.\nThe answer is \\boxed{28}.")
THOUGHT = Example(
    chat(QUESTION, THINK), "Xena has 28.\nSo I get 28.\n</think>\nThe answer is \\boxed{28}."
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(TOKENIZER)


@pytest.fixture(scope="module")
def decode() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)


def forced(one: Example, answer: str) -> Example:
    return Example(one.prompt, one.completion, answer)


def learned(one: Encoded) -> list[int]:
    return [token for token, learns in zip(one.ids, one.learn, strict=True) if learns]


def parts(one: Encoded) -> Iterator[tuple[bool, list[int]]]:
    """Runs of tokens that are learned, or that are not."""
    start = 0
    for at in range(1, len(one.ids) + 1):
        if at == len(one.ids) or one.learn[at] != one.learn[start]:
            yield one.learn[start], one.ids[start:at]
            start = at


@pytest.mark.parametrize(
    "one", [pytest.param(DIRECT, id="direct"), pytest.param(THOUGHT, id="thought")]
)
def test_the_completion_and_its_end_are_learned_and_the_prompt_is_not(
    encoder: Encoder, decode: Any, one: Example
):
    found = [(learns, decode(ids)) for learns, ids in parts(encoder.encode(one, random.Random(0)))]

    assert found == [(False, one.prompt), (True, one.completion + END)]


@pytest.mark.parametrize(
    ("one", "body"),
    [
        pytest.param(forced(DIRECT, "28"), "Xena has 28.", id="direct"),
        pytest.param(forced(THOUGHT, "28"), "Xena has 28.\nSo I get 28.", id="thought"),
    ],
)
def test_a_forced_example_is_cut_at_any_token_of_its_body(
    encoder: Encoder, decode: Any, one: Example, body: str
):
    seen = set()
    for seed in range(200):
        found = encoder.encode(one, random.Random(seed))
        before, after = decode(found.ids).split(PROBE)
        assert after == f"28}}{END}"
        assert before.startswith(one.prompt)
        seen.add(before.removeprefix(one.prompt))

    assert {"", body} <= seen, "neither the beginning nor the end is left out"
    assert all(body.startswith(cut) for cut in seen)
    assert len(seen) == len(encoder.encode(Example("", body), random.Random(0)).ids), (
        "every token once, less the end token, and the empty cut"
    )


def test_of_a_forced_example_neither_prompt_nor_probe_is_learned(encoder: Encoder, decode: Any):
    for seed in range(20):
        found = encoder.encode(forced(THOUGHT, "28"), random.Random(seed))
        prompt, *rest = [(learns, decode(ids)) for learns, ids in parts(found)]
        # A cut before the first token makes prompt and probe one run.
        if not rest[1:]:
            assert prompt == (False, THOUGHT.prompt + PROBE)
        else:
            body, probe, *rest = rest
            assert (prompt, probe) == ((False, THOUGHT.prompt), (False, PROBE))
            assert body[0]
            assert THOUGHT.completion.startswith(body[1])
        assert rest == [(True, f"28}}{END}")]


def test_the_source_of_randomness_says_where_it_is_cut(encoder: Encoder):
    one = forced(THOUGHT, "28")
    cuts = [encoder.encode(one, random.Random(seed)) for seed in (1, 1, 2, 3, 4)]

    assert cuts[0] == cuts[1]
    assert len({len(cut.ids) for cut in cuts}) > 1


@given(st.integers(0, 2**32))
def test_every_drawn_example_is_learned_up_to_one_end(encoder: Encoder, decode: Any, seed: int):
    rng = random.Random(seed)
    one = example(rng)

    found = encoder.encode(one, rng)

    assert len(found.ids) == len(found.learn)
    assert decode(found.ids).startswith(one.prompt)
    text = decode(learned(found))
    assert text.endswith(END)
    assert text.count(END) == 1
    if one.forced is None:
        assert text == one.completion + END
    else:
        assert text.endswith(f"{one.forced}}}{END}")
        assert "</think>" not in text
        assert PROBE in decode(found.ids)
        assert PROBE not in text


def drawn(seed: str, count: int) -> list[tuple[Any, Any]]:
    with closing(batches(TOKENIZER, TOKENS, seed)) as endless:
        return list(islice(endless, count))


def test_batches_are_fixed_by_their_seed(encoder: Encoder):
    count = 150  # more than the short ones that come first
    first, again, other = (drawn(seed, count) for seed in ("7", "7", "8"))

    for ids, labels in first:
        rows, width = ids.shape
        assert width in BUCKETS
        assert rows == max(1, TOKENS // width)
        assert ids.dtype == labels.dtype == np.int64
        assert labels.shape == ids.shape
        carried = labels != IGNORED
        assert (labels[carried] == ids[carried]).all()
        assert carried.any(axis=1).all(), "every row teaches something"
        assert not carried[:, 0].any(), "but not its question"
        # Padding is 0, comes last, and carries no loss; a shorter bucket would not have done.
        lengths = [int(np.flatnonzero(row)[-1]) + 1 for row in ids]
        assert all(length <= width for length in lengths)
        assert min(lengths) > max([0, *(other for other in BUCKETS if other < width)])
    assert len({ids.shape for ids, _ in first}) > 1
    for one, same in zip(first, again, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one, same, strict=True))
    assert not any(
        np.array_equal(one, different)
        for (one, _), (different, _) in zip(first, other, strict=True)
        if one.shape == different.shape
    )
