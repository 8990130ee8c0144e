"""Score answers with the reward model: the chance that an answer turns out right, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaForSequenceClassification

__all__ = ["line_ends", "score"]


def line_ends(ids: Sequence[int], newline: int) -> list[int]:
    """The positions of the line ends in an answer, and of its last token."""
    ends = [at for at, token in enumerate(ids) if token == newline]
    return [*ends, len(ids) - 1] if ids and (not ends or ends[-1] != len(ids) - 1) else ends


@torch.no_grad()
def score(
    folder: Path,
    device: torch.device,
    pairs: Sequence[tuple[list[int], list[int]]],
    newline: int,
    batch: int = 512,
) -> list[list[float]]:
    """Score answers at every line end.

    Args:
        folder: The reward model.
        device: Where to run it.
        pairs: Question and answer as token ids.
        newline: The token that ends a line.
        batch: How many to score at once.

    Returns:
        For each pair, the reward in [0, 1] at each of its line ends, the last token included.
    """
    model = LlamaForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16)
    model = model.to(device).eval()
    scores: list[list[float]] = [[] for _ in pairs]
    order = sorted(range(len(pairs)), key=lambda at: sum(map(len, pairs[at])))
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        rows = [torch.tensor([*pairs[at][0], *pairs[at][1]]) for at in part]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        found = torch.sigmoid(model.score(model.model(input_ids=ids).last_hidden_state).float())
        rewards = found[..., 0].cpu()
        for row, at in enumerate(part):
            prompt, answer = pairs[at]
            ends = [len(prompt) + end for end in line_ends(answer, newline)]
            scores[at] = rewards[row, ends].tolist()
    return scores
