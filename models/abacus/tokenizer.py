"""Build the tokenizer of abacus-7m: byte-pair encoding that keeps every digit a token of its own.

python -m models.abacus.tokenizer --out runs/abacus/tokenizer
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from dynasor_graph.abacus.chat import END, PAD, PROBE, ROLES
from dynasor_graph.abacus.questions import example
from models.abacus import options

CONTEXT: Final = 1536
DEFAULT_VOCABULARY: Final = 768

_CORPUS_SEED: Final = 7
_CORPUS_SIZE: Final = 20_000
# A digit (with the space before it), line ends, a word, other signs, white space.
_PIECES: Final = r" ?\d|\n+| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s+"
_TEMPLATE: Final = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
)


def build_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer on generated examples.

    Args:
        vocabulary: Its number of tokens. The 256 bytes and 4 special tokens are always in.

    Returns:
        The tokenizer, with the chat template of the model.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, *ROLES],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = _TEMPLATE
    return wrapped


def _corpus() -> list[str]:
    rng = random.Random(_CORPUS_SEED)
    drawn = (example(rng) for _ in range(_CORPUS_SIZE))
    texts = [one.prompt + one.completion + (PROBE if one.forced else "") for one in drawn]
    for role in ROLES:
        texts = [text.replace(role, " ") for text in texts]
    # Every printable sign once, so that none of them is unknown.
    return [*texts, "".join(chr(code) for code in range(32, 127))]


def main() -> None:
    """Build the tokenizer and save it."""
    parser = argparse.ArgumentParser(description=options.first_line(__doc__))
    parser.add_argument("--out", type=Path, required=True, help="folder to save it in")
    parser.add_argument(
        "--vocabulary",
        type=options.positive_int,
        default=DEFAULT_VOCABULARY,
        help="number of tokens, at least 260 (default: %(default)s)",
    )
    args = parser.parse_args()
    tokenizer = build_tokenizer(args.vocabulary)
    tokenizer.save_pretrained(args.out)
    print(f"{len(tokenizer)} tokens, saved in {args.out}")


if __name__ == "__main__":
    main()
