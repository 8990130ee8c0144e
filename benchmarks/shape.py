"""Shape: the folder of a model that has a real model's size and no weights: vLLM makes them up.

    python -m benchmarks.shape 7b FOLDER

What it says is noise; what it takes is what a model of that size takes. Open it with the engine
arguments `ENGINE_ARGS`. Its tokenizer reads English at a real one's length: it has learned the words of
this project's questions, probes and documentation. The rest of its entries, as many as the real one
has, are made up, so that texts are put together at the real cost.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from dynasor_graph.algorithms.cot import PROBE
from dynasor_graph.demo import demo_questions

__all__ = ["ENGINE_ARGS", "SHAPES", "write_shape"]

SHAPES: Final[dict[str, dict[str, Any]]] = {
    # Qwen2.5-7B.
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
    },
    # Its texts, and next to no layers: for `benchmarks.sleeping`.
    "7b-texts": {
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 152_064,
    },
    # To try a benchmark on a CPU.
    "tiny": {
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 8192,
    },
}

ENGINE_ARGS: Final[dict[str, Any]] = {"load_format": "dummy", "max_model_len": 8192}

_TEMPLATE: Final = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
    "{% if enable_thinking %}<think>\n{% endif %}"
)
_ENDS: Final = 8
"""Places at the end of the vocabulary for special tokens."""
_WORDS: Final = 4096
"""Entries that are learned."""


def write_shape(name: str, folder: Path) -> Path:
    """Write configuration and tokenizer of a shape."""
    from transformers import PreTrainedTokenizerFast

    shape = SHAPES[name]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(shape["vocab_size"]),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        chat_template=_TEMPLATE,
    )
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(folder)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_act": "silu",
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": fast.bos_token_id,
        "eos_token_id": fast.eos_token_id,
        "pad_token_id": fast.pad_token_id,
        **shape,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return folder


def _tokenizer(size: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=_WORDS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learned.train_from_iterator(_english(), trainer)
    model = json.loads(learned.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    number = 0
    while len(vocab) < size - _ENDS:
        vocab.setdefault(f"Ġ{number:x}", len(vocab))
        number += 1
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(two) for two in model["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _english() -> list[str]:
    pages = sorted((Path(__file__).parents[1] / "docs").rglob("*.md"))
    probes = [PROBE] * 20  # common phrases in what real tokenizers have read
    return [*probes, *(q.text for q in demo_questions(500, seed=5)), *map(Path.read_text, pages)]


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    print(write_shape(args.shape, args.folder))


if __name__ == "__main__":
    main()
