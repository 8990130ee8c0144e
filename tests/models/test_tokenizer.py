"""The bundled tokenizer keeps digits apart, and writes the chat format of the package."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from dynasor_graph.abacus import PROBE, chat, model_path
from dynasor_graph.abacus.chat import END, PAD, ROLES, THINK

QUESTION = "Xena has 28 cards. How many cards does Xena have?"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("torch")
    return pytest.importorskip("transformers").PreTrainedTokenizerFast.from_pretrained(model_path())


def encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def test_no_token_holds_two_digits(tokenizer: Any):
    digits = [
        sum(sign.isdigit() for sign in tokenizer.decode([token])) for token in range(len(tokenizer))
    ]

    assert max(digits) == 1
    assert sum(digits) >= 20, "ten digits, each with and without a space before it"


@given(number=st.integers(0, 10**12))
def test_a_number_is_as_many_tokens_as_digits(tokenizer: Any, number: int):
    ids = encode(tokenizer, str(number))

    assert [tokenizer.decode([token]) for token in ids] == list(str(number))


@given(text=st.text(st.characters(codec="ascii"), max_size=60))
def test_no_text_is_lost(tokenizer: Any, text: str):
    assert tokenizer.decode(encode(tokenizer, text)) == text


@pytest.mark.parametrize("text", [PAD, END, *ROLES, "\n"])
def test_what_has_a_meaning_is_one_token(tokenizer: Any, text: str):
    (token,) = encode(tokenizer, text)

    assert tokenizer.decode([token]) == text


def test_the_special_tokens_are_known_as_such(tokenizer: Any):
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)
    assert tokenizer.pad_token_id == 0, "data and scoring pad with zeros"
    assert {PAD, END, *ROLES} <= set(tokenizer.all_special_tokens)
    assert tokenizer.decode(encode(tokenizer, chat("Hm", "Yes")), skip_special_tokens=True) == (
        "HmYes"
    )


def test_a_probe_ends_where_the_answer_begins(tokenizer: Any):
    apart = [*encode(tokenizer, PROBE), *encode(tokenizer, "193}")]

    assert encode(tokenizer, f"{PROBE}193}}") == apart


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, chat(QUESTION), id="not-said"),
        pytest.param({"enable_thinking": False}, chat(QUESTION), id="directly"),
        pytest.param({"enable_thinking": True}, chat(QUESTION, THINK), id="thinking"),
    ],
)
def test_the_chat_template_is_the_chat_of_the_package(
    tokenizer: Any, settings: dict[str, bool], expected: str
):
    messages = [{"role": "user", "content": QUESTION}]

    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **settings
    )

    assert text == expected


def test_what_the_model_said_ends_on_the_end_token(tokenizer: Any):
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "Xena has 28."},
    ]

    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        chat(QUESTION, "Xena has 28.") + END
    )
