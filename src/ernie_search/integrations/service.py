"""The client of our HTTP service, as the frameworks' retrievers use it."""

import json
import ssl
import weakref
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from ernie_search._util.files import check_text
from ernie_search.errors import DataError, ServiceError, SettingsError
from ernie_search.integrations.asked import Asked
from ernie_search.types import Hit

LONGEST_MESSAGE = 500
"""Characters of a service's message that are repeated."""
JSON_BODY = {"Content-Type": "application/json"}


class Service:
    """A service that ``ernie-search serve`` started, asked over HTTP."""

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 10.0) -> None:
        """Prepare the client; nothing is asked yet.

        Args:
            url: ``http://host:port``, perhaps with a path before ``/v1``.
            api_key: sent as a bearer token.
            timeout: seconds for an answer.

        Raises:
            SettingsError: no address of HTTP, or no time at all.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise SettingsError(f"url={url!r}: not the address of a service; give http://host:port")
        if not timeout > 0:
            raise SettingsError(f"timeout={timeout}: must be above 0 seconds")
        self._url, self._timeout = url.rstrip("/"), timeout
        # Reading the system's certificates takes tens of milliseconds: once, and only for https.
        self._options: dict[str, Any] = {
            "timeout": timeout,
            "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
            "verify": ssl.create_default_context() if parts.scheme == "https" else False,
        }
        self._client = httpx.Client(**self._options)
        weakref.finalize(self, self._client.close)

    def search(self, question: str, asked: Asked) -> list[Hit]:
        """See ``Source``.

        Raises:
            ServiceError: no answer, in time; a refusal, in the service's words.
            DataError: a question that is no text, or holds half a surrogate pair.
            SettingsError: a filter, or another value, that cannot be sent.
        """
        body = _body(question, asked)
        try:
            answer = self._client.post(f"{self._url}/v1/search", content=body, headers=JSON_BODY)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreached(error) from None
        return asked.kept(self._hits(answer))

    async def asearch(self, question: str, asked: Asked) -> list[Hit]:
        """See ``Source``; a connection belongs to an event loop, so each call has its own."""
        body = _body(question, asked)
        try:
            async with httpx.AsyncClient(**self._options) as client:
                answer = await client.post(f"{self._url}/v1/search", content=body, headers=JSON_BODY)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreached(error) from None
        return asked.kept(self._hits(answer))

    def _unreached(self, error: Exception) -> ServiceError:
        if isinstance(error, httpx.TimeoutException):
            return ServiceError(
                f"{self._url}: no answer within {self._timeout:g} s; try again, or give a longer timeout"
            )
        return ServiceError(
            f"{self._url}: no service answers ({str(error) or type(error).__name__}); start one with: "
            "ernie-search serve INDEX"
        )

    def _hits(self, answer: httpx.Response) -> list[Hit]:
        try:
            value = answer.json()
            if answer.status_code == httpx.codes.OK:
                return [_hit(one) for one in value["hits"]]
            message = " ".join(str(value["error"]["message"]).split())[:LONGEST_MESSAGE]
        except (ValueError, KeyError, TypeError):
            raise ServiceError(
                f"{self._url}: answers {answer.status_code}, but not as ERNIE-Search does; check the address"
            ) from None
        if answer.status_code in (401, 403):
            message += "; give its key as api_key"
        elif answer.status_code in (429, 503):
            message += "; try again later"
        raise ServiceError(f"{self._url}: refused ({answer.status_code}): {message}")


def _body(question: str, asked: Asked) -> bytes:
    """What is sent, as JSON: written here, so that what cannot be is an error of ours."""
    try:
        check_text(question, "the question")
    except ValueError as error:
        raise DataError(str(error)) from None
    condition = asked.condition
    if condition is not None and not isinstance(condition, str | Mapping):
        raise SettingsError("a service takes its filter as text, or as field to value; write it so")
    if isinstance(condition, Mapping):
        condition = {name: list(one) if isinstance(one, tuple) else one for name, one in condition.items()}
    body = {"query": question, "k": asked.k, "mode": asked.mode, "filter": condition}
    given = {name: value for name, value in body.items() if value is not None}
    try:
        return json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(
            f"the search cannot be sent ({first:.200}); give a filter's values as text, finite numbers and "
            "truth values, or lists of these"
        ) from None


def _hit(value: Mapping[str, Any]) -> Hit:
    return Hit(
        id=str(value["id"]),
        score=float(value["score"]),
        text=str(value["text"]),
        title=str(value["title"]),
        fields=dict(value["fields"]),
        stages=dict(value["stages"]),
        passage=str(value["passage"]),
        parent=value["parent"],
        start=value["start"],
    )
