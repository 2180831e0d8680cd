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
    """One unit of retrieval.

    Attributes:
        id: its own.
        text: what is searched, after the title.
        title: may be empty.
        fields: whatever else the source says of it; any name is free for that.
        parent: the document that it is a piece of; None where it stands alone.
        start: where it begins in that document's text, in characters; None where it stands alone.
    """

    id: str
    text: str
    title: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    start: int | None = None

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
    """One search result.

    Attributes:
        id: of the passage, or of the document that was cut into pieces.
        score: higher is better.
        text, title, fields: the passage's.
        stages: what each stage scored, by the stage's name.
        passage: id of the passage that was found, a document's best piece; the same as ``id`` if not given.
        parent, start: of that passage; see ``Passage``.
    """

    id: str
    score: float
    text: str = ""
    title: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    passage: str = ""
    parent: str | None = None
    start: int | None = None

    def __post_init__(self) -> None:
        """Most hits are passages themselves."""
        if not self.passage:
            object.__setattr__(self, "passage", self.id)
