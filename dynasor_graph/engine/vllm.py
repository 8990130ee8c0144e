"""An engine on vLLM in this process: GPU where there is one, else the CPU build."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from dynasor_graph.confidence import token_confidence
from dynasor_graph.engine.base import Watcher, check_fits
from dynasor_graph.engine.calls import Calls
from dynasor_graph.engine.mailbox import Mailbox
from dynasor_graph.engine.text import Text, fast_tokenizer
from dynasor_graph.engine.vllm_host import FAST_START, VllmHost
from dynasor_graph.engine.vllm_steps import Steps
from dynasor_graph.errors import EngineDied, EngineError
from dynasor_graph.types import JSON, Delta, FinishReason, Load, Message, Request

__all__ = ["FAST_START", "VllmEngine"]

_REASON: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "terminated"}
_STREAM_INTERVAL = 16
_CLOSED = "the engine was closed while requests were running"


class VllmEngine(VllmHost):
    """vLLM's AsyncLLM, on an event loop and a thread of its own: it serves any other loop.

    Args:
        model: A folder with a model, the name of a bundled one ("abacus-7m"), or a hub name.
        max_num_seqs: Most requests in the running batch.
        thread: Whether it has a thread of its own. False: it lives on the loop that opens it, and ends
            before that loop does. Then nobody takes turns with it, which is faster where hundreds of
            branches end at once; but whatever blocks the loop keeps new requests from the engine.
        fast_start: CPU only: no torch.compile, one process less, forked: 12 s instead of 40 to
            60. By default for models below 1 GiB.
        verbose: Show what vLLM and torch print: log lines, progress bars and warnings. They decide
            at import, so the first engine of a process decides for all of them.
        engine_args: Anything else that vLLM's `AsyncEngineArgs` takes.

    Attributes:
        seats: Requests that fit the running batch: what a scheduler sends at once.
        surcharge: Seconds that a step of a full batch takes longer if a prompt is computed in it, as
            its last steps say: a scheduler gathers free places for it. 0 on a CPU, and until it is open.

    Raises:
        NotInstalled: There is no vLLM; says which extra to install.
        UnknownName: The model is neither bundled nor a folder, and does not look like a hub name.
        EngineStartError: vLLM refused the model or the arguments.
    """

    _reports = True

    def __init__(
        self,
        model: str | Path = "abacus-7m",
        *,
        max_num_seqs: int = 256,
        thread: bool = True,
        fast_start: bool | None = None,
        verbose: bool = False,
        **engine_args: Any,
    ) -> None:
        arguments = {"max_num_seqs": max_num_seqs, **engine_args}
        super().__init__(model, arguments, thread=thread, fast_start=fast_start, verbose=verbose)
        self.block = self.seats = 0  # known once it is open
        self._active: dict[Request, str] = {}
        self._named: dict[str, Request] = {}
        self._heard = set[str]()  # names of requests that vLLM has said something of
        self._readers: Calls | None = None
        self._watcher: Watcher | None = None
        self._watching: Calls | None = None  # into the loop of who watches
        self._serial = itertools.count()

    def _arguments(self) -> dict[str, Any]:
        # A delta for each token of 300 chains at once floods this process (H200, vLLM 0.26): the
        # engine ran ahead, and probes were answered when their chain had ended.
        return {} if _streams_by_request() else {"stream_interval": _STREAM_INTERVAL}

    def _opened(self, config: Any) -> None:
        self._steps = Steps(self._llm, self._tell)
        self._fast = fast_tokenizer(self._tokenizer)
        self._end = set(_end_tokens(self._llm, self._tokenizer))
        self.block = config.cache_config.block_size
        self.seats = config.scheduler_config.max_num_seqs
        self._on_gpu = config.device_config.device_type == "cuda"

    @property
    def surcharge(self) -> float:
        """See the attribute."""
        return self._steps.times.surcharge if self.context and self._on_gpu else 0.0

    # Generating ------------------------------------------------------------------------------

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Generate; see `Engine.stream`."""
        check_fits(request, self.context)
        name = self._active[request] = f"{request.program or 'r'}-{next(self._serial)}"
        self._named[name] = request
        if self._own.here:
            async with aclosing(self._deltas(request, name)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        box = Mailbox(self._calls_here())
        closed = EngineDied(_CLOSED)
        pump = self._own.spawn(self._pump(request, name, box), lambda: box.put(closed))
        try:
            async for delta in box:
                yield delta
        finally:
            self._forget(request, name)
            if not box.ended:
                pump.cancel()

    def _calls_here(self) -> Calls:
        """Into the loop that runs now: one object for all that is said there, so that order holds."""
        loop = asyncio.get_running_loop()
        if self._readers is None or self._readers.loop is not loop:
            self._readers = Calls(loop)
        return self._readers

    def _forget(self, request: Request, name: str) -> None:
        self._named.pop(name, None)
        if self._active.get(request) == name:
            self._active.pop(request, None)  # the reader's thread and vLLM's may both be here

    async def _pump(self, request: Request, name: str, box: Mailbox) -> None:
        try:
            async with aclosing(self._deltas(request, name)) as deltas:
                async for delta in deltas:
                    box.put(delta)
        except EngineError as error:
            box.put(error)

    async def _deltas(self, request: Request, name: str) -> AsyncGenerator[Delta, None]:
        """What vLLM makes of a request; on its own loop."""
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        # Where vLLM itself looks for strings in it, the text is vLLM's.
        text = Text(self._fast, request.tokens) if self._fast and not request.stop else None
        try:
            outputs = self._llm.generate(
                tokens_input(list(request.tokens)),
                _sampling_params(request, text is None),
                request_id=name,
                priority=request.priority,
            )
            async with aclosing(outputs):
                async for output in outputs:
                    self._heard.add(name)
                    yield self._delta(output, request.top_logprobs, text)
        except EngineDeadError as error:
            raise EngineDied(f"vLLM died: {error}") from error
        except Exception as error:
            if not self.context:
                raise EngineDied(_CLOSED) from error
            raise EngineError(f"vLLM refused the request: {error.__cause__ or error}") from error
        finally:
            self._heard.discard(name)
            self._forget(request, name)  # there is nothing left to abort, read or not

    def _delta(self, output: Any, top: int, text: Text | None) -> Delta:
        part = output.outputs[0]
        ids = tuple(part.token_ids)
        reason = part.finish_reason and _REASON.get(part.finish_reason, "stop")
        ended = reason == "stop" and ids and ids[-1] in self._end
        if text is None:
            said = part.text
        else:  # the token that it stops at says nothing
            said = text.add(ids[:-1] if reason == "stop" else ids, last=reason is not None)
        return Delta(
            token_ids=ids[:-1] if ended else ids,
            text=said,
            count=len(ids),
            finish_reason=reason,
            cached=output.num_cached_tokens or 0,
            logprob=part.cumulative_logprob,
            confidences=_confidences(part.logprobs, top),
        )

    async def abort(self, request: Request) -> None:
        """End one request and keep what it has; see `Engine.abort`."""
        if (name := self._active.get(request)) is not None:
            await self._own.run(self._abort(request, name))

    async def _abort(self, request: Request, name: str) -> None:
        # An abort that comes before vLLM has taken the request in is lost: ask until it has. Who reads
        # it may be who waits here, so that nothing of it is read meanwhile.
        known = self._llm.output_processor.external_req_ids
        while self._active.get(request) == name:
            taken = name in known or name in self._heard
            await self._llm.abort(name)
            if taken:
                return
            await asyncio.sleep(0.01)

    # Steps -----------------------------------------------------------------------------------

    def watch(self, watcher: Watcher) -> bool:
        """Tell of each step: requests that have begun with it, and requests that it has ended.

        It is told on the loop that runs now, before any of those is woken who read there: who sends
        new requests then has them in the engine while the others still read. In place of who was
        told before.

        Returns:
            That it does: an engine that stands before others may have to say no.
        """
        self._watcher, self._watching = watcher, self._calls_here()
        return True

    def _tell(self, begun: list[str], ended: list[str]) -> None:
        """On vLLM's loop, which need not be that of who watches."""
        watcher, calls = self._watcher, self._watching
        if watcher is None or calls is None:
            return
        step = self._those(begun), self._those(ended)
        if calls.loop is asyncio.get_running_loop():
            watcher(*step)
        else:
            calls.soon(lambda: watcher(*step))

    def _those(self, names: list[str]) -> list[Request]:
        return [request for name in names if (request := self._named.get(name)) is not None]

    # Text and load ---------------------------------------------------------------------------

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    async def render(
        self, messages: Sequence[Message], *, thinking: bool = False, tools: Sequence[JSON] = ()
    ) -> list[int]:
        """Token ids of a chat, by the model's template; `thinking` is its `enable_thinking`."""
        return await self.encode(
            self._template(messages, tools, add_generation_prompt=True, enable_thinking=thinking)
        )

    async def load(self) -> Load:
        """As vLLM reported after its last step."""
        return self._steps.load


def _confidences(logprobs: Any, top: int) -> tuple[float, ...]:
    """Of tokens whose candidates vLLM gives by token id; the one that was drawn may be one too many."""
    if not top or logprobs is None:
        return ()
    return tuple(
        token_confidence((one.logprob for one in found.values()), top) for found in logprobs
    )


def _end_tokens(llm: Any, tokenizer: Any) -> list[int]:
    """Ids that end a text: the tokenizer's, and those of the generation config."""
    extra = llm.model_config.try_get_generation_config().get("eos_token_id", [])
    return [*(extra if isinstance(extra, list) else [extra]), tokenizer.eos_token_id]


def _streams_by_request() -> bool:
    """Whether each request can say how often it streams; else one interval holds for the engine."""
    from vllm import SamplingParams

    return "stream_interval" in SamplingParams.__struct_fields__


def _sampling_params(request: Request, detokenize: bool = True) -> Any:
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
        stop_token_ids=list(request.stop_token_ids),
        seed=request.seed,
        logprobs=request.top_logprobs or (0 if request.logprobs else None),
        detokenize=detokenize,
        output_kind=RequestOutputKind.DELTA if request.chunk else RequestOutputKind.FINAL_ONLY,
        skip_clone=True,  # nobody else has them
        **params,
    )
