"""Bodies of requests and responses, with limits and examples, as in /openapi.json."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from ernie_search.types import check_id

NOT_BLANK = r"[^\s\u001c-\u001f\u0085\ufeff]"
"""A character other than white space, spelled out since \\s differs in Python, ECMAScript and Rust."""

MOST_ITEMS = 100_000
"""Most items of a list, checked before the items are validated; the service's own limits are lower."""

MOST_KEYS = 256
"""Most keys of an object, checked first, since an error for each of a million would take a minute."""


def encodable(text: str) -> str:
    """The text, unless it has half a surrogate pair, which JSON can express and UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("has half a surrogate pair, which is not valid text") from None
    return text


def not_blank(text: str) -> str:
    """The text, unless it has white space alone."""
    if not re.search(NOT_BLANK, text):
        raise ValueError("is empty")
    return text


def as_whole(number: Any) -> Any:
    """A number such as 5.0 as an integer, which it is in JSON."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _few_keys(value: Any) -> Any:
    """The value, unless it is an object of too many keys."""
    if isinstance(value, dict) and len(value) > MOST_KEYS:
        raise ValueError(f"has {len(value)} keys, at most {MOST_KEYS} are allowed")
    return value


def _null_for_nan(value: Any) -> Any:
    """The value, or None for NaN and infinities such as 1e400, as in every format of passages."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _one_word(identifier: str) -> str:
    check_id(identifier)
    return identifier


def _finite(vector: list[float]) -> list[float]:
    if not all(map(math.isfinite, vector)):
        raise ValueError("has NaN or infinity")
    return vector


Text = Annotated[str, AfterValidator(encodable)]
Question = Annotated[
    Text, AfterValidator(not_blank), Field(json_schema_extra={"pattern": NOT_BLANK, "minLength": 1})
]
Id = Annotated[Text, StringConstraints(min_length=1, max_length=512)]
NewId = Annotated[Id, AfterValidator(_one_word), Field(json_schema_extra={"pattern": f"^{NOT_BLANK}+$"})]
"""The id of a new passage; deletions also accept ids that are no longer allowed."""
Flag = Annotated[bool, Strict()]
Number = Annotated[float, Strict()]
Scalar = Flag | Annotated[int, Strict()] | Number | Text
Several = Annotated[list[Scalar], Field(max_length=MOST_ITEMS, fail_fast=True)]
FieldValue = Annotated[Scalar | None, BeforeValidator(_null_for_nan)]
FieldValues = Annotated[list[FieldValue], Field(max_length=MOST_ITEMS, fail_fast=True)]
Count = Annotated[int, Strict(), Field(ge=1, le=1_000_000), BeforeValidator(as_whole)]
Filters = Annotated[
    dict[Annotated[Text, StringConstraints(max_length=128)], Scalar | Several],
    Field(max_length=MOST_KEYS),
    BeforeValidator(_few_keys),
]
Where = Text | Filters

INPUT_TYPES = Literal["query", "passage", "search_query", "search_document", "document"]
"""Our terms, and those of Cohere and Jina for the same."""


def _with_only(name: str, kind: str, **others: dict[str, Any]) -> dict[str, Any]:
    """JSON schema: ``name`` is given, and ``others`` are as described then."""
    return {"required": [name], "properties": {name: {"type": kind}, **others}}


class _Request(BaseModel):
    """A request's body, with a limit on its keys."""

    @model_validator(mode="before")
    @classmethod
    def _few(cls, value: Any) -> Any:
        return _few_keys(value)


