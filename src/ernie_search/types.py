"""The few types that every room shares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Task = Literal["query", "passage"]
"""What a text is encoded as: its prompt and its length limit depend on it."""

Qrels = dict[str, dict[str, int]]
"""query id -> passage id -> graded relevance (above 0 is relevant)."""

Run = dict[str, dict[str, float]]
"""query id -> passage id -> score (higher is better)."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One unit of retrieval. ``fields`` holds whatever else the source says of it."""

    id: str
    text: str
    title: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_text(self) -> str:
        """Title and text as one string: what is encoded, and what BM25 reads."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Query:
    """A question. ``fields`` holds whatever else the source says of it (answers, say)."""

    id: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result. ``stages`` says what each stage scored, by the stage's name."""

    id: str
    score: float
    text: str = ""
    title: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
