"""Errors as clients see them: a status and one bounded line without paths, in OpenAI's JSON shape."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ernie_search._util.words import LONGEST_SHOWN, brief
from ernie_search.errors import DataError, ErnieSearchError, SettingsError, StorageError
from ernie_search.search.documents import UnknownPassageError
from ernie_search.serve.queues import BusyError, ClosedError
from ernie_search.serve.schemas import ErrorAnswer
from ernie_search.serve.service import UnreadyError

RETRY = {"Retry-After": "1"}
"""Seconds; a full queue is emptied in less."""

STATUSES = {
    400: ("invalid_request_error", "As described, but not possible with this index, or over a limit"),
    401: ("authentication_error", "No API key, or an unknown one"),
    403: ("permission_error", "Not allowed"),
    404: ("not_found_error", "Not found"),
    405: ("invalid_request_error", "Another method is needed"),
    408: ("invalid_request_error", "The body came too slowly"),
    409: ("conflict_error", "In conflict with another request"),
    413: ("invalid_request_error", "The body is too long"),
    415: ("invalid_request_error", "The body is not sent as JSON"),
    422: ("invalid_request_error", "The body is not as described"),
    429: ("rate_limit_error", "A queue is full; see Retry-After"),
    500: ("server_error", "An unexpected error, which is in the log under the request id"),
    501: ("not_implemented_error", "Not possible with this index"),
    503: ("unavailable_error", "Not ready, or took too long"),
    507: ("storage_error", "The index's disk is full or cannot be written"),
}
"""The error type, as OpenAI's clients know it, and a description of each status."""

LONGEST_LINE = 1_000
"""Most characters of an error's message; the list of an index's fields may be long."""

WORDS = {
    "string_type": "a string",
    "float_type": "a number",
    "int_type": "an integer",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "missing": "is missing",
    "extra_forbidden": "is not a known name",
}
"""JSON's terms by pydantic's kind of error, since pydantic's messages name Python's types and functions."""

_VALUE = re.compile(
    rf"""(?<!\w)'[^'\\]*(?:\\.?[^'\\]*)*'?|(?<!\w)"[^"\\]*(?:\\.?[^"\\]*)*"?|\S{{{LONGEST_SHOWN + 1},}}"""
)
"""What may be a request's value in the message of another module: in quotes, or long and without spaces."""

_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[\w.@+-]+[\\/])+[\w.@+-]*|(?<!\w)file:|Traceback")


class HttpError(ErnieSearchError):
    """An error response: status, message for the client, headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Make it from a status, one line, and headers."""
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


def as_problem(error: BaseException) -> HttpError | None:
    """The response to an expected error; None for an unexpected one.

    Messages about the request (settings, data) are sent to the client, unless they name a path. Those about
    the index, the model and the disk are only logged.
    """
    if isinstance(error, HttpError):
        return error
    if isinstance(error, BusyError):
        return HttpError(429, str(error), {"Retry-After": str(error.seconds)})
    if isinstance(error, UnreadyError | ClosedError):
        return HttpError(503, "the service is not ready; try again later", dict(RETRY))
    if isinstance(error, TimeoutError):
        return HttpError(503, "took too long; request less, or try again", dict(RETRY))
    if isinstance(error, StorageError):
        return HttpError(
            507, "the index's disk is full or cannot be written, so this is not durable; try later"
        )
    if isinstance(error, UnknownPassageError):
        return HttpError(404, "no passage or document of this index has that id")
    if isinstance(error, SettingsError | DataError):
        message = bounded(str(error))
        return HttpError(400, "not possible with this index" if _PATH.search(message) else message)
    return None


