"""A pooling model on vLLM in this process: token ids in, what its head says out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dynasor_graph.engine.vllm_host import VllmHost, has_gpu
from dynasor_graph.errors import ConfigError, EngineDied, EngineError
from dynasor_graph.types import Message

__all__ = ["Pooled", "VllmPooler"]

_CLOSED = "the reward model was closed while it was judging"
_MEMORY = 0.15
"""Share of the GPU's memory: a generator beside it takes most of the rest."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """What a model says of one text.

    Attributes:
        rows: Raw numbers of the head: a row for each step tag, or a single one.
        computed: Tokens that were not found in the prefix cache.
    """

    rows: list[list[float]]
    computed: int


class VllmPooler(VllmHost):
    """Runs a model with a classification head, such as a reward model.

    Without `step_tag` the last token is judged, and the prefix cache is used. With it each tag in the
    text is, and vLLM computes the whole text at each call.

    Args:
        model: A folder with a model, the name of a bundled one ("abacus-7m-reward"), or a hub name.
        step_tag: Text of the one token that ends a step, such as "<extra_0>" for Qwen's models.
        max_num_seqs: Most texts in the running batch.
        thread: As for `VllmEngine`.
        fast_start: As for `VllmEngine`.
        verbose: As for `VllmEngine`.
        engine_args: Anything else that vLLM's `AsyncEngineArgs` takes. On a GPU
            `gpu_memory_utilization` is 0.15 if left out.

    Raises:
        ConfigError: On opening: the model has no head that judges, or not one token is the tag.
        EngineStartError: On opening: vLLM refused the model or the arguments.
    """

    def __init__(
        self,
        model: str | Path = "abacus-7m-reward",
        *,
        step_tag: str | None = None,
        max_num_seqs: int = 256,
        thread: bool = True,
        fast_start: bool | None = None,
        verbose: bool = False,
        **engine_args: Any,
    ) -> None:
        arguments = {"max_num_seqs": max_num_seqs, **engine_args}
        super().__init__(model, arguments, thread=thread, fast_start=fast_start, verbose=verbose)
        self.step_tag = step_tag
        self.labels = 0  # known once it is open
        self._task = "classify" if step_tag is None else "token_classify"
        self._serial = itertools.count()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            tasks = await self._own.run(self._llm.get_supported_tasks())
            if self._task not in tasks:
                raise ConfigError(
                    f"model {self.model!r} cannot {self._task}, only {', '.join(sorted(tasks))}: "
                    + ("leave step_tag out" if self.step_tag else "give it a step_tag")
                )
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def _arguments(self) -> dict[str, Any]:
        args: dict[str, Any] = {"runner": "pooling"}
        if has_gpu():
            args["gpu_memory_utilization"] = _MEMORY
        if self.step_tag is not None:
            from vllm.config import PoolerConfig

            args["pooler_config"] = PoolerConfig(
                task="token_classify",
                tok_pooling_type="STEP",
                step_tag_id=_tag_id(self._path, self.step_tag),
            )
        return args

    def _check(self, config: Any) -> None:
        model = config.model_config
        self.labels = int(getattr(model.hf_config, "num_labels", 0) or 0)
        if model.convert_type == "embed" or model.runner_type != "pooling":
            raise ConfigError(
                f"model {self.model!r} ({', '.join(model.architectures)}) writes text or embeds it, "
                f"it has no head that judges: take a reward model, one with a classification head "
                f"of one or two labels (such as abacus-7m-reward)"
            )

    # Judging -----------------------------------------------------------------------------------

    async def pool(self, token_ids: Sequence[int]) -> Pooled:
        """What the model says of these tokens.

        Raises:
            EngineDied: vLLM died, or was closed meanwhile.
            EngineError: It is not open, or vLLM refused the tokens.
        """
        if not self.context:
            raise EngineError("the reward model is not open: use it inside `async with`")
        try:
            return await self._own.run(self._pool(list(token_ids)))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.context or (task is not None and task.cancelling()):
                raise
            raise EngineDied(_CLOSED) from None

    async def _pool(self, token_ids: list[int]) -> Pooled:
        from vllm import PoolingParams
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        params = PoolingParams(task=self._task, use_activation=False)
        name = f"p-{next(self._serial)}"
        try:
            outputs = self._llm.encode(tokens_input(token_ids), params, request_id=name)
            (output,) = [output async for output in outputs]
            data = output.outputs.data.float().tolist()
        except EngineDeadError as error:
            raise EngineDied(f"vLLM died: {error}") from error
        except Exception as error:
            if not self.context:
                raise EngineDied(_CLOSED) from error
            raise EngineError(f"vLLM refused to judge: {error.__cause__ or error}") from error
        rows = data if self.step_tag is not None else [data]
        return Pooled(rows, len(token_ids) - (output.num_cached_tokens or 0))

    async def render(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a whole chat, by the model's template."""
        return await self.encode(self._template(messages))


def _tag_id(path: str, tag: str) -> int:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(path).encode(tag, add_special_tokens=False)
    if len(ids) != 1:
        raise ConfigError(
            f"step_tag {tag!r} is {len(ids)} tokens of {path!r}, and must be one: take the token "
            f"that the model was trained with, such as '<extra_0>'"
        )
    return int(ids[0])
