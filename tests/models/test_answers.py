"""The answers that the reward model learns from."""

from __future__ import annotations

import itertools
import random

import pytest

from dynasor_graph.abacus import model_path
from dynasor_graph.abacus.chat import ROLES

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from models.abacus import answers, sampling  # noqa: E402

TOKENIZER = sampling.load_tokenizer(model_path())


def test_written_answers_are_right_until_their_first_mistake():
    made = answers.written(200, TOKENIZER, random.Random(0))

    for answer in made:
        text = TOKENIZER.decode(answer.ids)
        assert text.startswith(ROLES[0])
        assert answer.places == list(range(answer.places[0], len(answer.ids)))
        assert TOKENIZER.decode(answer.ids[: answer.places[0]]).endswith("<|assistant|>")
        assert answer.labels == sorted(answer.labels, reverse=True)
        assert answer.labels[0] == 1.0
    shares = sum(answer.labels[-1] for answer in made) / len(made)
    assert 0.4 < shares < 0.7, "about half are wrong, but where a mistake makes no difference"


def test_a_label_turns_at_the_very_token_that_is_wrong():
    turned = []
    for answer in answers.written(200, TOKENIZER, random.Random(1)):
        if answer.labels[-1]:
            continue
        at = answer.places[answer.labels.index(0.0)]
        turned.append(TOKENIZER.decode([answer.ids[at]]).strip())

    assert {"+", "-"} <= set(turned), "a misread relation is wrong at its sign"
    assert any(token.isdecimal() for token in turned), "a slip at its digit"


def test_only_places_carry_a_label():
    one = answers.Answer([5, 6, 7], [1, 2], [1.0, 0.0])
    other = answers.Answer([8], [0], [1.0])

    ids, labels = answers.lay_out([one, other])

    assert ids.shape == labels.shape == (2, 128)
    assert ids[0, :4].tolist() == [5, 6, 7, 0]
    assert ids[1, :2].tolist() == [8, 0]
    assert labels[0, :4].tolist() == [-1, 1, 0, -1]
    assert labels[1, :2].tolist() == [1, -1]


def test_batches_of_own_answers_are_about_equally_long_and_can_be_resumed():
    made = [answers.Answer([1] * n, [n - 1], [1.0]) for n in range(1, 1000)]

    whole = list(itertools.islice(answers.own_batches(made, 16, seed=3), 6))
    resumed = list(itertools.islice(answers.own_batches(made, 16, seed=3, first=4), 2))

    for ids, labels in whole:
        lengths = (labels >= 0).argmax(1)
        assert lengths.max() - lengths.min() < 16
        assert ids.shape[0] <= 16
    assert all((a[0] == b[0]).all() for a, b in zip(whole[4:], resumed, strict=True))
