"""Text of a stream, chunk by chunk, is what going token by token says."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.decoders import DecodeStream

from dynasor_graph.abacus import model_path
from dynasor_graph.engine.text import Text, fast_tokenizer


def of_bytes() -> Tokenizer:
    """A tokenizer whose tokens are single bytes, some words, and one special token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: number for number, letter in enumerate(letters)}
    for word in ("Ġthe", "Ġanswer", "Ġis"):
        vocab[word] = len(vocab)
    made = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<eos>"])
    return made


def of_words() -> Tokenizer:
    """A tokenizer that leaves the space before a text's first word out."""
    vocab = {"▁the": 0, "▁answer": 1, "▁is": 2, "s": 3, "<0xF0>": 4, "<0x9F>": 5, "<0x99>": 6}
    vocab |= {"<0x82>": 7, "<unk>": 8}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return made


BYTES, WORDS = of_bytes(), of_words()


def one_by_one(tokenizer: Tokenizer, prompt: list[int], ids: list[int]) -> str:
    stream = DecodeStream(ids=prompt, skip_special_tokens=True)
    return "".join(stream.step(tokenizer, one) or "" for one in ids)


def in_chunks(tokenizer: Tokenizer, prompt: list[int], ids: list[int], cuts: list[int]) -> str:
    text = Text(tokenizer, prompt)
    bounds = sorted({0, *(cut for cut in cuts if cut < len(ids)), len(ids)})
    parts = list(pairwise(bounds)) or [(0, 0)]
    return "".join(text.add(ids[a:b], last=(a, b) == parts[-1]) for a, b in parts)


def bytes_of(text: str) -> list[int]:
    return BYTES.encode(text).ids


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        pytest.param("2 + 2?", "The answer is 4.", id="letters"),
        pytest.param("Qué?", "naïve 🙂 日本語 👩‍👩‍👧", id="characters of several bytes"),
        pytest.param("", "no prompt", id="no prompt"),
        pytest.param("long " * 40, " goes on", id="long prompt"),
        pytest.param("🙂" * 9, "🙂", id="prompt cut within a character"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunks_say_what_was_said(prompt: str, said: str, size: int) -> None:
    ids = bytes_of(said)
    cuts = list(range(0, len(ids), size))
    assert in_chunks(BYTES, bytes_of(prompt), ids, cuts) == said


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_character_that_is_cut_off_is_left_out(kept: int) -> None:
    ids = bytes_of("so 🙂")[: 3 + kept]
    assert in_chunks(BYTES, [], ids, []) == "so "


def test_character_goes_on_in_the_next_chunk() -> None:
    text, ids = Text(BYTES, []), bytes_of("🙂!")
    assert text.add(ids[:2], last=False) == ""
    assert text.add(ids[2:], last=True) == "🙂!"


def test_special_tokens_say_nothing() -> None:
    (end,) = bytes_of("<eos>")
    assert in_chunks(BYTES, [], [*bytes_of("so"), end], []) == "so"


def test_nothing_more_says_nothing() -> None:
    text = Text(BYTES, bytes_of("so"))
    assert text.add([], last=True) == ""


@pytest.mark.parametrize(
    ("prompt", "said"), [([0], " answer is"), ([], "answer is"), ([0] * 40, " answer is")]
)
def test_space_before_the_first_word_is_there_after_a_prompt(prompt: list[int], said: str) -> None:
    assert in_chunks(WORDS, prompt, [1, 2], []) == said


@given(
    st.lists(st.integers(0, 259), max_size=30),
    st.text(max_size=30),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_chunks_say_the_same_as_single_tokens(
    prompt: list[int], said: str, cuts: list[int]
) -> None:
    ids = bytes_of(said)
    assert in_chunks(BYTES, prompt, ids, cuts) == one_by_one(BYTES, prompt, ids)


def test_only_tokenizers_in_rust_are_taken() -> None:
    from transformers import AutoTokenizer

    found = fast_tokenizer(AutoTokenizer.from_pretrained(model_path()))
    assert found is not None
    assert Text(found, []).add(found.encode("So 4.").ids, last=True).strip() == "So 4."
    assert fast_tokenizer(object()) is None
