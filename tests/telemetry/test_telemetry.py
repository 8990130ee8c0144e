"""Telemetry: one span a program, a round and a request; off unless asked for; silent about content."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from dynasor_graph.algorithms import ALGORITHMS
from dynasor_graph.chat_model import ChatDynasor
from dynasor_graph.engine import FakeEngine
from dynasor_graph.errors import ConfigError, PromptTooLong
from dynasor_graph.questions import Question
from dynasor_graph.reward import FunctionReward
from dynasor_graph.runner import Runner, solve
from dynasor_graph.telemetry import disable_telemetry, enable_telemetry, switch, telemetry
from tests.executor.stage import Thinker, replies, until

pytestmark = pytest.mark.anyio

STANDARD = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
SECRET = "the secret question"


class Seen:
    """What was exported."""

    def __init__(self) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader])

    def spans(self, prefix: str = "") -> list[ReadableSpan]:
        done = self._spans.get_finished_spans()
        return [span for span in done if span.name.startswith(prefix)]

    def metrics(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        assert data is not None
        found = [
            metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return {metric.name: list(metric.data.data_points) for metric in found}


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    enable_telemetry(tracer_provider=seen.tracers, meter_provider=seen.meters, content=False)
    yield seen
    disable_telemetry()


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def is_in(child: ReadableSpan, parent: ReadableSpan) -> bool:
    times = [parent.start_time, child.start_time, child.end_time, parent.end_time]
    inside = times == sorted(time or 0 for time in times)
    return inside and child.parent is not None and child.parent == parent.context


async def test_a_program_is_a_span_with_its_rounds_and_their_requests(seen: Seen):
    engine = FakeEngine(replies(["7", "7", "8"]))
    result = await solve(
        Question(id="coins", text=SECRET), engine=engine, policy="fixed", branches=3
    )
    (program,) = seen.spans("invoke_workflow")
    (round_,) = seen.spans("round")
    requests = seen.spans("chat")
    assert program.name == "invoke_workflow self_consistency"
    assert is_in(round_, program)
    assert all(is_in(request, round_) for request in requests)
    assert (
        told(program).items()
        >= {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": "self_consistency",
            "gen_ai.request.model": "fake",
            "gen_ai.request.temperature": 0.7,
            "gen_ai.usage.output_tokens": result.usage.generated,
            "gen_ai.usage.input_tokens": result.usage.prompt + result.usage.prompt_cached,
            "dynasor.program.id": "coins",
            "dynasor.stop_reason": "finished",
            "dynasor.certaindex": round(result.certaindex, 6),
            "dynasor.branches": 3,
        }.items()
    )
    assert len(requests) == 3
    written = [told(request)["gen_ai.usage.output_tokens"] for request in requests]
    assert sum(written) == result.usage.generated
    assert told(requests[0])["gen_ai.response.finish_reasons"] == ("stop",)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_requests_add_up_to_the_ledger_under_every_algorithm(algorithm: str, seen: Seen):
    given: dict[str, Any] = {}
    if "reward" in ALGORITHMS[algorithm].settings.model_fields:
        given["reward"] = FunctionReward(lambda partial: 0.5)
    engine = FakeEngine(["one\ntwo\n\\boxed{7}"], speed=4)
    result = await solve("q", algorithm=algorithm, engine=engine, **given)
    requests = [*seen.spans("chat"), *seen.spans("text_completion")]
    tokens = [told(request)["gen_ai.usage.output_tokens"] for request in requests]
    assert sum(tokens) == result.usage.generated
    points = seen.metrics()["gen_ai.client.token.usage"]
    written = [p.sum for p in points if p.attributes["gen_ai.token.type"] == "output"]
    assert sum(written) == result.usage.generated
    rounds = {request.parent and request.parent.span_id for request in requests}
    assert rounds <= {span.context.span_id for span in seen.spans("round")}


async def test_probes_and_the_last_word_are_requests(seen: Seen):
    result = await solve("q", algorithm="cot", engine=FakeEngine(Thinker("so far, " * 40)))
    kinds = [told(span)["dynasor.request.kind"] for span in seen.spans("text_completion")]
    assert kinds.count("probe") >= 3
    assert kinds.count("answer") == 1
    tokens = sum(
        told(span)["gen_ai.usage.output_tokens"]
        for span in seen.spans("text_completion")
        if told(span)["dynasor.request.kind"] == "probe"
    )
    assert tokens == result.usage.probe


async def test_names_are_those_of_the_semantic_conventions_or_our_own(seen: Seen):
    await solve("q", engine=FakeEngine(), sampling={"seed": 3, "stop": ["x"], "top_k": 2})
    await solve("q", algorithm="cot", engine=FakeEngine(Thinker("so far, " * 40)))
    for span in seen.spans():
        for name in told(span):
            assert name in STANDARD or name.startswith("dynasor."), name
    standard = {
        gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION,
        gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE,
    }
    own = {f"dynasor.program.{x}" for x in ("duration", "tokens", "tokens_saved", "certaindex")}
    assert {*seen.metrics()} == standard | own


async def test_metrics_count_programs_tokens_and_what_was_saved(seen: Seen):
    engine = FakeEngine()
    results = [r async for r in Runner(engine=engine).run([Question(id=x, text=x) for x in "abc"])]
    metrics = seen.metrics()
    (duration,) = metrics["dynasor.program.duration"]
    assert (duration.count, duration.attributes["dynasor.stop_reason"]) == (3, "certain")
    spent = {
        p.attributes["dynasor.tokens.kind"]: p.value for p in metrics["dynasor.program.tokens"]
    }
    assert spent["main"] == sum(result.usage.main for result in results)
    (saved,) = metrics["dynasor.program.tokens_saved"]
    assert saved.value == sum(result.tokens_saved for result in results) > 0


@pytest.mark.parametrize("content", [False, True])
async def test_content_is_recorded_only_if_it_is_asked_for(content: bool, seen: Seen):
    enable_telemetry(tracer_provider=seen.tracers, meter_provider=seen.meters, content=content)
    await solve(SECRET, engine=FakeEngine(["\\boxed{the secret answer}"]))
    with pytest.raises(PromptTooLong):
        await solve(SECRET, engine=FakeEngine(context=8))
    exported = "".join(span.to_json() for span in seen.spans()) + str(seen.metrics())
    assert ("secret" in exported) is content
    if content:
        (asked, *_) = [told(span).get("gen_ai.input.messages") for span in seen.spans("invoke")]
        assert (
            asked == f'[{{"role": "user", "parts": [{{"type": "text", "content": "{SECRET}"}}]}}]'
        )


async def test_an_error_and_a_caller_who_leaves_are_told_apart(seen: Seen):
    with pytest.raises(PromptTooLong):
        await solve("q", engine=FakeEngine(context=4))
    engine = FakeEngine()
    engine.gate.clear()
    running = asyncio.ensure_future(solve("q", engine=engine))
    await until(lambda: len(engine.requests) > 0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    failed, cancelled = seen.spans("invoke_workflow")
    assert told(failed)["error.type"] == "PromptTooLong"
    assert not failed.status.is_ok
    assert told(cancelled)["dynasor.cancelled"] is True
    assert "error.type" not in told(cancelled)


async def test_a_finished_program_was_not_cancelled(seen: Seen):
    await solve("q", engine=FakeEngine())
    (program,) = seen.spans("invoke_workflow")
    assert "dynasor.cancelled" not in told(program)


@pytest.mark.parametrize("how", ["here", "on another loop", "no loop"])
async def test_a_program_of_a_chat_model_is_in_the_span_of_its_caller(how: str, seen: Seen):
    model = ChatDynasor(engine=FakeEngine(), branches=2)
    tracer = seen.tracers.get_tracer("test")
    with tracer.start_as_current_span("agent") as agent:
        match how:
            case "here":
                await model.ainvoke("q")
            case "on another loop":
                await asyncio.to_thread(asyncio.run, model.ainvoke("q"))
            case _:
                model.invoke("q")
    (program,) = seen.spans("invoke_workflow")
    assert program.parent is not None
    assert program.parent.span_id == agent.get_span_context().span_id


# On and off --------------------------------------------------------------------------------------


@pytest.fixture
def unlooked() -> Iterator[None]:
    """As in a new process, which is not given providers: a test must not set those of this one."""
    with (
        patch.object(switch, "_looked", False),
        patch.object(switch, "_current", None),
        patch.object(switch, "_set_up"),
    ):
        yield


@pytest.mark.usefixtures("unlooked")
@pytest.mark.parametrize(
    ("variables", "on"),
    [
        pytest.param({}, False, id="nothing-said"),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True, id="an-endpoint"),
        pytest.param({"OTEL_TRACES_EXPORTER": "console"}, True, id="an-exporter"),
        pytest.param({"OTEL_TRACES_EXPORTER": "none"}, False, id="no-exporter"),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False, id="off"
        ),
    ],
)
def test_variables_turn_it_on(variables: dict[str, str], on: bool):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    with patch.dict(os.environ, clean | variables, clear=True):
        assert (telemetry() is not None) is on


@pytest.mark.usefixtures("unlooked")
def test_an_exporter_that_is_not_installed_is_named():
    with (
        patch.dict(os.environ, {"OTEL_TRACES_EXPORTER": "zipkn"}),
        pytest.raises(ConfigError, match=r"OTEL_TRACES_EXPORTER=zipkn.*console"),
    ):
        switch._exporter("traces")


def test_the_switch_of_the_command_line_sends_what_the_variables_say():
    command = [sys.executable, "-m", "dynasor_graph", "solve", "6 * 7?", "-e", "fake", "--otel"]
    variables = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none"}
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert '"name": "invoke_workflow self_consistency"' in done.stdout
    assert '"service.name": "dynasor-graph"' in done.stdout
    assert "6 * 7?" not in done.stdout


def test_the_providers_of_the_process_are_left_as_they_are():
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
