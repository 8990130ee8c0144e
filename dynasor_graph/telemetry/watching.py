"""Watching: a program's events as OpenTelemetry spans and metrics.

A program is a span, its rounds are spans in it, and its requests spans in these. Names follow the
semantic conventions for generative AI where those have one (`gen_ai.*`), and begin with `dynasor.` where
not.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from dynasor_graph.budget import Usage
from dynasor_graph.types import JSON

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["Telemetry"]

_PROVIDER = "dynasor_graph"
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (
    1,
    4,
    16,
    64,
    256,
    1024,
    4096,
    16384,
    65536,
    262144,
    1048576,
    4194304,
    16777216,
    67108864,
)
"""Buckets that the semantic conventions advise."""

T = TypeVar("T")


class Telemetry:
    """Turns events into spans and metrics.

    Args:
        tracer_provider: Makes the spans; by default the process's own.
        meter_provider: Makes the metrics; by default the process's own.
        content: Record questions, answers and texts.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        content: bool = False,
    ) -> None:
        from opentelemetry import metrics, trace

        self.content = content
        scope = ("dynasor_graph", version("dynasor-graph"))
        self.tracer = trace.get_tracer(*scope, tracer_provider)
        meter = metrics.get_meter(*scope, meter_provider)
        self.durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "Of one request",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Of one request",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self.programs = meter.create_histogram(
            "dynasor.program.duration",
            "s",
            "From the question to the answer",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.spent = meter.create_counter("dynasor.program.tokens", "{token}", "By kind of work")
        self.saved = meter.create_counter(
            "dynasor.program.tokens_saved", "{token}", "Against the cap, net of what stopping cost"
        )
        self.certaindex = meter.create_histogram(
            "dynasor.program.certaindex",
            "1",
            "At the end of a program",
            explicit_bucket_boundaries_advisory=[n / 10 for n in range(1, 11)],
        )

    async def watch(self, run: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """What a program yields, unchanged; its events become spans and metrics on the way."""
        watched = _Watched(self)
        try:
            async with aclosing(run):
                async for item in run:
                    if isinstance(item, dict):
                        watched.event(item)
                    yield item
        except (GeneratorExit, asyncio.CancelledError):
            watched.cancelled()
            raise
        except Exception as error:
            watched.failed(error)
            raise
        finally:
            watched.end()


class _Watched:
    """One program: its spans that are open."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._t = telemetry
        self._program: Span | None = None
        self._round: Span | None = None
        self._number, self._over = -1, False
        self._since = time.time_ns()
        self._common: JSON = {}

    def event(self, event: JSON) -> None:
        """Take in an event."""
        kind = event["event"]
        if kind == "program":
            self._begin(event)
        elif kind == "result":
            self._result(event)
        elif kind != "text" and self._program is not None:
            self._enter(event)
            if kind == "decision" and self._round is not None:
                self._round.set_attributes(
                    {
                        "dynasor.policy.rule": str(event["rule"]),
                        "dynasor.verdict": event["verdict"],
                        "dynasor.certaindex": event["certaindex"],
                    }
                )
            elif kind in {"branch", "step", "probe", "answer"}:
                self._request(kind, event)

    def _begin(self, event: JSON) -> None:
        sampling = event["settings"].get("sampling", {})
        self._common = {
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.request.model": event["model"],
        }
        asked = {
            f"gen_ai.request.{name}": sampling[key]
            for name, key in (
                ("temperature", "temperature"),
                ("top_p", "top_p"),
                ("top_k", "top_k"),
                ("max_tokens", "max_tokens"),
                ("seed", "seed"),
                ("stop_sequences", "stop"),
            )
            if sampling.get(key)
        }
        self._program = self._t.tracer.start_span(
            f"invoke_workflow {event['algorithm']}",
            attributes={
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": event["algorithm"],
                "dynasor.program.id": event["program"],
                **self._common,
                **asked,
            },
        )
        if self._t.content:
            self._said("gen_ai.input.messages", "user", event["question"])
        self._since = time.time_ns()

    def _enter(self, event: JSON) -> None:
        """Open the span of a round with the first event in it; it began when the one before ended."""
        if event["round"] == self._number:
            return
        self._leave()
        self._number = event["round"]
        self._round = self._t.tracer.start_span(
            f"round {self._number + 1}",
            context=_within(self._program),
            start_time=self._since,
            attributes={"dynasor.round": self._number},
        )

    def _leave(self) -> None:
        if self._round is not None:
            self._since = time.time_ns()
            self._round.end(self._since)
            self._round = None

    def _request(self, kind: str, event: JSON) -> None:
        """A request that has ended just now, or as many as the step had."""
        from opentelemetry.trace import SpanKind

        told = _counts(kind, event)
        if told is None:
            return
        read, cached, written = told
        operation = "chat" if kind == "branch" else "text_completion"
        now, seconds = time.time_ns(), float(event["seconds"])
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            **self._common,
            "gen_ai.usage.input_tokens": read,
            "gen_ai.usage.output_tokens": written,
            "gen_ai.usage.cache_read.input_tokens": cached,
            "dynasor.request.kind": kind,
        }
        if kind == "branch":
            attributes["gen_ai.response.finish_reasons"] = [event["finish"]]
            attributes["dynasor.branch"] = event["index"]
            attributes["dynasor.queued_s"] = event.get("queued", 0.0)
        if self._t.content and event.get("answer") is not None:
            attributes["dynasor.answer"] = event["answer"]
        span = self._t.tracer.start_span(
            f"{operation} {self._common['gen_ai.request.model']}",
            context=_within(self._round),
            kind=SpanKind.CLIENT,
            start_time=now - int(seconds * 1e9),
            attributes=attributes,
        )
        span.end(now)
        labels = {"gen_ai.operation.name": operation, **self._common}
        self._t.durations.record(seconds, labels)
        self._t.tokens.record(read, {**labels, "gen_ai.token.type": "input"})
        self._t.tokens.record(written, {**labels, "gen_ai.token.type": "output"})

    def _result(self, event: JSON) -> None:
        if self._program is None:
            return
        self._over = True
        usage = Usage.from_json(event["usage"])
        saved = usage.saved_by(event.get("decision"))
        self._program.set_attributes(
            {
                "dynasor.stop_reason": str(event["stop_reason"]),
                "dynasor.certaindex": event["certaindex"],
                "dynasor.branches": event["branches"],
                "dynasor.rounds": event["rounds"],
                "dynasor.tokens.net": event["net_tokens"],
                "dynasor.tokens.saved": saved,
                "dynasor.queued_s": event["queued_s"],
                "gen_ai.usage.input_tokens": usage.read,
                "gen_ai.usage.output_tokens": usage.generated,
                "gen_ai.usage.cache_read.input_tokens": usage.cached,
            }
        )
        if self._t.content:
            self._said("gen_ai.output.messages", "assistant", event["text"])
        labels = {**self._common, "dynasor.stop_reason": str(event["stop_reason"])}
        self._t.programs.record(event["latency_s"], labels)
        self._t.certaindex.record(event["certaindex"], labels)
        self._t.saved.add(max(0, saved), self._common)  # a counter goes up only
        for name, tokens in usage.lines().items():
            self._t.spent.add(tokens, {**self._common, "dynasor.tokens.kind": name})

    def _said(self, attribute: str, role: str, text: str) -> None:
        message = {"role": role, "parts": [{"type": "text", "content": text}]}
        if self._program is not None:
            self._program.set_attribute(attribute, json.dumps([message]))

    def cancelled(self) -> None:
        """The reader has left; which is no news if it has read the result."""
        if self._program is not None and not self._over:
            self._program.set_attribute("dynasor.cancelled", True)

    def failed(self, error: Exception) -> None:
        """The program ended with an error."""
        from opentelemetry.trace import StatusCode

        if self._program is not None:
            self._program.set_attribute("error.type", type(error).__qualname__)
            self._program.set_status(StatusCode.ERROR, str(error) if self._t.content else None)

    def end(self) -> None:
        """Close what is open."""
        self._leave()
        if self._program is not None:
            self._program.end()


def _within(span: Span | None) -> Any:
    from opentelemetry.trace import INVALID_SPAN, set_span_in_context

    return set_span_in_context(span or INVALID_SPAN)


def _counts(kind: str, event: JSON) -> tuple[int, int, int] | None:
    """Prompt tokens, those of them that were cached, and tokens generated; None if nothing was asked."""
    if kind == "probe":
        return event["prefill"] + event["cached"], event["cached"], event["tokens"]
    if not event.get("usage"):  # a solution of a search: its steps were the requests
        return None
    usage = Usage.from_json(event["usage"])
    return usage.prompt + usage.prompt_cached, usage.prompt_cached, usage.main + usage.terminated
