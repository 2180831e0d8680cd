"""What goes wrong, as clients see it: OpenAI's error shape, one line, no trace, no path."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ernie_search.errors import DataError, ErnieSearchError, SettingsError, StorageError
from ernie_search.serve.batcher import BusyError, ClosedError
from ernie_search.serve.service import UnreadyError

RETRY = {"Retry-After": "1"}
"""Seconds: a full queue is worked off in less."""

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    501: "not_implemented_error",
    503: "unavailable_error",
    507: "storage_error",
}

_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[\w.@+-]+[\\/])+[\w.@+-]*|(?<!\w)file:|Traceback")


class HttpError(ErnieSearchError):
    """A refusal with its HTTP status; the message is for the client."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Refuse with ``status`` and one line."""
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


def as_problem(error: BaseException) -> HttpError | None:
    """What a client may be told of an expected failure; None for an unexpected one.

    Messages about what was asked (settings, data) are handed on, unless they name a path; those about the
    index, the model and the disk are for the log alone.
    """
    if isinstance(error, HttpError):
        return error
    if isinstance(error, BusyError):
        return HttpError(429, str(error), {"Retry-After": str(error.seconds)})
    if isinstance(error, UnreadyError | ClosedError):
        return HttpError(503, "the service is not ready; try again later", dict(RETRY))
    if isinstance(error, TimeoutError):
        return HttpError(503, "took too long; ask for less, or try again", dict(RETRY))
    if isinstance(error, StorageError):
        return HttpError(
            507, "the index's disk is full or cannot be written, so this is not durable; try later"
        )
    if isinstance(error, SettingsError | DataError):
        message = " ".join(str(error).split())
        return HttpError(400, "not possible with this index" if _PATH.search(message) else message)
    return None


def problem_body(status: int, message: str, request_id: str) -> bytes:
    """The JSON body of a refusal."""
    error = {
        "message": message,
        "type": TYPES.get(status, "server_error"),
        "code": status,
        "request_id": request_id,
    }
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def validation_line(errors: list[dict[str, Any]]) -> str:
    """The first thing that is wrong with a body, and how many more there are; values are not repeated."""
    first = errors[0]
    place = ".".join(str(part) for part in first.get("loc", ()) if part != "body") or "body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    message = str(first.get("msg", "not valid")).removeprefix("Value error, ")
    return f"{place[:200]}: {message[:300]}{more}"
