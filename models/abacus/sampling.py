"""Load the language model, sample from it, and read the answers out of its text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["boxed", "encode", "load_model", "load_tokenizer", "require_model", "sample"]


def require_model(folder: Path, made_by: str) -> Path:
    """Check that a folder holds a model.

    Args:
        folder: The folder.
        made_by: The command that makes such a model, for the message.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: It does not.
    """
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no model ({name} is missing): {made_by}")
    return folder


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


def load_model(folder: Path, device: torch.device) -> LlamaForCausalLM:
    """The language model of a folder, ready to sample from."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return model.to(device).eval()


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The token ids of a text in chat format."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def boxed(text: str) -> str | None:
    r"""The last ``\boxed`` number of a text; None if there is none."""
    found = re.findall(r"\\boxed\{(\d+)\}", text)
    return found[-1] if found else None


@torch.no_grad()
def sample(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str] | Sequence[list[int]],
    *,
    count: int,
    max_tokens: int,
    temperature: float,
    batch: int | None = None,
) -> list[list[list[int]]]:
    """Complete prompts.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        prompts: The texts to go on from, in chat format, or their token ids.
        count: How many completions of each.
        max_tokens: The greatest length of a completion.
        temperature: How random they are; 0 takes the likeliest token.
        batch: How many completions to draw at once; by default 4,096 on a GPU, 96 on a CPU.

    Returns:
        For each prompt its completions as token ids, the end token cut off.
    """
    if batch is None:
        # A batch takes as long as its longest completion: where steps are slow, small ones pay.
        batch = 4096 if model.device.type == "cuda" else 96
    encoded = [
        encode(tokenizer, prompt) if isinstance(prompt, str) else prompt for prompt in prompts
    ]
    rows = [position for position in range(len(prompts)) for _ in range(count)]
    # Prompts of like length share a batch, so that little of it is padding.
    rows.sort(key=lambda position: len(encoded[position]))
    drawn: list[list[list[int]]] = [[] for _ in prompts]
    how: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        ids, mask = _pad_left([encoded[position] for position in part], tokenizer.pad_token_id)
        made = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **how,
        )
        for position, row in zip(part, made[:, ids.shape[1] :].tolist(), strict=True):
            drawn[position].append(_until(row, ends))
    return drawn


def _pad_left(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _until(row: list[int], ends: Iterable[int]) -> list[int]:
    stop = next((at for at, token in enumerate(row) if token in ends), len(row))
    return row[:stop]
