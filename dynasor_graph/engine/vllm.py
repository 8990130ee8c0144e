"""An engine on vLLM in this process: GPU where there is one, else the CPU build."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import logging
import os
import sys
import threading
import warnings
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, TypeVar

from dynasor_graph.abacus import BUNDLED
from dynasor_graph.engine.base import check_fits
from dynasor_graph.engine.mailbox import Mailbox
from dynasor_graph.errors import (
    ConfigError,
    EngineDied,
    EngineError,
    EngineStartError,
    NotInstalled,
    UnknownName,
)
from dynasor_graph.types import Delta, FinishReason, Load, Message, Request

__all__ = ["VllmEngine"]

SMALL_MODEL = 1 << 30
"""Bytes of weights up to which the CPU build starts without compiling: compiling takes 40 s, and
was no faster for small models."""

FAST_START = {
    # One thread: with more, spinning barriers cost more than a small model's work.
    "OMP_NUM_THREADS": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""Environment in which the CPU build starts fast."""

_REASON: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "terminated"}
_T = TypeVar("_T")

_STREAM_INTERVAL = 16
_starting = threading.Lock()
"""Held while an engine starts: it changes the environment and the warning filters, and forks."""


class VllmEngine:
    """vLLM's AsyncLLM, on an event loop and a thread of its own.

    AsyncLLM belongs to the first loop that uses it and dies with it. On its own loop it can be used
    from any other: from `asyncio.run` twice in a row, notebooks, LangGraph's server.

    Args:
        model: A folder with a model, the name of a bundled one ("abacus-7m"), or a hub name.
        max_num_seqs: Most requests in the running batch.
        fast_start: CPU only: no torch.compile, one process less, forked: 12 s instead of 40 to
            60. By default for models below 1 GiB.
        verbose: Show what vLLM and torch print: log lines, progress bars and warnings. They decide
            at import, so the first engine of a process decides for all of them.
        engine_args: Anything else that vLLM's `AsyncEngineArgs` takes.

    Raises:
        NotInstalled: There is no vLLM; says which extra to install.
        UnknownName: The model is neither bundled nor a folder, and does not look like a hub name.
        EngineStartError: vLLM refused the model or the arguments.
    """

    def __init__(
        self,
        model: str | Path = "abacus-7m",
        *,
        max_num_seqs: int = 256,
        fast_start: bool | None = None,
        verbose: bool = False,
        **engine_args: Any,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            extra = "gpu" if Path("/dev/nvidiactl").exists() else "cpu"
            raise NotInstalled("vLLM", extra)
        self._path = _find(str(model))
        self.model = Path(model).name
        self.context = self.block = 0  # known once it is open
        self._args = {"max_num_seqs": max_num_seqs, **engine_args}
        self._fast_start, self._verbose = fast_start, verbose
        self._active: dict[Request, str] = {}
        self._serial = itertools.count()
        self._load = Load()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="vllm", daemon=True)
        try:
            await asyncio.to_thread(self._start)
        except Exception as error:
            self._loop.close()
            raise EngineStartError(f"vLLM could not start {self.model!r}: {error}") from error
        self._thread.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.context = 0
        await self._there(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    # Start and end ---------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _start(self) -> None:
        with _starting, warnings.catch_warnings():
            if not self._verbose:
                warnings.simplefilter("ignore")
            self._start_alone()

    def _start_alone(self) -> None:
        fast = self._set_environment()
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        args: dict[str, Any] = {"model": self._path, "scheduling_policy": "priority"}
        args["use_tqdm_on_load"] = self._verbose
        if fast:
            # vLLM 0.32 on the CPU dies when the prompt of a seeded request is cut into chunks.
            args |= {"enforce_eager": True, "block_size": 32, "enable_chunked_prefill": False}
        if not _streams_by_request():
            # A delta for each token of 300 chains at once floods this process (H200, vLLM 0.26):
            # the engine ran ahead, and probes were answered when their chain had ended.
            args["stream_interval"] = _STREAM_INTERVAL
        _register_llama(self._path)
        args |= self._args
        config = AsyncEngineArgs(disable_log_stats=True, **args).create_engine_config()
        if fast:
            # vLLM asks for spawn on the CPU; a forked engine process inherits the imports (10 s).
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        with _ready_to_fork() if fast else nullcontext():
            self._llm = AsyncLLM.from_vllm_config(
                config, stat_loggers=[_stat_logger(self)], disable_log_stats=True
            )
        self._tokenizer = self._llm.get_tokenizer()
        self._end = set(_end_tokens(self._llm, self._tokenizer))
        self.context = config.model_config.max_model_len
        self.block = config.cache_config.block_size

    def _set_environment(self) -> bool:
        """Set what vLLM and torch read at import; whether to start fast."""
        path = Path(self._path)
        defaults = {"VLLM_NO_USAGE_STATS": "1"}
        if not self._verbose:
            # The first lines come before vLLM has set up its logger.
            if "VLLM_LOGGING_LEVEL" not in os.environ:
                logging.getLogger("vllm").setLevel(logging.ERROR)
            defaults |= {"VLLM_LOGGING_LEVEL": "ERROR", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        if path.is_dir():
            defaults["HF_HUB_OFFLINE"] = "1"
        _set_defaults(defaults)
        if _has_gpu():
            # Not without torch.compile: prefill beside decoding fell from 16,000 to 10,000 tokens/s.
            _set_defaults({"VLLM_WORKER_MULTIPROC_METHOD": "spawn"})
            return False
        weights = sum(p.stat().st_size for p in path.glob("*.safetensors"))
        fast = self._fast_start
        if fast is None:
            fast = path.is_dir() and weights < SMALL_MODEL
        if fast:
            _set_defaults(FAST_START)
            if (dynamo := sys.modules.get("torch._dynamo")) is not None:
                dynamo.config.disable = True  # it has read its environment already
        return fast

    async def _shut_down(self) -> None:
        self._llm.shutdown()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=5) if tasks else None

    async def _there(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run on the engine's loop, wait on this one."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    # Generating ------------------------------------------------------------------------------

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Generate; see `Engine.stream`."""
        check_fits(request, self.context)
        box = Mailbox()
        name = self._active[request] = f"{request.program or 'r'}-{next(self._serial)}"
        pump: Future[None] = asyncio.run_coroutine_threadsafe(
            self._pump(request, name, box), self._loop
        )
        try:
            async for delta in box.read():
                yield delta
        finally:
            self._forget(request, name)
            pump.cancel()

    def _forget(self, request: Request, name: str) -> None:
        if self._active.get(request) == name:
            del self._active[request]

    async def _pump(self, request: Request, name: str, box: Mailbox) -> None:
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            outputs = self._llm.generate(
                tokens_input(list(request.tokens)),
                _sampling_params(request),
                request_id=name,
                priority=request.priority,
            )
            async for output in outputs:
                box.put(self._delta(output))
        except asyncio.CancelledError:
            box.put(EngineDied("the engine was closed while requests were running"))
            raise
        except EngineDeadError as error:
            box.put(EngineDied(f"vLLM died: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever vLLM raises belongs to the reader
            box.put(EngineError(f"vLLM refused the request: {error.__cause__ or error}"))
        finally:
            self._forget(request, name)  # there is nothing left to abort, read or not

    def _delta(self, output: Any) -> Delta:
        part = output.outputs[0]
        ids = tuple(part.token_ids)
        reason = part.finish_reason and _REASON.get(part.finish_reason, "stop")
        ended = reason == "stop" and ids and ids[-1] in self._end
        return Delta(
            token_ids=ids[:-1] if ended else ids,
            text=part.text,
            count=len(ids),
            finish_reason=reason,
            cached=output.num_cached_tokens or 0,
            logprob=part.cumulative_logprob,
        )

    async def abort(self, request: Request) -> None:
        """End one request and keep what it has; see `Engine.abort`."""
        if (name := self._active.get(request)) is not None:
            await self._there(self._abort(request, name))

    async def _abort(self, request: Request, name: str) -> None:
        # An abort that comes before vLLM has taken the request in is lost: ask until it is gone.
        while self._active.get(request) == name:
            await self._llm.abort(name)
            await asyncio.sleep(0.01)

    # Text and load ---------------------------------------------------------------------------

    async def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    async def render(self, messages: Sequence[Message], *, thinking: bool = False) -> list[int]:
        """Token ids of a chat, by the model's template; `thinking` is its `enable_thinking`."""
        if not getattr(self._tokenizer, "chat_template", None):
            raise ConfigError(f"model {self.model!r} has no chat template: its folder needs one")
        text = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
        return await self.encode(text)

    async def load(self) -> Load:
        """As vLLM reported after its last step."""
        return self._load


def _find(model: str) -> str:
    if model in BUNDLED:
        return str(BUNDLED[model]())
    if Path(model).is_dir():
        return model
    is_path = model.startswith((".", "/", "~")) or "/" not in model
    if is_path or Path(model).exists():
        raise UnknownName("model (not a folder)", model, BUNDLED)
    return model


def _has_gpu() -> bool:
    """Whether torch finds a GPU; its CPU build is not asked.

    To ask is to import it, which on the CPU has to wait until its environment is set.
    """
    if version("torch").endswith("+cpu"):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _set_defaults(environment: Mapping[str, str]) -> None:
    for key, value in environment.items():
        os.environ.setdefault(key, value)


@contextmanager
def _ready_to_fork() -> Iterator[None]:
    """Let torch use one thread, also where it was imported before its environment was set.

    What is forked meanwhile keeps this. With more threads OpenMP hangs in a forked process.
    """
    import torch

    # Nobody else asks the system for AMX before the first attention, if that is for a single
    # token: the engine process then dies of an illegal instruction.
    if torch.cpu._is_amx_tile_supported():
        torch.cpu._init_amx()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _register_llama(path: str) -> None:
    """Spare vLLM the look at its model class in a process of its own: 14 s at the first start."""
    config = Path(path) / "config.json"
    if config.is_file() and '"LlamaForCausalLM"' in config.read_text():
        from vllm import ModelRegistry
        from vllm.model_executor.models.llama import LlamaForCausalLM

        ModelRegistry.register_model("LlamaForCausalLM", LlamaForCausalLM)


def _end_tokens(llm: Any, tokenizer: Any) -> list[int]:
    """Ids that end a text: the tokenizer's, and those of the generation config."""
    extra = llm.model_config.try_get_generation_config().get("eos_token_id", [])
    return [*(extra if isinstance(extra, list) else [extra]), tokenizer.eos_token_id]


def _streams_by_request() -> bool:
    """Whether each request can say how often it streams; else one interval holds for the engine."""
    from vllm import SamplingParams

    return "stream_interval" in SamplingParams.__struct_fields__


def _sampling_params(request: Request) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params: dict[str, Any] = {}
    if request.chunk > 1 and _streams_by_request():
        params["stream_interval"] = request.chunk
    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=list(request.stop),
        seed=request.seed,
        logprobs=0 if request.logprobs else None,
        output_kind=RequestOutputKind.DELTA if request.chunk else RequestOutputKind.FINAL_ONLY,
        **params,
    )


def _stat_logger(engine: VllmEngine) -> Any:
    from vllm.v1.metrics.loggers import StatLoggerBase

    class Snapshot(StatLoggerBase):  # type: ignore[misc]
        """Keeps the last numbers that vLLM reports."""

        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            self.generated = self.computed = 0
            self.running = self.waiting = 0
            self.kv_usage = 0.0

        def record(self, scheduler_stats: Any, iteration_stats: Any, *args: Any, **kw: Any) -> None:
            if scheduler_stats is not None:
                self.running = scheduler_stats.num_running_reqs
                self.waiting = scheduler_stats.num_waiting_reqs
                self.kv_usage = scheduler_stats.kv_cache_usage
            if iteration_stats is not None:
                self.generated += iteration_stats.num_generation_tokens
                self.computed += iteration_stats.prompt_token_stats.computed
            engine._load = Load(
                running=self.running,
                waiting=self.waiting,
                kv_usage=self.kv_usage,
                generated=self.generated,
                prompt_computed=self.computed,
            )

        def log_engine_initialized(self) -> None:
            pass

    return Snapshot
