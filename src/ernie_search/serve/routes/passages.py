"""``/v1/passages``: add, replace and remove passages, if the service was started with ``--writable``."""

from collections.abc import Collection, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ernie_search.serve.context import as_json, check_count, check_length, context, filter_of, while_wanted
from ernie_search.serve.problems import HttpError, refusals
from ernie_search.serve.schemas import Changed, DeleteRequest, UpsertRequest, as_whole
from ernie_search.types import Passage

LATE = "took too long; it may have been written all the same: send it again, which does no harm, or look"
"""A write that has begun is finished even if the client is told that it took too long."""

router = APIRouter(prefix="/v1/passages", tags=["passages"])


def _refuse_unless_writable(request: Request) -> None:
    if not context(request).settings.writable:
        raise HttpError(403, "this service is read-only; start it with --writable")


@router.post("", response_model=Changed, responses=refusals(400, 422, 507))
async def upsert(request: Request, body: UpsertRequest) -> Response:
    """Add passages, or replace those with the same ids; all of them are written or none.

    After a response of 200 they are durable and found by searches. After a disconnect, or a 503 because of
    the time limit, they may have been written. The same request can be sent again without harm, since
    passages replace those with their ids.
    """
    _refuse_unless_writable(request)
    here = context(request)
    limits = here.settings.limits
    check_count(len(body.passages), limits.batch, "passages")
    seen: set[str] = set()
    for place, one in enumerate(body.passages):
        if one.id in seen:
            raise HttpError(400, f"passages.{place}.id: is the id of an earlier passage")
        seen.add(one.id)
    check_length([one.text for one in body.passages], limits.passage_characters, "passages")

    async def work() -> int:
        async with here.service.lease() as worker:
            whole = {name for name, kind in worker.fields.items() if kind == "int"}
            passages = [
                Passage(one.id, one.text, one.title, _with_ints(one.fields, whole)) for one in body.passages
            ]
            return await worker.upsert(passages)

    return as_json({"passages": await while_wanted(request, work(), LATE)})


@router.delete("", response_model=Changed, responses=refusals(400, 422, 501, 507))
async def delete(request: Request, body: DeleteRequest) -> Response:
    """Remove passages by id (unknown ids are no error) or by filter.

    After a 503 because of the time limit they may have been removed; the request can be sent again.
    """
    _refuse_unless_writable(request)
    here = context(request)
    check_count(len(body.ids or ()), here.settings.limits.batch, "ids")

    async def work() -> int:
        async with here.service.lease() as worker:
            where = filter_of(body.filter, worker, here.settings.limits.filter_characters)
            if body.ids is None and where is None:
                raise HttpError(400, "filter: is empty, which would remove all passages")
            return await worker.delete(body.ids, where)

    return as_json({"passages": await while_wanted(request, work(), LATE)})


def _with_ints(fields: Mapping[str, Any], whole: Collection[str]) -> dict[str, Any]:
    """The fields, with values such as 5.0 as integers where the index has integers."""
    return {name: as_whole(value) if name in whole else value for name, value in fields.items()}
