"""The app: routes, refusals and the guard around one service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ernie_search import __version__
from ernie_search.errors import ErnieSearchError
from ernie_search.search import Searcher
from ernie_search.serve.context import Context, GoneError
from ernie_search.serve.guard import OPEN, Guard
from ernie_search.serve.opening import look_at, open_searcher, renewed
from ernie_search.serve.problems import HttpError, as_problem, brief, problem_body, validation_line
from ernie_search.serve.routes import clients, operation, passages, search
from ernie_search.serve.routes.page import page_router
from ernie_search.serve.service import Opener, Renewer, Service
from ernie_search.serve.settings import Limits, ServeSettings
from ernie_search.serve.telemetry import Metrics, log
from ernie_search.serve.worker import Engine

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class App(FastAPI):
    """Describes itself with what ``settings`` allow; nothing of the index is in it, as it needs no key."""

    def __init__(self, settings: ServeSettings, **options: Any) -> None:
        """As FastAPI, for ``settings``."""
        super().__init__(**options)
        self._settings = settings

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            found = super().openapi()
            _with_limits(found["components"]["schemas"], self._settings.limits)
            if self._settings.keys:
                _with_keys(found)
        return dict(self.openapi_schema or {})


def methods_by_path(routers: Iterable[APIRouter]) -> dict[str, list[str]]:
    """What each path can be asked with: a route alone knows only its own methods. Each GET has its HEAD."""
    found: dict[str, set[str]] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                found.setdefault(route.path, set()).update(route.methods or ())
    for methods in found.values():
        methods |= {"HEAD"} if "GET" in methods else set()
    return {path: sorted(methods) for path, methods in found.items()}


def _with_limits(schemas: dict[str, Any], limits: Limits) -> None:
    """Write the limits where the bodies are described."""

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


def _with_keys(description: dict[str, Any]) -> None:
    """Say which operations need a key."""
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
        search.router,
        clients.router,
        passages.router,
        operation.router,
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
    """Opens an index's newest commit under the model that is loaded."""

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
