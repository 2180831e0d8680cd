"""What routes share: the service, the settings, and how a request is run: in time, and only while wanted."""

import asyncio
import json
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from ernie_search.errors import SettingsError
from ernie_search.index import And, Eq, Filter, In, parse_filter
from ernie_search.serve.problems import RETRY, HttpError, brief
from ernie_search.serve.service import Service
from ernie_search.serve.settings import ServeSettings
from ernie_search.serve.telemetry import Metrics
from ernie_search.serve.worker import Engine

T = TypeVar("T")

TURN = 32
"""Vectors that are written as JSON before others get their turn: some 10 ms."""

BRACKETS = 64
"""How deep a filter may nest; its parser is recursive."""


@dataclass(frozen=True, slots=True)
class Context:
    """Of one app."""

    settings: ServeSettings
    service: Service
    metrics: Metrics


class GoneError(Exception):
    """The client went away."""


def context(request: Request) -> Context:
    """The app's."""
    found: Context = request.app.state.context
    return found


def note(request: Request, **values: Any) -> None:
    """Add values to the request's log line."""
    request.scope["state"].setdefault("log", {}).update(values)


def as_json(value: Any, status: int = 200) -> Response:
    """An answer; NaN and infinity, which JSON does not know, are a bug and fail."""
    return Response(_dumped(value), status, media_type="application/json")


async def as_json_list(name: str, items: Iterable[Any], rest: dict[str, Any]) -> Response:
    """An answer with a list that may be long: the other requests get their turn while it is written.

    Args:
        name: of the list.
        items: made one by one, in their turn, too.
        rest: what else the answer has.
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
    """Run ``work`` until it is done, the time is up, or the client goes away, which cancels it.

    Args:
        request: whose work it is.
        work: to do.
        late: what the client is told when the time is up, if that is more than that.

    Raises:
        TimeoutError: it took longer than the limit.
        HttpError: it did, and ``late`` says more.
        GoneError: nobody waits for the answer.
    """
    here = context(request)

    async def leaving() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    async def run() -> T:
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(leaving())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            here.metrics.cancelled.inc()
            raise GoneError
        finally:
            for one in (task, gone):
                one.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    try:
        async with asyncio.timeout(here.settings.limits.seconds):
            return await run()
    except TimeoutError:
        if not late:
            raise
        raise HttpError(503, late, dict(RETRY)) from None


def filter_of(given: Any, engine: Engine, longest: int) -> Filter | None:
    """The filter of a request.

    Raises:
        HttpError: this index cannot filter, or the filter or a value in it is too long.
        SettingsError: it is no filter; unknown fields are found by the search.
    """
    if given is None:
        return None
    if not engine.can_filter:
        raise HttpError(501, "this index cannot filter; serve one that has fields")
    if isinstance(given, dict):
        if not given:
            return None
        parts: list[Filter] = []
        for name, value in given.items():
            texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
            check_length(texts, longest, f"filter.{brief(name)}")
            if isinstance(value, list):
                if len(value) > longest:
                    raise HttpError(400, f"filter.{brief(name)}: {len(value)} values, at most {longest}")
                parts.append(In(name, tuple(value)))
            else:
                parts.append(Eq(name, value))
        return parts[0] if len(parts) == 1 else And(tuple(parts))
    if len(given) > longest:
        raise HttpError(400, f"filter: {len(given)} characters, at most {longest} are taken")
    if given.count("(") > BRACKETS or given.lower().count("not") > BRACKETS:
        raise SettingsError(f"filter: more than {BRACKETS} brackets or 'not'")
    return parse_filter(given) if given.strip() else None


def check_length(texts: list[str], longest: int, what: str) -> None:
    """Refuse a text that is too long.

    Args:
        texts: one or several.
        longest: characters of each.
        what: their place in the body.

    Raises:
        HttpError: one has more than ``longest`` characters.
    """
    for place, text in enumerate(texts):
        if len(text) > longest:
            where = f"{what}.{place}" if len(texts) > 1 else what
            raise HttpError(400, f"{where}: {len(text)} characters, at most {longest} are taken")
