"""The bodies of answers, for /openapi.json; what is sent is written without another check."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class MatchToken(BaseModel):
    """One of the question's tokens that picked a word."""

    token: int
    text: str
    strength: float


class Match(BaseModel):
    """A word: characters ``start:stop`` of title, a space and text (text alone without a title)."""

    start: int
    stop: int
    strength: float
    tokens: list[MatchToken]


class HitOut(BaseModel):
    """One hit; of a document in pieces ``passage`` is the best one, at character ``start`` of ``parent``."""

    rank: int
    id: str
    passage: str
    parent: str | None
    start: int | None
    score: float
    title: str
    text: str
    fields: dict[str, Any]
    stages: dict[str, float]
    matches: list[Match] | None = None


class QuestionToken(BaseModel):
    """One of the question's tokens, characters ``start:stop`` of it."""

    text: str
    start: int
    stop: int


class SearchAnswer(BaseModel):
    """Hits, best first, and the milliseconds of each stage."""

    mode: str
    hits: list[HitOut]
    question_tokens: list[QuestionToken] | None = None
    milliseconds: dict[str, float]
    index_version: int


class Embedding(BaseModel):
    """One vector: numbers, or little-endian float32 in base64."""

    object: str = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsAnswer(BaseModel):
    """OpenAI's answer."""

    object: str = "list"
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class RerankResult(BaseModel):
    """One document's place in the request, and its MaxSim with the question: a mean cosine, at most 1."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class RerankAnswer(BaseModel):
    """The answer that Cohere and Jina share, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: dict[str, int]
    meta: dict[str, Any]


class Info(BaseModel):
    """What is served, and what may be asked of it."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    version: str
    index_version: int
    model: str
    passages: int
    dimensions: int
    modes: list[str]
    default_mode: str
    filters: bool
    fields: dict[str, str]
    writable: bool
    limits: dict[str, float]


class Reloaded(BaseModel):
    """Goes up with each opening."""

    index_version: int


class ModelCard(BaseModel):
    """One model, in OpenAI's shape."""

    id: str
    object: str = "model"
    created: int
    owned_by: str


class ModelsAnswer(BaseModel):
    """OpenAI's list of models."""

    object: str = "list"
    data: list[ModelCard]


class Changed(BaseModel):
    """How many passages were written or removed."""

    passages: int


class ErrorDetail(BaseModel):
    """One line for people, and what programs need."""

    message: str
    type: str
    code: int
    request_id: str


class ErrorAnswer(BaseModel):
    """Every refusal."""

    error: ErrorDetail


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The refusals that a route may give beside those of all routes."""
    words = {
        400: "As described, but not possible with this index, or outside a limit",
        401: "No API key, or an unknown one",
        403: "Not allowed here",
        404: "Not there",
        408: "The body came too slowly",
        413: "The body is too long",
        415: "The body is not JSON",
        422: "The body is not as described",
        429: "Too many requests wait; see Retry-After",
        500: "Something went wrong; the log has it under the request id",
        501: "This index cannot do it",
        503: "Not ready, or took too long",
        507: "The index's disk is full or cannot be written",
    }
    with_body = {415} if 422 in codes else set()
    chosen = sorted({401, 403, 408, 413, 429, 500, 503, *with_body, *codes})
    found: dict[int | str, dict[str, Any]] = {
        code: {"model": ErrorAnswer, "description": words[code]} for code in chosen
    }
    seconds = {"description": "Seconds to wait before asking again", "schema": {"type": "integer"}}
    scheme = {"description": "The kind of key", "schema": {"type": "string"}}
    found[401]["headers"] = {"WWW-Authenticate": scheme}
    found[429]["headers"] = {"Retry-After": seconds}
    return found
