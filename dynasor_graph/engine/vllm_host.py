"""Hosts vLLM's AsyncLLM: its own event loop, its environment, its start and its end."""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib.util
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

from dynasor_graph.abacus import BUNDLED
from dynasor_graph.engine.own_loop import OwnLoop, SameLoop
from dynasor_graph.engine.template import apply_template
from dynasor_graph.errors import (
    DynasorError,
    EngineDied,
    EngineError,
    EngineStartError,
    NotInstalled,
    UnknownName,
)
from dynasor_graph.types import JSON, Message

__all__ = ["FAST_START", "VllmHost", "has_gpu"]

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

_ENCODED = 1024
"""Texts whose token ids are kept."""
_SWITCH = 5e-4
"""Seconds for which Python lets a thread run while another waits. vLLM's and the programs' do, and
whoever sends something gives the lock away: with Python's 5 ms it waits for the other that long,
and new requests reach the engine once all programs have decided (`benchmarks.overhead --switch`)."""
_TRIES = 100
_LLAMA = re.compile('"LlamaFor(CausalLM|SequenceClassification)"')
_starting = threading.Lock()
"""Held while an engine starts: it changes the environment and the warning filters, and forks."""


class VllmHost:
    """vLLM's AsyncLLM, on an event loop and a thread of its own.

    AsyncLLM belongs to the first loop that uses it and dies with it. On its own loop it can be used
    from any other: from `asyncio.run` twice in a row, notebooks, LangGraph's server.

    A subclass says what to start it with (`_arguments`), whether vLLM is to report its load
    (`_reports`), what it refuses (`_check`), and what it wants to know of it (`_opened`).

    Args:
        model: A folder with a model, the name of a bundled one, or a hub name.
        arguments: For vLLM's `AsyncEngineArgs`; they win over the subclass's.
        thread: Whether it has a thread of its own, or lives on the loop that opens it.
        fast_start: CPU only: no torch.compile, one process less, forked: 12 s instead of 40 to
            60. By default for models below 1 GiB.
        verbose: Show what vLLM and torch print.

    Raises:
        NotInstalled: There is no vLLM; says which extra to install.
        UnknownName: The model is neither bundled nor a folder, and does not look like a hub name.
    """

    def __init__(
        self,
        model: str | Path,
        arguments: Mapping[str, Any],
        *,
        thread: bool,
        fast_start: bool | None,
        verbose: bool,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            extra = "gpu" if Path("/dev/nvidiactl").exists() else "cpu"
            raise NotInstalled("vLLM", extra)
        self._path = _find(str(model))
        self.model = Path(model).name
        self.context = 0  # known once it is open
        self._args, self._thread = dict(arguments), thread
        self._fast_start, self._verbose = fast_start, verbose

    async def __aenter__(self) -> Self:
        self._own = OwnLoop("vllm") if self._thread else SameLoop()
        try:
            await asyncio.to_thread(self._start)
        except Exception as error:
            await self._own.stop()
            if isinstance(error, DynasorError):
                raise
            raise EngineStartError(f"vLLM could not start {self.model!r}: {error}") from error
        self._own.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.context = 0
        await self._own.run(self._shut_down())
        await self._own.stop()
        # Whoever still holds this does not hold AsyncLLM: at the interpreter's end its __del__ fails.
        del self._llm

    async def forget_prefixes(self) -> None:
        """Empty the prefix cache, so that nothing is found that was computed for others before.

        Raises:
            EngineError: Requests are running.
        """
        for _ in range(_TRIES):  # the last request has ended here before it has in vLLM's process
            if await self._own.run(self._llm.reset_prefix_cache()):
                return
            await asyncio.sleep(0.01)
        raise EngineError(f"{self.model!r} still has requests: its prefix cache stays as it is")

    # For subclasses ----------------------------------------------------------------------------

    _reports: ClassVar[bool] = False
    """Whether the engine process reports its load with each step."""

    def _arguments(self) -> dict[str, Any]:
        """What to start AsyncLLM with, unless the caller says otherwise."""
        return {}

    def _check(self, config: Any) -> None:
        """Refuse vLLM's configuration before anything is loaded."""

    def _opened(self, config: Any) -> None:
        """Take from the running AsyncLLM what is needed."""

    # Start and end -----------------------------------------------------------------------------

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
        args |= self._arguments()
        _register_llama(self._path)
        args |= self._args
        quiet = not self._reports
        config = AsyncEngineArgs(disable_log_stats=quiet, **args).create_engine_config()
        self._check(config)
        if fast:
            # vLLM asks for spawn on the CPU; a forked engine process inherits the imports (10 s).
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        with _ready_to_fork() if fast else nullcontext():
            self._llm = AsyncLLM.from_vllm_config(config, disable_log_stats=quiet)
        self._tokenizer = self._llm.get_tokenizer()
        self._encoded = lru_cache(_ENCODED)(self._encode)
        self._opened(config)
        self.context = config.model_config.max_model_len
        # What was imported stays: the collector need not walk through it while branches wait.
        gc.collect()
        gc.freeze()
        atexit.register(gc.unfreeze)  # what is frozen is never freed, and libraries report it
        if self._thread:
            sys.setswitchinterval(min(_SWITCH, sys.getswitchinterval()))

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
        if has_gpu():
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
        self._llm.output_processor.propagate_error(EngineDied(f"{self.model!r} was closed"))
        self._llm.shutdown()

    # Text --------------------------------------------------------------------------------------

    async def encode(self, text: str) -> list[int]:
        """Token ids of plain text; a program asks for those of its question once a round."""
        return list(self._encoded(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _template(
        self, messages: Sequence[Message], tools: Sequence[JSON] = (), **options: Any
    ) -> str:
        return apply_template(self._tokenizer, self.model, messages, tools, **options)


def _find(model: str) -> str:
    if model in BUNDLED:
        return str(BUNDLED[model]())
    if Path(model).is_dir():
        return model
    is_path = model.startswith((".", "/", "~")) or "/" not in model
    if is_path or Path(model).exists():
        raise UnknownName("model (not a folder)", model, BUNDLED)
    return model


def has_gpu() -> bool:
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
    # A LlamaForSequenceClassification is made from it, and looked up as it.
    if config.is_file() and _LLAMA.search(config.read_text()):
        from vllm import ModelRegistry
        from vllm.model_executor.models.llama import LlamaForCausalLM

        ModelRegistry.register_model("LlamaForCausalLM", LlamaForCausalLM)
