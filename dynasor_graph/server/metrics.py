"""Metrics: what the server counts, for Prometheus, in a registry of its own."""

from __future__ import annotations

from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dynasor_graph.results import Result
from dynasor_graph.types import Load

__all__ = ["Metrics"]

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)
_CERTAINDEX = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0)


class Metrics:
    """Counters of one server. Labels take values from closed lists only, never from clients."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"dynasor_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"dynasor_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                f"dynasor_{name}", text, labels, buckets=buckets, registry=self.registry
            )

        self.requests = counter("requests", "Requests, by how they ended", "endpoint", "status")
        self.disconnects = counter("disconnects", "Requests whose client left", "endpoint")
        self.running = gauge("programs_running", "Programs that are running")
        self.draining = gauge("draining", "1 while the server takes no new requests")
        self._programs = counter("programs", "Programs that ended", "algorithm", "stop_reason")
        self._tokens = counter("tokens", "Tokens, each kind apart", "algorithm", "kind")
        self._saved = counter(
            "tokens_saved", "Tokens not spent against the cap, where that is > 0", "algorithm"
        )
        self._latency = histogram(
            "program_seconds", "From question to answer", _SECONDS, "algorithm"
        )
        self._slo = counter("slo", "Programs with an SLO, by whether they kept it", "kept")
        self._certaindex = histogram(
            "certaindex", "How settled answers were", _CERTAINDEX, "algorithm"
        )
        self._first = histogram(
            "first_text_seconds", "From request to the first piece of a stream", _SECONDS
        )
        self._load = gauge("engine", "What the engine is doing", "what")

    def ended(self, algorithm: str, result: Result) -> None:
        """A program came to its end."""
        reason = result.stop_reason.value if result.stop_reason else "failed"
        self._programs.labels(algorithm, reason).inc()
        for kind, tokens in asdict(result.usage).items():
            self._tokens.labels(algorithm, kind).inc(tokens)
        self._saved.labels(algorithm).inc(max(0, result.tokens_saved))
        self._latency.labels(algorithm).observe(result.latency_s)
        self._certaindex.labels(algorithm).observe(result.certaindex)

    def wanted(self, slo: float | None, result: Result | None) -> None:
        """A program was wanted within `slo` seconds, if not None; without a result it failed."""
        if slo is not None:
            kept = result is not None and not result.error and result.latency_s <= slo
            self._slo.labels("yes" if kept else "no").inc()

    def first_text(self, seconds: float) -> None:
        """A stream has begun to say something."""
        self._first.observe(seconds)

    def page(self, load: Load | None) -> bytes:
        """All of them, in Prometheus' text format; with the engine's load, where it could be read."""
        self._load.labels("up").set(load is not None)
        for name, value in asdict(load or Load()).items():
            self._load.labels(name).set(value)
        return generate_latest(self.registry)
