"""Layers: what telemetry and the LangChain chat model cost on top of a program, on the scripted engine.

    python -m benchmarks.layers [--programs 100] [--branches 20] [--repeat 5] [--json]

All arms run in turn in one process. The scripted engine takes no time of its own, so that what is on
top of the program shows at its largest; on a model it is the same time beside far more. Spans go to a
batch processor whose exporter drops them.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks.output import show
from dynasor_graph.chat_model import ChatDynasor
from dynasor_graph.engine import FakeEngine
from dynasor_graph.runner import solve
from dynasor_graph.telemetry import disable_telemetry, enable_telemetry

QUESTION = "6 * 7?"
REPLY = "so " * 60 + "\\boxed{42}"


def watch() -> None:
    """Turn telemetry on, with an exporter that drops everything."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Drop(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Drop()))
    enable_telemetry(tracer_provider=tracers, meter_provider=MeterProvider(), content=False)


async def timed(ask: Callable[[], Awaitable[Any]], programs: int) -> float:
    """Milliseconds a program, one after the other."""
    started = time.perf_counter()
    for _ in range(programs):
        await ask()
    return 1000 * (time.perf_counter() - started) / programs


async def measure(programs: int, branches: int, repeat: int) -> list[dict[str, Any]]:
    """A row for each arm."""
    engine = FakeEngine([REPLY], speed=10_000)
    settings: dict[str, Any] = {"policy": "fixed", "branches": branches}
    model = ChatDynasor(engine=engine, **settings)
    arms: dict[str, tuple[bool, Callable[[], Awaitable[Any]]]] = {
        "solve": (False, lambda: solve(QUESTION, engine=engine, **settings)),
        "solve, telemetry on": (True, lambda: solve(QUESTION, engine=engine, **settings)),
        "ChatDynasor.ainvoke": (False, lambda: model.ainvoke(QUESTION)),
    }
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeat + 1):
        for name, (watched, ask) in arms.items():
            (watch if watched else disable_telemetry)()
            found[name].append(await timed(ask, programs))
    disable_telemetry()
    bare = min(found["solve"][1:])
    return [
        {"arm": name, "ms_a_program": round(min(ms[1:]), 3), "ratio": round(min(ms[1:]) / bare, 3)}
        for name, ms in found.items()
    ]


def main() -> None:
    """Measure, and show each arm's ratio to the program alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--branches", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true", dest="json_out")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.programs, options.branches, options.repeat))
    show(f"layers, {options.branches} branches a program", rows, json_out=options.json_out)


if __name__ == "__main__":
    main()
