"""Switch: whether programs are watched, and where spans and metrics go then."""

from __future__ import annotations

import logging
import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from dynasor_graph.errors import ConfigError, NotInstalled
from dynasor_graph.telemetry.watching import Telemetry

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["CONTENT", "SWITCHES", "disable_telemetry", "enable_telemetry", "telemetry"]

CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The variable by which instrumentations of generative AI are told to record what was said."""
SWITCHES: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
)
"""OpenTelemetry's own variables; any of them turns it on."""

_log = logging.getLogger("dynasor_graph")
_current: Telemetry | None = None
_looked = False


def telemetry() -> Telemetry | None:
    """What watches the programs of this process; None while it is off.

    It is on after `enable_telemetry`, or if one of OpenTelemetry's own variables is set (`SWITCHES`).
    """
    if not _looked:
        _look()
    return _current


def _look() -> None:
    """Do as the variables say, once for the process."""
    global _looked
    _looked = True
    wanted = any(os.environ.get(name, "none") not in {"", "none"} for name in SWITCHES)
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        enable_telemetry()
    except NotInstalled as error:
        _log.warning("%s; until then the OTEL_ variables are not followed", error)


def enable_telemetry(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    content: bool | None = None,
) -> Telemetry:
    """Turn spans and metrics on, for all programs of this process that begin after it.

    Without providers it takes the process's own. Where the process has none, it sets them up as the
    OTEL_ variables say, by default with OTLP over HTTP to localhost:4318.

    Args:
        tracer_provider: Makes the spans.
        meter_provider: Makes the metrics.
        content: Record questions, answers and texts; by default as
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says, and not if it says nothing.

    Raises:
        NotInstalled: The extra `otel` is missing.
        ConfigError: A variable names an exporter that is not installed.
    """
    global _current, _looked
    try:
        import opentelemetry.sdk  # noqa: F401
    except ImportError:
        raise NotInstalled("OpenTelemetry", "otel") from None
    if tracer_provider is None and meter_provider is None:
        _set_up()
    if content is None:
        content = os.environ.get(CONTENT, "").lower() in {"true", "span_only", "span_and_event"}
    _current, _looked = Telemetry(tracer_provider, meter_provider, content=content), True
    return _current


def disable_telemetry() -> None:
    """Turn spans and metrics off, whatever the variables say. What was recorded is still sent."""
    global _current, _looked
    _current, _looked = None, True


def _set_up() -> None:
    """Give the process providers, unless it has its own."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider as Meters
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider as Tracers
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    os.environ.setdefault("OTEL_SERVICE_NAME", "dynasor-graph")
    spans, measures = _exporter("traces"), _exporter("metrics")
    if spans is not None:
        tracers = Tracers()
        tracers.add_span_processor(BatchSpanProcessor(spans))
        trace.set_tracer_provider(tracers)
    if measures is not None:
        metrics.set_meter_provider(Meters([PeriodicExportingMetricReader(measures)]))


def _exporter(signal: str) -> Any:
    """The exporter that the variables name for a signal; None for "none"."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    name = os.environ.get(variable) or "otlp"
    if name == "none":
        return None
    protocol = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    wanted = {"otlp": "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"}.get(
        name, name
    )
    known = {point.name: point for point in entry_points(group=f"opentelemetry_{signal}_exporter")}
    if wanted not in known:
        raise ConfigError(
            f"{variable}={name} (protocol {protocol}): no such exporter is installed; there are "
            f"{', '.join(sorted(known))}"
        )
    return known[wanted].load()()
