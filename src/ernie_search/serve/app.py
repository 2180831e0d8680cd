"""The FastAPI app: routes, error responses, OpenAPI description, and the guard around one service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ernie_search import __version__
from ernie_search._util.words import brief
from ernie_search.errors import ErnieSearchError
from ernie_search.search import Searcher
from ernie_search.search.opening import look_at, open_searcher, renewed
from ernie_search.serve.context import Context, GoneError
from ernie_search.serve.guard import OPEN, Guard
from ernie_search.serve.problems import HttpError, as_problem, problem_body, validation_line
from ernie_search.serve.routes import clients, documents, operation, passages, search
from ernie_search.serve.routes.page import page_router
from ernie_search.serve.service import Opener, Renewer, Service
from ernie_search.serve.settings import Limits, ServeSettings
from ernie_search.serve.telemetry import Metrics, log
from ernie_search.serve.worker import Worker

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class App(FastAPI):
    """A FastAPI app whose OpenAPI description has the limits and keys of ``settings``.

    The description needs no key, so it has nothing from the index.
    """

    def __init__(self, settings: ServeSettings, **options: Any) -> None:
        """See ``FastAPI``."""
        super().__init__(**options)
        self._settings = settings

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description, made on the first call."""
        if self.openapi_schema is None:
            found = super().openapi()
            _with_limits(found["components"]["schemas"], self._settings.limits)
            _limit_count(found["paths"][documents.PATH]["get"]["parameters"], self._settings.limits.read)
            if self._settings.keys:
                _with_keys(found)
        return dict(self.openapi_schema or {})


def methods_by_path(routers: Iterable[APIRouter]) -> dict[str, list[str]]:
    """Methods of each path over all of its routes; HEAD is answered wherever GET is."""
    found: dict[str, set[str]] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                found.setdefault(route.path, set()).update(route.methods or ())
    for methods in found.values():
        methods |= {"HEAD"} if "GET" in methods else set()
    return {path: sorted(methods) for path, methods in found.items()}


def _with_limits(schemas: dict[str, Any], limits: Limits) -> None:
    """Write the limits into the schemas of request bodies."""

    def part(schema: str, name: str, kind: str = "") -> dict[str, Any]:
        found: dict[str, Any] = schemas[schema]["properties"][name]
        if not kind:
            return found
        return next(one for one in found["anyOf"] if one.get("type") == kind)

    part("SearchRequest", "k")["maximum"] = limits.k
    part("SearchRequest", "candidates")["maximum"] = limits.candidates
    part("SearchRequest", "query", "string")["maxLength"] = limits.question_characters
    part("RerankRequest", "query")["maxLength"] = limits.question_characters
    for schema in ("SearchRequest", "DeleteRequest"):
        part(schema, "filter", "string")["maxLength"] = limits.filter_characters
    part("PassageIn", "text")["maxLength"] = limits.passage_characters
    part("RerankDocument", "text")["maxLength"] = limits.passage_characters
    text, texts = part("EmbeddingsRequest", "input")["anyOf"]
    document = part("RerankRequest", "documents")["items"]["anyOf"][0]
    for one in (text, texts["items"], document):
        one["maxLength"] = limits.passage_characters
    texts["maxItems"] = limits.texts
    part("RerankRequest", "documents")["maxItems"] = limits.documents
    for one in (part("UpsertRequest", "passages"), part("DeleteRequest", "ids", "array")):
        one["maxItems"] = limits.batch


def _limit_count(parameters: list[dict[str, Any]], most: int) -> None:
    """Write the limit of ``count`` into the description of a route's parameters."""
    schema = next(one["schema"] for one in parameters if one["name"] == "count")
    schema |= {"maximum": most, "default": min(schema["default"], most)}


def _with_keys(description: dict[str, Any]) -> None:
    """Mark the operations that need a key."""
    description["components"]["securitySchemes"] = SCHEMES
    for path, operations in description["paths"].items():
        if path not in OPEN:
            for operation in operations.values():
                operation["security"] = [{name: []} for name in SCHEMES]


DESCRIPTION = """Search an index by question or vector, embed texts, re-rank documents.

Where keys are set, send `Authorization: Bearer KEY`. Every refusal is `{"error": {"message", ...}}`."""


