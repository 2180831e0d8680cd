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
    """Send the service's log, and what uvicorn has to complain of, to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("ernie_search.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
