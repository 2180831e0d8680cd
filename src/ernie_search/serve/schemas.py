"""The bodies of requests, with their limits and examples, as /openapi.json shows them."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator


def _encodable(text: str) -> str:
    """JSON can hold half a surrogate pair, which is no text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which is no text") from None
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


def _finite(vector: list[float]) -> list[float]:
    if not all(map(math.isfinite, vector)):
        raise ValueError("holds NaN or infinity")
    return vector


Text = Annotated[str, AfterValidator(_encodable)]
Question = Annotated[Text, AfterValidator(_not_blank)]
Id = Annotated[Text, StringConstraints(min_length=1, max_length=512)]
Scalar = bool | int | float | Text

INPUT_TYPES = Literal["query", "passage", "search_query", "search_document", "document"]
"""Ours, and the words that Cohere and Jina have for the same."""


class SearchRequest(BaseModel):
    """A question, or a vector of the index's model."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"query": "where does tea grow?", "mode": "late", "k": 5},
                {"query": "where does tea grow?", "mode": "dense", "k": 3, "explain": True},
            ]
        },
    )

    query: Question | None = Field(None, description="The question.")
    vector: Annotated[list[float], AfterValidator(_finite)] | None = Field(
        None, max_length=16384, description="Instead of a question: its dense vector. Mode dense."
    )
    mode: str | None = Field(
        None, max_length=32, description="One of /v1/info's modes; by default late where the index can."
    )
    k: int = Field(10, ge=1, le=1_000_000, description="Hits; the service's limit is in /v1/info.")
    candidates: int = Field(100, ge=1, le=1_000_000, description="Passages that late interaction re-ranks.")
    filter: Text | dict[str, Scalar | list[Scalar]] | None = Field(
        None,
        description='Only passages that meet it: text (lang = "en" and year >= 2000), or field to value or '
        "list of values. The fields are in /v1/info.",
    )
    explain: bool = Field(False, description="Also say which words matched which of the question's tokens.")

    @model_validator(mode="after")
    def _one_of(self) -> "SearchRequest":
        if (self.query is None) == (self.vector is None):
            raise ValueError("give query or vector, one of them")
        if self.vector is not None and (self.mode not in (None, "dense") or self.explain):
            raise ValueError("a vector is searched in mode dense, without explain")
        return self


class EmbeddingsRequest(BaseModel):
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

    input: Text | list[Any] = Field(description="A text or a list of texts.")
    model: Text = Field(
        "", max_length=512, description="Any name; one that ends in ':query' means input_type query."
    )
    input_type: INPUT_TYPES | None = Field(None, description="What the texts are; by default passages.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, le=1_000_000)

    @property
    def texts(self) -> list[Any]:
        """What to encode, as a list; not checked yet."""
        return [self.input] if isinstance(self.input, str) else self.input

    @property
    def is_question(self) -> bool:
        """Whether the texts are questions."""
        if self.input_type is not None:
            return self.input_type in ("query", "search_query")
        return self.model.endswith(":query")


class RerankDocument(BaseModel):
    """A document given as an object."""

    model_config = ConfigDict(extra="ignore")
    text: Text


class RerankRequest(BaseModel):
    """The request that Cohere and Jina share."""

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
    documents: list[Text | RerankDocument] = Field(min_length=1)
    model: Text = Field("", max_length=512)
    top_n: int | None = Field(None, ge=1, le=1_000_000)
    return_documents: bool = False


class PassageIn(BaseModel):
    """One passage to add, or to put in the place of the one with its id."""

    model_config = ConfigDict(extra="forbid")

    id: Id
    text: Question
    title: Text = Field("", max_length=2_000)
    fields: dict[Annotated[Text, StringConstraints(max_length=128)], Scalar | list[Scalar] | None] = Field(
        default_factory=dict
    )


class UpsertRequest(BaseModel):
    """Passages to add or replace."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"passages": [{"id": "tea", "title": "Tea", "text": "Tea grows in Assam."}]}]
        },
    )

    passages: list[PassageIn] = Field(min_length=1)


class DeleteRequest(BaseModel):
    """Passages to remove, by id or by filter."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ids": ["tea"]}]})

    ids: list[Id] | None = Field(None, min_length=1)
    filter: Text | dict[str, Scalar | list[Scalar]] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "DeleteRequest":
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give ids or filter, one of them")
        return self