class SearchRequest(_Request):
    """A question, or a vector of the index's model."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"query": "where does tea grow?", "k": 5},
                {"query": "where does tea grow?", "mode": "dense", "k": 3, "explain": True},
            ],
            "oneOf": [
                _with_only("query", "string", vector={"type": "null"}),
                _with_only(
                    "vector",
                    "array",
                    query={"type": "null"},
                    mode={"enum": ["dense", None]},
                    explain={"const": False},
                ),
            ],
        },
    )

    query: Question | None = Field(None, description="The question.")
    vector: (
        Annotated[
            list[Number], Field(min_length=1, max_length=16384, fail_fast=True), AfterValidator(_finite)
        ]
        | None
    ) = Field(None, description="Instead of a question: its dense vector. Mode dense.")
    mode: str | None = Field(
        None, max_length=32, description="One of /v1/info's modes; by default the one that /v1/info names."
    )
    k: Count = Field(10, description="Hits; with explain fewer are allowed, see /v1/info.")
    candidates: Count = Field(100, description="Passages of each ranking that are read.")
    fusion: Annotated[Text, StringConstraints(max_length=256)] | None = Field(
        None,
        description="For mode hybrid: absolute, absolute:dense=0.5,late=1,bm25=0.2, rrf, or weights of "
        "stretched scores: dense=0.3,bm25=0.7. By default as the index was tuned, else absolute.",
    )
    token_weights: Literal["even", "root", "idf"] | None = Field(
        None, description="How much each of the question's tokens counts in late interaction."
    )
    filter: Where | None = Field(
        None,
        description='Only passages that meet it: text (lang = "en" and year >= 2000), or field to value or '
        "list of values. The fields are in /v1/info.",
    )
    explain: Flag = Field(False, description="Add which words matched which of the question's tokens.")

    @model_validator(mode="after")
    def _one_of(self) -> "SearchRequest":
        if (self.query is None) == (self.vector is None):
            raise ValueError("give either query or vector")
        if self.vector is not None and (self.mode not in (None, "dense") or self.explain):
            raise ValueError("a vector can only be searched in mode dense, without explain")
        return self


class EmbeddingsRequest(_Request):
    """OpenAI's request for embeddings, with ``input_type`` for questions and passages."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {"model": "ernie-search", "input": "where does tea grow?", "input_type": "query"},
                {"model": "ernie-search", "input": ["Tea grows in Assam."], "encoding_format": "base64"},
            ]
        },
    )

    input: Annotated[
        Text | Annotated[list[Any], Field(max_length=MOST_ITEMS)],
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "pattern": NOT_BLANK},
                    {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": NOT_BLANK}},
                ],
                "description": "A text or a list of texts; no token ids.",
            }
        ),
    ]
    model: Text = Field(
        "", max_length=512, description="Any name; one that ends in ':query' means input_type query."
    )
    input_type: INPUT_TYPES | None = Field(None, description="What the texts are; by default passages.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = Field(None, description="The model's own number, or none.")

    @property
    def texts(self) -> list[Any]:
        """The input as a list, not validated yet."""
        return [self.input] if isinstance(self.input, str) else self.input

    @property
    def is_question(self) -> bool:
        """Whether the texts are questions."""
        if self.input_type is not None:
            return self.input_type in ("query", "search_query")
        return self.model.endswith(":query")


class RerankDocument(_Request):
    """A document given as an object."""

    model_config = ConfigDict(extra="ignore")
    text: Text


class RerankRequest(_Request):
    """The request for ranking documents, as Cohere and Jina have it."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "model": "ernie-search",
                    "query": "where does tea grow?",
                    "documents": ["Rice stands in water.", "Tea grows in Assam."],
                    "top_n": 1,
                }
            ]
        },
    )

    query: Question
    documents: list[Text | RerankDocument] = Field(fail_fast=True, min_length=1, max_length=MOST_ITEMS)
    model: Text = Field("", max_length=512)
    top_n: Count | None = None
    return_documents: Flag = False


class PassageIn(_Request):
    """A passage to add, or to replace the one with its id; a title alone also becomes its text."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string", "pattern": NOT_BLANK}}}
                for name in ("text", "title")
            ]
        },
    )

    id: NewId
    text: Text = ""
    title: Text = Field("", max_length=2_000)
    fields: Annotated[
        dict[Annotated[Text, StringConstraints(max_length=128)], FieldValue | FieldValues],
        Field(max_length=MOST_KEYS),
        BeforeValidator(_few_keys),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> "PassageIn":
        if not re.search(NOT_BLANK, self.text) and not re.search(NOT_BLANK, self.title):
            raise ValueError("has neither a text nor a title")
        return self


class UpsertRequest(_Request):
    """Passages to add or replace."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"passages": [{"id": "tea", "title": "Tea", "text": "Tea grows in Assam."}]}]
        },
    )

    passages: list[PassageIn] = Field(fail_fast=True, min_length=1, max_length=MOST_ITEMS)


class DeleteRequest(_Request):
    """Passages to remove, by id or by filter."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"ids": ["tea"]}],
            "oneOf": [
                _with_only("ids", "array", filter={"type": "null"}),
                {
                    "required": ["filter"],
                    "properties": {"filter": {"type": ["string", "object"]}, "ids": {"type": "null"}},
                },
            ],
        },
    )

    ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_ITEMS, fail_fast=True)] | None = None
    filter: Where | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "DeleteRequest":
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give either ids or filter")
        return self


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
    """A hit; of a document in chunks ``passage`` is the best chunk, at character ``start`` of ``parent``.

    ``stages``, a name that clients know, has the score of each part of the search: "dense", "late", ...
    """

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


class PassageOut(BaseModel):
    """A stored passage; ``parent`` and ``start`` as of hits."""

    id: str
    title: str
    text: str
    parent: str | None
    start: int | None
    fields: dict[str, Any]


class DocumentAnswer(BaseModel):
    """Consecutive passages of a document, in its order.

    ``id`` is the document's, ``path`` that of its file, if it has one. ``first`` is the place of the first of
    these passages among the document's ``total``, ``place`` that of the passage asked for, both from 0.
    """

    id: str
    path: str | None
    first: int
    total: int
    place: int | None
    passages: list[PassageOut]
    index_version: int


class QuestionToken(BaseModel):
    """One of the question's tokens, characters ``start:stop`` of it; ``weight`` is 1 on average."""

    text: str
    start: int
    stop: int
    weight: float


class SearchAnswer(BaseModel):
    """Hits, best first, and the milliseconds that the search took."""

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
    """The response for embeddings, in OpenAI's format."""

    object: str = "list"
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class RerankResult(BaseModel):
    """A document's index in the request, and its MaxSim with the question: a mean cosine, at most 1."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class RerankAnswer(BaseModel):
    """The ranked documents, best first, in the format that Cohere and Jina share."""

    id: str
    model: str
    results: list[RerankResult]
    usage: dict[str, int]
    meta: dict[str, Any]


class Info(BaseModel):
    """Description of the index: model, passages, modes, fields for filters, limits."""

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
    """The number of the index version, which each reload raises."""

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
    """Message, type and status of an error, and the id of its request."""

    message: str
    type: str
    code: int
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every error response."""

    error: ErrorDetail
