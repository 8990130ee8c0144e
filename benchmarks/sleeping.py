"""Sleeping: a vLLM whose steps take as long as a GPU's, and compute nothing.

    python -m benchmarks.shape 7b-texts FOLDER
    python -m benchmarks.overhead --part engine --sleeping --model FOLDER --in-flight 64 256 1024 ...

All of vLLM but the model is real: its scheduler, its processes, its queues, its texts. So it shows on
any machine what Python costs beside a fast GPU. Steps take what those of a 7B model took on an H200: a
small part in any case, and more with each sequence and each token of a prompt. With `hurry` they take
less: what a GPU would be to a processor that is so many times as slow as this one.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.outputs import ModelRunnerOutput

from benchmarks.shape import ENGINE_ARGS
from dynasor_graph.engine.vllm import VllmEngine

__all__ = ["Sleeping", "SleepingEngine"]

FIXED, PER_SEQUENCE, PER_PROMPT_TOKEN, MIXED, MIXED_FIXED = 3.84e-3, 2.56e-5, 2e-5, 1.6e-5, 2.4e-3
"""Seconds of a step: at all, for each sequence and each prompt token in it, and for each sequence beside
which a prompt is computed: such a step is no whole CUDA graph."""
TOKEN = 1000


class Sleeping(UniProcExecutor):  # type: ignore[misc]
    """Runs no step, and takes as long for it."""

    def _init_executor(self) -> None:
        super()._init_executor()
        self._hurry = self.vllm_config.additional_config["hurry"]
        self._prompts: dict[str, int] = {}
        self._gpu = ThreadPoolExecutor(1, "gpu")
        self._last: Future[ModelRunnerOutput] | None = None

    def execute_model(self, scheduler_output: SchedulerOutput, non_block: bool = False) -> Any:
        """Take a step in, as a GPU does: after those before it."""
        cached = scheduler_output.scheduled_cached_reqs
        computed = dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        for new in scheduler_output.scheduled_new_reqs:
            self._prompts[new.req_id] = len(new.prompt_token_ids)
            computed[new.req_id] = new.num_computed_tokens
        names = list(scheduler_output.num_scheduled_tokens)
        counts = scheduler_output.num_scheduled_tokens
        made = [
            [TOKEN] if computed[name] + counts[name] >= self._prompts[name] else []
            for name in names
        ]
        for name in scheduler_output.finished_req_ids:
            self._prompts.pop(name, None)
        prompt = scheduler_output.total_num_scheduled_tokens - sum(map(len, made))
        seconds = FIXED + PER_SEQUENCE * len(names)
        if prompt > 0:
            seconds += PER_PROMPT_TOKEN * prompt + MIXED * len(names) + MIXED_FIXED
        seconds = seconds / self._hurry if names else 0.0
        index = {name: number for number, name in enumerate(names)}
        output = ModelRunnerOutput(req_ids=names, req_id_to_index=index, sampled_token_ids=made)
        self._last = self._gpu.submit(self._step, seconds, output)
        if non_block and names:  # what it makes is asked for with `sample_tokens`
            nothing: Future[ModelRunnerOutput | None] = Future()
            nothing.set_result(None)
            return nothing
        return self._last if non_block else self._last.result()

    @staticmethod
    def _step(seconds: float, output: ModelRunnerOutput) -> ModelRunnerOutput:
        time.sleep(seconds)
        return output

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        """What the last step made."""
        assert self._last is not None
        return self._last if non_block else self._last.result()


class SleepingEngine(VllmEngine):
    """An engine that sleeps; its model is loaded for its sizes alone."""

    def __init__(
        self, model: str, *, max_num_seqs: int, thread: bool = True, hurry: float = 1.0
    ) -> None:
        super().__init__(
            model,
            max_num_seqs=max_num_seqs,
            thread=thread,
            fast_start=False,
            enforce_eager=True,
            enable_chunked_prefill=True,
            dtype="float32",
            block_size=32,  # the smallest here: branches share most of their prompt, as on a GPU
            gpu_memory_utilization=0.3,  # of the machine's memory: by default nearly all of it
            distributed_executor_backend=Sleeping,
            additional_config={"hurry": hurry},
            **ENGINE_ARGS,
        )

    def _check(self, config: Any) -> None:
        # As on a GPU, where the next step is made ready while the last one runs.
        config.scheduler_config.async_scheduling = True

    def _opened(self, config: Any) -> None:
        super()._opened(config)
        self._on_gpu = True  # it behaves as one
