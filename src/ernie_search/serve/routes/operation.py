"""Endpoints for operation: health, readiness, metrics, information, reload."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from ernie_search import __version__
from ernie_search.errors import ErnieSearchError
from ernie_search.serve.context import as_json, context
from ernie_search.serve.problems import HttpError, refusals
from ernie_search.serve.routes.search import default_mode
from ernie_search.serve.schemas import Info, Reloaded
from ernie_search.serve.telemetry import log

router = APIRouter(tags=["operation"])


@router.get("/healthz", response_class=PlainTextResponse)
async def health() -> str:
    """Answer 200 as long as the process runs."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse, responses={503: {"description": "Not ready"}})
async def readiness(request: Request) -> Response:
    """Answer 200 if the service is ready: index and model are open, and it is not shutting down."""
    ready = context(request).service.ready
    return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse, responses=refusals())
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(context(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/info", response_model=Info, responses=refusals())
async def info(request: Request) -> Response:
    """Describe the index: model, passages, modes, fields for filters, limits."""
    here = context(request)
    async with here.service.lease() as worker:
        passages = await asyncio.to_thread(len, worker.index)  # a server's index asks over the network
        return as_json(
            {
                "name": "ernie-search",
                "version": __version__,
                "index_version": here.service.version,
                "model": worker.model_name,
                "passages": passages,
                "dimensions": worker.dim,
                "modes": worker.modes,
                "default_mode": default_mode(worker, here.settings),
                "filters": worker.can_filter,
                "fields": worker.fields,
                "writable": here.settings.writable,
                "limits": here.settings.limits.model_dump(),
            }
        )


@router.post("/v1/reload", response_model=Reloaded, responses=refusals())
async def reload(request: Request) -> Response:
    """Open index and model again; requests in flight finish with the old ones, and none is dropped."""
    try:
        version = await context(request).service.reload()
    except ErnieSearchError as error:
        log("reload failed", level="error", reason=str(error))
        raise HttpError(503, "the index could not be opened; the reason is in the log") from None
    return as_json({"index_version": version})