def refusals(*codes: int, body: bool = True) -> dict[int | str, dict[str, Any]]:
    """Error responses of a route for OpenAPI: those of all routes, and ``codes``.

    Args:
        codes: of this route.
        body: whether 422 is about the request's body, or else about the parameters in its address.
    """
    with_body = {415} if 422 in codes and body else set()
    chosen = sorted({401, 403, 408, 413, 429, 500, 503, *with_body, *codes})
    found: dict[int | str, dict[str, Any]] = {
        code: {"model": ErrorAnswer, "description": STATUSES[code][1]} for code in chosen
    }
    seconds = {"description": "Seconds to wait before asking again", "schema": {"type": "integer"}}
    scheme = {"description": "The kind of key", "schema": {"type": "string"}}
    found[401]["headers"] = {"WWW-Authenticate": scheme}
    found[429]["headers"] = {"Retry-After": seconds}
    return found


def problem_body(status: int, message: str, request_id: str) -> bytes:
    """The JSON body of an error response."""
    error = {
        "message": message,
        "type": STATUSES.get(status, STATUSES[500])[0],
        "code": status,
        "request_id": request_id,
    }
    # Half a surrogate pair becomes an escape, which is valid JSON.
    return json.dumps({"error": error}, ensure_ascii=False).encode(errors="backslashreplace")


def bounded(message: str) -> str:
    """The message of another module on one line, with long values and the line itself cut."""

    def cut(found: re.Match[str]) -> str:
        text = found.group()
        if len(text) <= LONGEST_SHOWN + 2:
            return text
        quote = text[-1] if text[0] in "'\"" and text[-1] == text[0] else ""
        return f"{text[: LONGEST_SHOWN + len(quote)]}…{quote}"

    line = _VALUE.sub(cut, " ".join(message.split()))
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def validation_line(errors: Sequence[Mapping[str, Any]], body: Any) -> str:
    """A line about the first invalid place of a body: what is expected there, and how many others there are.

    Args:
        errors: pydantic's; a place where several types are allowed has several.
        body: the request's body; its values are not repeated.
    """
    if errors[0].get("type") == "json_invalid":
        reason = str(errors[0].get("ctx", {}).get("error", "not valid")).removesuffix(" at")
        return f"body: is not JSON: {reason} at character {errors[0]['loc'][-1] + 1}"
    found: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for error in errors:
        found.setdefault(_place(error, body), []).append(error)
    # Of several types that are allowed, the one that matched further into the body was meant.
    passed = {place[:length] for place in found for length in range(len(place))}
    places = [place for place in found if place not in passed]
    name = ".".join(brief(str(part)) for part in places[0]) or "body"
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    return f"{name}: {_what(found[places[0]])}{more}"


def _place(error: Mapping[str, Any], body: Any) -> tuple[str | int, ...]:
    """The place of an error: a parameter's name, or in the body those parts of pydantic's location that are
    keys, not types."""
    if error.get("loc", ())[:1] == ("query",):
        return tuple(error["loc"][1:])
    place: list[str | int] = []
    for part in error.get("loc", ())[1:]:
        keys = body if isinstance(body, dict) else range(len(body)) if isinstance(body, list) else ()
        if part in keys:
            body = body[part]
        elif error.get("type") != "missing" or part != error["loc"][-1]:
            continue
        place.append(part)
    return tuple(place)


def _what(errors: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong at one place, from the errors of all types that are allowed there."""
    for error in errors:
        kind, message = str(error.get("type")), str(error.get("msg", "not valid"))
        if kind in ("missing", "extra_forbidden"):
            return WORDS[kind]
        if kind == "too_long":
            return "is too long: {actual_length}, at most {max_length} are allowed".format_map(error["ctx"])
        if kind not in WORDS:
            return bounded(message.removeprefix("Value error, ").removeprefix("Input "))
    kinds = [str(error["type"]) for error in errors]
    taken = list(dict.fromkeys(words for kind, words in WORDS.items() if kind in kinds))
    if "a number" in taken and "an integer" in taken:
        taken.remove("an integer")
    return f"must be {', '.join(taken[:-1])} or {taken[-1]}" if len(taken) > 1 else f"must be {taken[0]}"
