"""Structured log lines: one JSON object each, on stderr; no question, no passage, no key."""

import json
import logging
import sys
import time
from typing import Any

LOGGER = logging.getLogger("ernie_search.serve")

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def log(event: str, *, level: str = "info", **values: Any) -> None:
    """Write one event with its values."""
    LOGGER.log(_LEVELS[level], event, extra={"values": values})


class Seldom:
    """An event that others can bring about as often as they like: one line in so many seconds."""

    def __init__(self, event: str, *, level: str = "warning", seconds: float = 10.0) -> None:
        """Nothing happened yet."""
        self._event, self._level, self._seconds = event, level, seconds
        self._times, self._due = 0, float("-inf")

    def __call__(self, **values: Any) -> None:
        """It happened; the next line says how often since the last."""
        self._times += 1
        now = time.monotonic()
        if now >= self._due:
            log(self._event, level=self._level, times=self._times, **values)
            self._times, self._due = 0, now + self._seconds


class JsonLines(logging.Formatter):
    """One JSON object a record; control characters are escaped, so a request cannot forge a line."""

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
    """Send the service's log, and what uvicorn and asyncio have to complain of, to stderr as JSON lines."""
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
