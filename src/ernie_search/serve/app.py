"""The app: routes, refusals and the guard around one service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ernie_search import __version__
from ernie_search.errors import ErnieSearchError
from ernie_search.search import Searcher
from ernie_search.serve import client_routes, operation_routes, passage_routes, search_route
from ernie_search.serve.context import Context, GoneError
from ernie_search.serve.describe import App, methods_by_path
from ernie_search.serve.engine import Engine
from ernie_search.serve.guard import Guard
from ernie_search.serve.log import log
from ernie_search.serve.metrics import Metrics
from ernie_search.serve.opening import look_at, open_searcher, renewed
from ernie_search.serve.page_routes import page_router
from ernie_search.serve.problems import HttpError, as_problem, brief, problem_body, validation_line
from ernie_search.serve.service import Opener, Renewer, Service
from ernie_search.serve.settings import Limits, ServeSettings

DESCRIPTION = """Search an index by question or vector, embed texts, re-rank documents.

Where keys are set, send `Authorization: Bearer KEY`. Every refusal is `{"error": {"message", ...}}`."""


def create_app(
    settings: ServeSettings, opener: Opener | None = None, metrics: Metrics | None = None
) -> FastAPI:
    """The app for uvicorn or any other ASGI server; index and model are opened when it starts.

    Args:
        settings: see ``ServeSettings``.
        opener: opens another engine than ``settings`` names; for tests and for embedding the app elsewhere.
        metrics: where figures go, if the opener counts as well.
    """
    metrics = metrics or Metrics()
    service = Service(
        opener or engine_opener(settings, metrics),
        exclusive=settings.writable,
        look=partial(look_at, settings.index, writable=settings.writable),
        renew=engine_renewer(settings, metrics),
    )
    metrics.gauge("waiting", "Texts and questions that wait for their turn", lambda: _waiting(service))
    metrics.gauge("ready", "1 if questions are answered", lambda: float(service.ready))
    metrics.gauge("index_version", "Goes up with each reload", lambda: float(service.version))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        beside = [asyncio.create_task(one) for one in (service.watch(settings.watch_seconds), service.tidy())]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await service.close()
            log("closed")

    app = App(
        settings,
        title="ERNIE-Search",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # its page loads from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.context = Context(settings, service, metrics)
    routers = (
        search_route.router,
        client_routes.router,
        passage_routes.router,
        operation_routes.router,
        page_router(),
    )
    app.state.methods = methods_by_path(routers)
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (ErnieSearchError, TimeoutError):
        app.add_exception_handler(kind, _expected)
    app.add_exception_handler(GoneError, _gone)
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    return app


def engine_opener(settings: ServeSettings, metrics: Metrics) -> Opener:
    """Opens what ``settings`` name, warmed up."""

    def opener() -> Engine:
        searcher = open_searcher(
            settings.index, settings.model, cross=settings.cross, writable=settings.writable
        )
        return _warm(searcher, settings.limits, writable=settings.writable, observe=metrics.observe_batch)

    return opener


def engine_renewer(settings: ServeSettings, metrics: Metrics) -> Renewer:
    """Opens a store's newest commit under the model that is loaded."""

    def renew(old: Engine) -> Engine:
        searcher = renewed(old.searcher, trust=old.trouble is None)
        return _warm(searcher, settings.limits, observe=metrics.observe_batch, before=old)

    return renew


def _warm(searcher: Searcher, limits: Limits, **options: Any) -> Engine:
    """An engine that answered once; if it cannot, what it holds is released, a writer's lock above all."""
    try:
        engine = Engine(searcher, limits, **options)
        engine.warm_up()
    except BaseException:
        searcher.index.close()
        raise
    return engine


def _waiting(service: Service) -> float:
    return float(service.current.waiting) if service.current is not None else 0.0


def _refusal(request: Request, problem: HttpError) -> Response:
    body = problem_body(problem.status, problem.message, request.scope["state"]["request_id"])
    return Response(body, problem.status, headers=problem.headers, media_type="application/json")


async def _expected(request: Request, error: Exception) -> Response:
    problem = as_problem(error)
    if problem is None:
        raise error  # the guard logs it, and says no more than that
    return _refusal(request, problem)


async def _invalid(request: Request, error: Exception) -> Response:
    body, kind = getattr(error, "body", None), request.headers.get("content-type", "")
    if isinstance(body, bytes):  # left unread, because it is not said to be JSON
        sent = f"is sent as {brief(kind)}" if kind else "has no Content-Type"
        return _refusal(request, HttpError(415, f"the body {sent}; send JSON as application/json"))
    details: Any = getattr(error, "errors", list)()
    return _refusal(request, HttpError(422, validation_line(list(details) or [{}], body)))


async def _http(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    words = {404: "there is nothing at this address", 405: "not with this method"}
    if status in (408, 413):  # the guard's
        words[status] = str(getattr(error, "detail", ""))
    unread = "the body could not be read as JSON: not UTF-8, nested too deep, or a number of too many digits"
    message = words.get(status, unread if status == 400 else "refused")
    headers = dict(getattr(error, "headers", None) or {})
    if status == 405 and request.url.path in request.app.state.methods:
        headers["Allow"] = ", ".join(request.app.state.methods[request.url.path])
    return _refusal(request, HttpError(status, message, headers))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the log does
