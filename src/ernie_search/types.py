"""The few types that every room shares."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ernie_search._util.files import check_text, json_value
from ernie_search.errors import DataError

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
        id: unique in its collection.
        text: what is encoded and searched, after the title.
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
class Judgement:
    """One line of a qrels file: how relevant a passage is to a question (above 0: it is)."""

    query: str
    passage: str
    grade: int


def check_id(identifier: object, name: str = "id") -> None:
    """Refuse an id that run files, whose columns are separated by white space, cannot hold.

    Args:
        name: what to call it in messages.

    Raises:
        ValueError: it is no string, is empty, holds white space or half a surrogate pair.
    """
    check_text(identifier, repr(name))
    if not identifier:
        raise ValueError(f"empty {name!r}; give each item one of its own")
    if not isinstance(identifier, str) or "\ufeff" in identifier or identifier.split() != [identifier]:
        raise ValueError(
            f"white space in {name!r} {identifier!r:.80}, which run files cannot hold; replace it by '_'"
        )


def checked_passage(passage: Passage, id_name: str = "id") -> Passage:
    """A passage as every source has to give it: a title alone is its text, NaN and infinities are null.

    Args:
        id_name: what to call the id in messages.

    Raises:
        ValueError: see ``check_id`` and ``json_value``, or there is neither a title nor a text.
    """
    check_id(passage.id, id_name)
    title, text = passage.title, passage.text
    check_text(title, "'title'")
    check_text(text, "'text'")
    if not title.strip():
        title = ""
    if not text.strip():
        if not title:
            raise ValueError("empty 'text' and no 'title'; fill one in, or remove the passage")
        title, text = "", title
    return replace(passage, text=text, title=title, fields=_checked_fields(passage.fields))


def checked_query(query: Query, id_name: str = "id") -> Query:
    """A question as every source has to give it; see ``checked_passage``.

    Raises:
        ValueError: see ``check_id`` and ``json_value``, or the text is empty.
    """
    check_id(query.id, id_name)
    check_text(query.text, "'text'")
    if not query.text.strip():
        raise ValueError("empty 'text'; fill it in, or remove the question")
    return replace(query, fields=_checked_fields(query.fields))


def check_question(text: str, name: str) -> None:
    """Refuse a question that cannot be asked.

    Args:
        name: what to call it in messages.

    Raises:
        DataError: it is empty, or holds half a surrogate pair (a byte that is not UTF-8, on a command line).
    """
    try:
        check_text(text, name)
    except ValueError as error:
        raise DataError(str(error)) from None
    if not text.strip():
        raise DataError(f"{name} is empty; ask something")


def _checked_fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if not fields:
        return fields
    try:
        found: Mapping[str, Any] = json_value(fields, "fields")
    except RecursionError:
        raise ValueError("fields are nested too deeply; make them flat") from None
    return found


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

    def as_json(self, rank: int) -> dict[str, Any]:
        """The hit as plain values, as ``search --json`` and the service show it.

        Args:
            rank: its place, counted from 1.
        """
        return {
            "rank": rank,
            "id": self.id,
            "passage": self.passage,
            "parent": self.parent,
            "start": self.start,
            "score": self.score,
            "title": self.title,
            "text": self.text,
            "fields": dict(self.fields),
            "stages": dict(self.stages),
        }
