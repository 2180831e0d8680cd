"""The log, as JSON lines, and the metrics of one app for Prometheus."""

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LOGGER = logging.getLogger("ernie_search.serve")

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def log(event: str, *, level: str = "info", **values: Any) -> None:
    """Log one event with its values."""
    LOGGER.log(_LEVELS[level], event, extra={"values": values})


class RateLimitedLog:
    """A rate-limited log line, for an event that clients can cause as often as they like."""

    def __init__(self, event: str, *, level: str = "warning", seconds: float = 10.0) -> None:
        """Log ``event`` at most once in ``seconds``."""
        self._event, self._level, self._seconds = event, level, seconds
        self._times, self._due = 0, float("-inf")

    def __call__(self, **values: Any) -> None:
        """Count the event; the next line has the number since the last line."""
        self._times += 1
        now = time.monotonic()
        if now >= self._due:
            log(self._event, level=self._level, times=self._times, **values)
            self._times, self._due = 0, now + self._seconds


class JsonLines(logging.Formatter):
    """Formats a record as a line of JSON with control characters escaped, so no request can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "values", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def configure() -> None:
    """Send the service's log, and warnings of uvicorn and asyncio, to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    levels = {
        "ernie_search.serve": logging.INFO,
        "uvicorn.error": logging.WARNING,
        "asyncio": logging.WARNING,
    }
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters, gauges and histograms of one app; apps in one process share none."""

    def __init__(self) -> None:
        """Begin with zeros."""
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"namespace": "ernie_search", "registry": self.registry}
        timed = {"buckets": SECONDS, **own}
        labels = ["route", "method", "status"]
        self.requests = Counter("requests", "Requests answered", labels, **own)
        self.seconds = Histogram(
            "request_seconds", "Seconds from a request to its response", labels[:1], **timed
        )
        parts = "Seconds of a search by part: encode, wait, rank, explain, total"
        self.stages = Histogram("stage_seconds", parts, ["stage"], **timed)
        batch = "Texts or questions in one batch"
        self.batches = Histogram("batch_size", batch, ["thread"], buckets=SIZES, **own)
        self.refused = Counter("refused", "Requests refused because a queue was full", **own)
        self.cancelled = Counter("cancelled", "Requests whose client disconnected", **own)
        self.in_flight = Gauge("in_flight", "Requests in flight", **own)

    def gauge(self, name: str, help_line: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read on each scrape."""
        Gauge(f"ernie_search_{name}", help_line, registry=self.registry).set_function(read)

    def observe_batch(self, thread: str, size: int) -> None:
        """Note the size of a batch."""
        self.batches.labels(thread).observe(size)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
