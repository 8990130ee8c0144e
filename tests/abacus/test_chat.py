"""Chat: what the generator writes is what the bundled tokenizer and its template expect."""

from __future__ import annotations

import json

import jinja2
import pytest

from dynasor_graph.abacus import PROBE, chat, model_path
from dynasor_graph.abacus.chat import END, PAD, ROLES, THINK
from dynasor_graph.algorithms import cot


@pytest.mark.parametrize(
    ("completion", "written"),
    [
        pytest.param("", "<|user|>How many?<|assistant|>", id="question"),
        pytest.param("Two.", "<|user|>How many?<|assistant|>Two.", id="answered"),
        pytest.param(THINK, "<|user|>How many?<|assistant|><think>\n", id="thinks-first"),
    ],
)
def test_chat_format(completion: str, written: str) -> None:
    assert chat("How many?", completion) == written


@pytest.mark.parametrize("thinking", [False, True], ids=["direct", "thinking"])
def test_the_bundled_template_writes_the_same(thinking: bool) -> None:
    template = jinja2.Template((model_path() / "chat_template.jinja").read_text())
    messages = [{"role": "user", "content": "How many?"}]
    assert template.render(
        messages=messages, add_generation_prompt=True, enable_thinking=thinking
    ) == chat("How many?", THINK if thinking else "")


def test_the_bundled_tokenizer_knows_the_marks() -> None:
    tokenizer = json.loads((model_path() / "tokenizer.json").read_text())
    assert {PAD, END, *ROLES} <= {token["content"] for token in tokenizer["added_tokens"]}
    config = json.loads((model_path() / "tokenizer_config.json").read_text())
    assert (config["pad_token"], config["eos_token"]) == (PAD, END)


def test_the_model_learned_the_probe_that_programs_ask_it() -> None:
    assert PROBE == cot.PROBE
    assert PROBE.endswith("\\boxed{")
