"""Steps: what vLLM's engine process reports with each step, read on its way into vLLM's front end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynasor_graph.engine.step_times import StepTimes
from dynasor_graph.types import Load

__all__ = ["Steps"]


class Steps:
    """Spares AsyncLLM most of its work for each token, and knows the load after each step.

    Its statistics took 45 % of this process's time at 256 requests in flight (vLLM 0.32): the times of
    each token, with a look into the environment for each, and Prometheus after each step. And each
    token of each request went through a loop that does nothing with it until the request ends, or
    streams. Such tokens are put down here, and vLLM sees the outputs that say something new.

    Args:
        llm: An AsyncLLM that reports statistics, before its first request.
        tell: Told which requests have begun with a step, and which have ended, by their names, before
            vLLM's front end sees any of it.

    Attributes:
        load: As of the last step.
        times: Of steps with nearly as many requests as the largest of late.
    """

    def __init__(self, llm: Any, tell: Callable[[list[str], list[str]], None]) -> None:
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.detokenizer import IncrementalDetokenizer

        self.load = Load()
        self.times = StepTimes()
        self._most = 1.0  # requests in a step, of late
        self._ended = 0.0
        self._tell = tell
        self._requests = llm.output_processor.request_states
        self._final_only, self._textless = RequestOutputKind.FINAL_ONLY, IncrementalDetokenizer
        self._generated = self._computed = 0
        self._ranks: dict[int, Any] = {}  # with data parallelism there are several
        self._read = llm.engine_core.get_output_async
        llm.engine_core.get_output_async = self._read_and_count
        llm.log_stats = llm.output_processor.log_stats = False
        llm.logger_manager = None

    async def _read_and_count(self) -> Any:
        step = await self._read()
        size, new = len(step.outputs), []
        begun, ended = list[str](), list[str]()
        for output in step.outputs:
            state = self._requests.get(output.request_id)
            if state is None:  # it was aborted, and nobody sees it
                continue
            self._generated += len(output.new_token_ids)
            if output.prefill_stats is not None:
                self._computed += output.prefill_stats.num_computed_tokens
                begun.append(state.external_req_id)
            if output.finish_reason is not None:
                ended.append(state.external_req_id)
            if not self._puts_down(state, output):
                new.append(output)
        step.outputs = new
        self._most = max(size, 0.999 * self._most)
        full = size > 0.75 * self._most
        if full and self._ended:
            self.times.note(step.timestamp - self._ended, begun=bool(begun))
        self._ended = step.timestamp if full else 0.0
        if step.scheduler_stats is not None:
            self._ranks[step.engine_index] = step.scheduler_stats
        ranks = self._ranks.values()
        self.load = Load(
            running=sum(rank.num_running_reqs for rank in ranks),
            waiting=sum(rank.num_waiting_reqs for rank in ranks),
            kv_usage=max((rank.kv_cache_usage for rank in ranks), default=0.0),
            generated=self._generated,
            prompt_computed=self._computed,
        )
        if begun or ended:
            self._tell(begun, ended)
        return step

    def _puts_down(self, state: Any, output: Any) -> bool:
        """Note tokens of a request that vLLM would note and say nothing of; whether it was so."""
        if (
            state.is_prefilling
            or output.finish_reason is not None
            or output.new_logprobs is not None
            or type(state.detokenizer) is not self._textless
        ):
            return False
        said, ids = state.detokenizer.token_ids, output.new_token_ids
        if (
            state.output_kind is not self._final_only
            and len(said) + len(ids) - state.sent_tokens_offset >= state.stream_interval
        ):
            return False
        said.extend(ids)
        return True
