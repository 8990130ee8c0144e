"""Telemetry: OpenTelemetry spans and metrics of programs; off unless asked for, and free while off."""

from dynasor_graph.telemetry.switch import disable_telemetry, enable_telemetry, telemetry
from dynasor_graph.telemetry.watching import Telemetry

__all__ = ["Telemetry", "disable_telemetry", "enable_telemetry", "telemetry"]
