"""``GET /v1/documents``: a document's passages in order, or those around one of them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ernie_search.search.documents import DocumentPart
from ernie_search.serve.context import as_json, check_count, context, note, while_wanted
from ernie_search.serve.problems import refusals
from ernie_search.serve.schemas import DocumentAnswer
from ernie_search.types import Passage

PATH = "/v1/documents"
COUNT = 20
LONGEST_ID = 4_096
"""Characters of an id: that of a passage from a file has the file's path."""

router = APIRouter()


@router.get(
    PATH, response_model=DocumentAnswer, responses=refusals(400, 404, 422, body=False), tags=["search"]
)
async def document(
    request: Request,
    wanted: Annotated[
        str,
        Query(
            alias="id",
            min_length=1,
            max_length=LONGEST_ID,
            description="Of a passage, of a document (a hit's id), or the path of a file in the index.",
        ),
    ],
    first: Annotated[
        int | None,
        Query(
            ge=0,
            le=1_000_000_000,
            description="Place in the document of the first passage, from 0; by default the passage asked "
            "for is in the middle.",
        ),
    ] = None,
    count: Annotated[int, Query(ge=1, le=1_000_000, description="Passages at most.")] = COUNT,
) -> Response:
    """Read a passage in its place: the document's passages in order; a passage without a document alone.

    What is read is the index; no file is opened, whatever the id or path says.
    """
    here = context(request)
    most = here.settings.limits.read
    if "count" not in request.query_params:
        count = min(count, most)
    check_count(count, most, "count")

    async def work() -> tuple[DocumentPart, int]:
        async with here.service.lease() as worker:
            return await worker.read(wanted, first, count), here.service.version

    part, version = await while_wanted(request, work())
    note(request, passages=len(part.passages))
    return as_json(
        {
            "id": part.id,
            "path": part.path,
            "first": part.first,
            "total": part.total,
            "place": part.place,
            "passages": [_passage(one) for one in part.passages],
            "index_version": version,
        }
    )


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "id": passage.id,
        "title": passage.title,
        "text": passage.text,
        "parent": passage.parent,
        "start": passage.start,
        "fields": dict(passage.fields),
    }
