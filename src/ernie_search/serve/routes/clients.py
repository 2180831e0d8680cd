"""Endpoints for existing clients: embeddings and models as OpenAI has them, rerank as Cohere and Jina do."""

import base64
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ernie_search.serve.context import as_json, as_json_list, check_count, check_length, context, while_wanted
from ernie_search.serve.problems import HttpError, refusals
from ernie_search.serve.schemas import (
    EmbeddingsAnswer,
    EmbeddingsRequest,
    ModelCard,
    ModelsAnswer,
    RerankAnswer,
    RerankRequest,
    encodable,
    not_blank,
)
from ernie_search.serve.settings import Limits

router = APIRouter()

NAME = "ernie-search"
"""The model's name for clients; any other name is accepted as well, since there is only one model."""

NAMES = (NAME, f"{NAME}:query")


@router.get("/v1/models", response_model=ModelsAnswer, tags=["clients"], responses=refusals())
async def models(request: Request) -> Response:
    """List the names of the one model, in OpenAI's format."""
    return as_json({"object": "list", "data": [_card(request, one) for one in NAMES]})


@router.get("/v1/models/{name}", response_model=ModelCard, tags=["clients"], responses=refusals(404))
async def model(request: Request, name: str) -> Response:
    """Describe one of the names that ``/v1/models`` lists."""
    if name not in NAMES:
        raise HttpError(404, f"no model of this name; there are {' and '.join(NAMES)}")
    return as_json(_card(request, name))


def _card(request: Request, name: str) -> dict[str, Any]:
    worker = context(request).service.current
    owner = worker.model_name if worker is not None else ""
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


@router.post(
    "/v1/embeddings", response_model=EmbeddingsAnswer, responses=refusals(400, 422), tags=["clients"]
)
async def embeddings(request: Request, body: EmbeddingsRequest) -> Response:
    """Encode texts to dense vectors, in OpenAI's format; questions need ``input_type: query``."""
    here = context(request)
    texts = _texts(body, here.settings.limits)

    async def work() -> tuple[list[Any], int]:
        async with here.service.lease() as worker:
            if body.dimensions not in (None, worker.dim):
                raise HttpError(
                    400, f"dimensions: this model's vectors have {worker.dim}, and cannot be truncated"
                )
            rows = await worker.encode(texts, "query" if body.is_question else "passage", tokens=False)
            return [row.dense for row in rows], await worker.token_count(texts)

    vectors, tokens = await while_wanted(request, work())

    def value(vector: Any) -> Any:
        packed = body.encoding_format == "base64"
        return base64.b64encode(vector.astype("<f4").tobytes()).decode() if packed else vector.tolist()

    return await as_json_list(
        "data",
        (
            {"object": "embedding", "index": place, "embedding": value(vector)}
            for place, vector in enumerate(vectors)
        ),
        {
            "object": "list",
            "model": body.model or NAME,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        },
    )


@router.post("/v1/rerank", response_model=RerankAnswer, responses=refusals(400, 422, 501), tags=["clients"])
@router.post("/v2/rerank", response_model=RerankAnswer, include_in_schema=False)
async def rerank(request: Request, body: RerankRequest) -> Response:
    """Rank documents by late interaction with a question, in the format that Cohere and Jina share.

    The model name ``cross`` asks for the cross-encoder, if one is served.
    """
    here = context(request)
    limits = here.settings.limits
    texts = [one if isinstance(one, str) else one.text for one in body.documents]
    check_length([body.query], limits.question_characters, "query")
    check_count(len(texts), limits.documents, "documents")
    check_length(texts, limits.passage_characters, "documents")

    async def work() -> tuple[list[float], int]:
        async with here.service.lease() as worker:
            cross = body.model.rpartition(":")[2] == "cross"
            if cross and worker.searcher.cross is None:
                raise HttpError(501, "no cross-encoder is served; omit the model, or name another one")
            scores = await worker.rerank(body.query, texts, cross=cross)
            return scores, await worker.token_count([body.query, *texts])

    scores, tokens = await while_wanted(request, work())
    order = sorted(range(len(texts)), key=lambda place: (-scores[place], place))[: body.top_n]
    results: list[dict[str, Any]] = [
        {"index": place, "relevance_score": round(scores[place], 6)} for place in order
    ]
    if body.return_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    return as_json(
        {
            "id": request.scope["state"]["request_id"],
            "model": body.model or NAME,
            "results": results,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        }
    )


def _texts(body: EmbeddingsRequest, limits: Limits) -> list[str]:
    texts = body.texts
    if not texts:
        raise HttpError(400, "input: at least one text is needed")
    check_count(len(texts), limits.texts, "input")
    for place, text in enumerate(texts):
        if isinstance(text, int | list) and not isinstance(text, bool):
            raise HttpError(
                400,
                f"input.{place}: token ids are not supported, send texts "
                "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
            )
        if not isinstance(text, str):
            raise HttpError(400, f"input.{place}: must be a string")
        try:
            not_blank(encodable(text))
        except ValueError as error:
            raise HttpError(400, f"input.{place}: {error}") from None
    check_length(
        texts, limits.question_characters if body.is_question else limits.passage_characters, "input"
    )
    return texts