def create_app(
    settings: ServeSettings, opener: Opener | None = None, metrics: Metrics | None = None
) -> FastAPI:
    """Make the app for uvicorn or another ASGI server; index and model are opened when it starts.

    Args:
        settings: see ``ServeSettings``.
        opener: opens the worker instead of ``settings``, for tests and for embedding the app elsewhere.
        metrics: what the opener counts with, if it does.
    """
    metrics = metrics or Metrics()
    service = Service(
        opener or worker_opener(settings, metrics),
        exclusive=settings.writable,
        look=partial(look_at, settings.index, writable=settings.writable),
        renew=worker_renewer(settings, metrics),
    )
    metrics.gauge("waiting", "Texts and questions in the queues", lambda: _waiting(service))
    metrics.gauge("ready", "1 if the service answers questions, else 0", lambda: float(service.ready))
    metrics.gauge(
        "index_version",
        "Number of the index version in use, which each reload raises",
        lambda: float(service.version),
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        background = [
            asyncio.create_task(one) for one in (service.watch(settings.watch_seconds), service.tidy())
        ]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await service.close()
            log("closed")

    app = App(
        settings,
        title="ERNIE-Search",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # the page loads its scripts from another site
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.context = Context(settings, service, metrics)
    routers = (
        search.router,
        documents.router,
        clients.router,
        passages.router,
        operation.router,
        page_router(),
    )
    protect(app, settings, metrics, routers)
    return app


def protect(app: FastAPI, settings: ServeSettings, metrics: Metrics, routers: Sequence[APIRouter]) -> None:
    """Give an app its routes, errors as clients see them, and the guard around all of it."""
    app.state.methods = methods_by_path(routers)
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (ErnieSearchError, TimeoutError):
        app.add_exception_handler(kind, _expected)
    app.add_exception_handler(GoneError, _gone)
    app.add_middleware(Guard, settings=settings, metrics=metrics)


def worker_opener(settings: ServeSettings, metrics: Metrics) -> Opener:
    """A function that opens the index of ``settings`` and its model, and searches once."""

    def opener() -> Worker:
        searcher = open_searcher(
            settings.index,
            settings.model,
            cross=settings.cross,
            mode=settings.mode,
            writable=settings.writable,
            runtime=settings.runtime,
            precision=settings.precision,
        )
        if searcher.note:
            log("precision", level="warning", note=searcher.note)
        return _warm(searcher, settings.limits, writable=settings.writable, observe=metrics.observe_batch)

    return opener


def worker_renewer(settings: ServeSettings, metrics: Metrics) -> Renewer:
    """A function that opens the newest commit of an index with the model that is loaded."""

    def renew(old: Worker) -> Worker:
        searcher = renewed(old.searcher, trust=old.trouble is None)
        return _warm(searcher, settings.limits, observe=metrics.observe_batch, before=old)

    return renew


def _warm(searcher: Searcher, limits: Limits, **options: Any) -> Worker:
    """A worker that has searched once; if that fails, the index is closed, which releases a writer's lock."""
    try:
        worker = Worker(searcher, limits, **options)
        worker.warm_up()
    except BaseException:
        searcher.index.close()
        raise
    return worker


def _waiting(service: Service) -> float:
    return float(service.current.waiting) if service.current is not None else 0.0


def _refusal(request: Request, problem: HttpError) -> Response:
    body = problem_body(problem.status, problem.message, request.scope["state"]["request_id"])
    return Response(body, problem.status, headers=problem.headers, media_type="application/json")


async def _expected(request: Request, error: Exception) -> Response:
    problem = as_problem(error)
    if problem is None:
        raise error  # the guard logs it and answers with 500
    return _refusal(request, problem)


async def _invalid(request: Request, error: Exception) -> Response:
    body, kind = getattr(error, "body", None), request.headers.get("content-type", "")
    if isinstance(body, bytes):  # not parsed, because its Content-Type is not JSON
        sent = f"is sent as {brief(kind)}" if kind else "has no Content-Type"
        return _refusal(request, HttpError(415, f"the body {sent}; send JSON as application/json"))
    details: Any = getattr(error, "errors", list)()
    return _refusal(request, HttpError(422, validation_line(list(details) or [{}], body)))


async def _http(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    words = {404: "there is no such path", 405: "this method is not allowed"}
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
