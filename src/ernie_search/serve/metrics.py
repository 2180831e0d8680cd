"""Figures for Prometheus, of one service each (several apps in one process do not share them)."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters, gauges and histograms, each with a name and a help line."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ernie_search_requests",
            "Requests answered",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "ernie_search_request_seconds",
            "Seconds from a request to its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "ernie_search_stage_seconds",
            "Seconds a search spent in a stage",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "ernie_search_batch_size",
            "Texts or questions worked on together",
            ["thread"],
            buckets=SIZES,
            registry=self.registry,
        )
        self.refused = Counter(
            "ernie_search_refused", "Requests refused because too many wait", registry=self.registry
        )
        self.cancelled = Counter(
            "ernie_search_cancelled", "Requests whose client went away", registry=self.registry
        )
        self.in_flight = Gauge("ernie_search_in_flight", "Requests under way", registry=self.registry)

    def gauge(self, name: str, help_line: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(f"ernie_search_{name}", help_line, registry=self.registry).set_function(read)

    def observe_batch(self, thread: str, size: int) -> None:
        """Count a batch."""
        self.batches.labels(thread).observe(size)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
