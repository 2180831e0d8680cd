"""What the routes share: settings and service, JSON answers, time limits, filters and lengths."""

import asyncio
import json
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from ernie_search._util.words import brief
from ernie_search.index import Filter, as_filter
from ernie_search.serve.problems import RETRY, HttpError
from ernie_search.serve.service import Service
from ernie_search.serve.settings import ServeSettings
from ernie_search.serve.telemetry import Metrics
from ernie_search.serve.worker import Worker

T = TypeVar("T")

TURN = 32
"""Vectors that are written as JSON in one turn of the event loop, about 10 ms."""


@dataclass(frozen=True, slots=True)
class Context:
    """Settings, service and metrics of one app."""

    settings: ServeSettings
    service: Service
    metrics: Metrics


class GoneError(Exception):
    """The client disconnected before it was answered."""


def context(request: Request) -> Context:
    """The context of the request's app."""
    found: Context = request.app.state.context
    return found


def note(request: Request, **values: Any) -> None:
    """Add values to the request's log line."""
    request.scope["state"].setdefault("log", {}).update(values)


def as_json(value: Any) -> Response:
    """A JSON response; NaN and infinity, which JSON lacks, raise a ``ValueError``."""
    return Response(_dumped(value), media_type="application/json")


async def as_json_list(name: str, items: Iterable[Any], rest: dict[str, Any]) -> Response:
    """A JSON response with a long list, written in several turns of the event loop.

    Args:
        name: of the list.
        items: its values, made one by one.
        rest: the other names and values of the response.
    """
    parts = []
    for place, item in enumerate(items, start=1):
        parts.append(_dumped(item))
        if place % TURN == 0:
            await asyncio.sleep(0)
    body = f'{{"{name}":[{",".join(parts)}],{_dumped(rest)[1:]}'
    return Response(body, media_type="application/json")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


async def while_wanted(request: Request, work: Awaitable[T], late: str = "") -> T:
    """Await ``work``, and cancel it if the time limit passes or the client disconnects.

    Args:
        request: the request that ``work`` answers.
        work: to be awaited.
        late: message for the client if the time limit passes, instead of the usual one.

    Raises:
        TimeoutError: the time limit passed.
        HttpError: the time limit passed, and ``late`` was given.
        GoneError: the client disconnected.
    """
    here = context(request)

    async def leaving() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    # One task beside this one, which it cancels as ``asyncio.timeout`` does: tasks are a good part of what a
    # request costs.
    here_task, left = asyncio.current_task(), False

    def leave(gone: asyncio.Task[None]) -> None:
        nonlocal left
        if not gone.cancelled() and here_task is not None:
            gone.exception()  # looked at; whatever it is, nobody listens any more
            left = True
            here_task.cancel()

    async def run() -> T:
        gone = asyncio.ensure_future(leaving())
        gone.add_done_callback(leave)
        try:
            return await work
        except asyncio.CancelledError:
            if left and here_task is not None and not here_task.uncancel():
                here.metrics.cancelled.inc()
                raise GoneError from None
            raise
        finally:
            gone.remove_done_callback(leave)
            gone.cancel()

    try:
        async with asyncio.timeout(here.settings.limits.seconds):
            return await run()
    except TimeoutError:
        if not late:
            raise
        raise HttpError(503, late, dict(RETRY)) from None


def filter_of(given: Any, worker: Worker, longest: int) -> Filter | None:
    """The filter of a request, from text or from an object of fields and values.

    Raises:
        HttpError: this index cannot filter, or the filter or a value in it is too long.
        SettingsError: the text is not a filter. Unknown fields are refused by the search.
    """
    if given is None:
        return None
    if not worker.can_filter:
        raise HttpError(501, "this index has no fields to filter by")
    if isinstance(given, dict):
        for name, value in given.items():
            texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
            check_length(texts, longest, f"filter.{brief(name)}")
            if isinstance(value, list) and len(value) > longest:
                raise HttpError(400, f"filter.{brief(name)}: {len(value)} values, at most {longest}")
        return as_filter(given)
    if len(given) > longest:
        raise HttpError(400, f"filter: {len(given)} characters, at most {longest} are allowed")
    return as_filter(given)


def check_count(count: int, most: int, what: str) -> None:
    """Refuse a list that is too long.

    Raises:
        HttpError: ``count`` is above ``most``.
    """
    if count > most:
        raise HttpError(400, f"{what}: {count}, at most {most} in one request")


def check_length(texts: list[str], longest: int, what: str) -> None:
    """Refuse texts that are too long.

    Args:
        texts: one or several.
        longest: most characters of a text.
        what: their place in the request's body, for the message.

    Raises:
        HttpError: one has more than ``longest`` characters.
    """
    for place, text in enumerate(texts):
        if len(text) > longest:
            where = f"{what}.{place}" if len(texts) > 1 else what
            raise HttpError(400, f"{where}: {len(text)} characters, at most {longest} are allowed")
