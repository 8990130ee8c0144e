"""Synthetic: recordings that are drawn, not recorded: load of any size for simulated engines."""

from __future__ import annotations

import random

from dynasor_graph.errors import ConfigError
from dynasor_graph.recordings.recorded import Recorded, Sample

__all__ = ["synthetic"]

_WORD = "word "
"""Text of a question: replayed prompts hold four bytes a token."""


def synthetic(
    questions: int,
    *,
    samples: int = 20,
    tokens: float = 500.0,
    spread: float = 0.5,
    prompt_tokens: int = 100,
    answers: int = 4,
    seed: int = 0,
) -> list[Recorded]:
    """Draw questions with samples: for tests, and for load that nobody has recorded.

    Lengths are lognormal: a half of `spread` lies between questions, the rest between the samples of
    one. Each question has a share of right samples, uniform in [0, 1]; wrong ones spread over the
    other answers. The same arguments give the same recordings.

    Args:
        questions: How many; their ids are `synthetic-0` and so on, and "0" is always right.
        samples: Of each, >= 1.
        tokens: Median length of a sample, > 0.
        spread: Standard deviation of the logarithm of the length, >= 0.
        prompt_tokens: About as many tokens has a question's prompt, if it is replayed.
        answers: Different answers, >= 2.
        seed: Of everything that is drawn.

    Raises:
        ConfigError: An argument is out of range.
    """
    ranges = {
        "questions": (questions, questions >= 0, "0 or more"),
        "samples": (samples, samples >= 1, "at least 1"),
        "tokens": (tokens, tokens > 0, "more than 0"),
        "spread": (spread, spread >= 0, "0 or more"),
        "prompt_tokens": (prompt_tokens, prompt_tokens >= 0, "0 or more"),
        "answers": (answers, answers >= 2, "at least 2"),
    }
    for name, (value, fits, allowed) in ranges.items():
        if not fits:
            raise ConfigError(f"{name} must be {allowed}, got {value}")
    each = spread / 2**0.5
    found = []
    for number in range(questions):
        rng = random.Random(f"{seed}/{number}")
        share, median = rng.random(), tokens * rng.lognormvariate(0.0, each)
        drawn = []
        for _ in range(samples):
            answer = "0" if rng.random() < share else str(rng.randrange(1, answers))
            length = max(1, round(median * rng.lognormvariate(0.0, each)))
            drawn.append(Sample(answer, length, correct=answer == "0"))
        name = f"synthetic-{number}"
        text = f"{name} {_WORD * prompt_tokens}"[: max(len(name), 4 * prompt_tokens)]
        found.append(
            Recorded(
                name, tuple(drawn), dataset="synthetic", model="synthetic", question=text, gold="0"
            )
        )
    return found
