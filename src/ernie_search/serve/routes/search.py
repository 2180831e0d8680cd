"""``POST /v1/search``: search the index by a question or a vector."""

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ernie_search.search import Fusion, best_mode
from ernie_search.serve.batches import Answer, Plan
from ernie_search.serve.context import as_json, check_length, context, filter_of, note, while_wanted
from ernie_search.serve.problems import HttpError, refusals
from ernie_search.serve.schemas import SearchAnswer, SearchRequest
from ernie_search.serve.settings import Limits, ServeSettings
from ernie_search.serve.worker import Worker
from ernie_search.types import Hit

router = APIRouter()


def default_mode(worker: Worker, settings: ServeSettings) -> str:
    """The mode of a search that names none: the service's, or else the best that the index can do."""
    return settings.mode or best_mode(worker.index)


@router.post("/v1/search", response_model=SearchAnswer, responses=refusals(400, 422, 501), tags=["search"])
async def search(request: Request, body: SearchRequest) -> Response:
    """Find the best passages for a question, or for a vector of the index's model."""
    here = context(request)
    limits = here.settings.limits
    body = _within(body, limits)
    _check(body, limits)
    started = time.perf_counter()
    if here.settings.log_questions and body.query is not None:
        note(request, question=body.query)

    async def work() -> tuple[str, Answer, int]:
        async with here.service.lease() as worker:
            version = here.service.version
            mode = body.mode or ("dense" if body.vector is not None else default_mode(worker, here.settings))
            if mode not in worker.modes:
                known = ", ".join(worker.modes)
                raise HttpError(
                    400, f"mode {mode[:32]!r} is not possible with this index; its modes are: {known}"
                )
            where = filter_of(body.filter, worker, limits.filter_characters)
            plan = Plan(
                *(mode, body.k, body.candidates, where, body.explain),
                fusion=here.settings.fusion if body.fusion is None else body.fusion,
                token_weights=body.token_weights or here.settings.token_weights,
            )
            if body.vector is not None:
                if len(body.vector) != worker.dim:
                    raise HttpError(400, f"vector: {len(body.vector)} dimensions, the index has {worker.dim}")
                return mode, await worker.search_vector(body.vector, plan), version
            found = await worker.search(body.query or "", plan)
            return mode, found, version

    mode, answer, version = await while_wanted(request, work())
    answer.milliseconds["total"] = (time.perf_counter() - started) * 1000
    for part, spent in answer.milliseconds.items():
        here.metrics.stages.labels(part).observe(spent / 1000)
    note(request, mode=mode, k=body.k, hits=len(answer.hits))
    explained: list[list[dict[str, Any]] | None] = [*answer.matches] or [None] * len(answer.hits)
    value: dict[str, Any] = {
        "mode": mode,
        "hits": [
            _hit(rank, hit, found)
            for rank, (hit, found) in enumerate(zip(answer.hits, explained, strict=True), start=1)
        ],
        "milliseconds": {part: round(spent, 2) for part, spent in answer.milliseconds.items()},
        "index_version": version,
    }
    if body.explain:
        value["question_tokens"] = answer.question_tokens
    return as_json(value)


def _within(body: SearchRequest, limits: Limits) -> SearchRequest:
    """The request; what it does not name is no more than the service allows."""
    k = min(limits.k, limits.explained) if body.explain else limits.k
    most = {"k": k, "candidates": limits.candidates}
    usual = {name: min(getattr(body, name), limit) for name, limit in most.items()}
    return body.model_copy(update={n: v for n, v in usual.items() if n not in body.model_fields_set})


def _check(body: SearchRequest, limits: Limits) -> None:
    if body.query is not None:
        check_length([body.query], limits.question_characters, "query")
    if body.fusion is not None:
        Fusion.parse(body.fusion)
    if body.k > limits.k:
        raise HttpError(400, f"k={body.k}: at most {limits.k}")
    if body.candidates > limits.candidates:
        raise HttpError(400, f"candidates={body.candidates}: at most {limits.candidates}")
    if body.explain and body.k > limits.explained:
        raise HttpError(400, f"k={body.k} with explain: at most {limits.explained}")


def _hit(rank: int, hit: Hit, matches: list[dict[str, Any]] | None) -> dict[str, Any]:
    return hit.as_json(rank) | ({} if matches is None else {"matches": matches})
