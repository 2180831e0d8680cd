"""What an assistant may ask over MCP and what it gets: checked arguments, bounded answers, readable text."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ernie_search._util.words import printable
from ernie_search.integrations.documents import Document, Page, document_of, uri_of
from ernie_search.types import Hit, Passage

MOST_HITS = 50
LONGEST_QUESTION = LONGEST_FILTER = 2_000
LONGEST_ID = 4_096
LONGEST_HIT = 1_500
"""Characters of a hit's text; ``read`` gives the rest."""
LONGEST_TITLE = 300
LONGEST_VALUE = 200
MOST_FIELDS = 20
MOST_AROUND = 10
SHORTEST_HIT = 200
SHOWN_APART = ("path", "heading", "line", "page")
"""Fields of a folder's passages that a hit has beside its fields, or in its title."""


class Arguments(BaseModel):
    """Arguments of a tool: nothing else is allowed."""

    model_config = ConfigDict(extra="forbid")


CollectionName = Annotated[
    str | None,
    Field(
        max_length=64, description="Which collection; may be left out if there is one. See list_collections."
    ),
]


class SearchArguments(Arguments):
    """See the tool ``search``."""

    query: Annotated[
        str,
        Field(min_length=1, max_length=LONGEST_QUESTION, description="A question, or words to look for."),
    ]
    mode: Annotated[
        Literal["words", "dense", "late", "hybrid"] | None,
        Field(description="words: exact words; dense, late: by meaning; hybrid: all together, the default."),
    ] = None
    k: Annotated[int, Field(ge=1, le=MOST_HITS, description="How many passages.")] = 8
    filter: Annotated[
        str | None,
        Field(
            max_length=LONGEST_FILTER,
            description='Only passages with such fields: path = "guide/logs.md" and line > 10. The '
            "fields are in list_collections.",
        ),
    ] = None
    collection: CollectionName = None


class ReadArguments(Arguments):
    """See the tool ``read``."""

    id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=LONGEST_ID,
            description="A passage's id from a search, or a document's name.",
        ),
    ]
    around: Annotated[
        int, Field(ge=0, le=MOST_AROUND, description="Passages on either side of the passage.")
    ] = 1
    page: Annotated[
        int | None,
        Field(
            ge=1, le=1_000_000, description="Instead of neighbours: this page of the whole document, from 1."
        ),
    ] = None
    collection: CollectionName = None


class ListArguments(Arguments):
    """None."""


class HitOut(BaseModel):
    """A passage that was found."""

    rank: int
    id: str = Field(description="For read.")
    document: str
    uri: str = Field(description="The document as a resource.")
    score: float
    title: str
    text: str
    cut: bool = Field(description="Whether the text goes on; read gives all of it.")
    line: int | None = None
    page: int | None = None
    fields: dict[str, str | int | float | bool] = {}


class SearchAnswer(BaseModel):
    """Passages, best first."""

    collection: str
    mode: str
    hits: list[HitOut]
    more: str | None = Field(description="How to get what is not here.")


class PassageOut(BaseModel):
    """A passage in its document."""

    id: str
    place: int = Field(description="In the document, from 1.")
    title: str
    text: str
    line: int | None = None
    page: int | None = Field(None, description="In the file.")


class ReadAnswer(BaseModel):
    """Some of a document."""

    collection: str
    document: str
    uri: str
    passages_in_document: int
    passages: list[PassageOut]
    page: int | None = Field(description="Of the document as read gives it, not of a PDF.")
    next_page: int | None
    more: str | None = Field(description="How to get what is not here.")


class CollectionOut(BaseModel):
    """What can be searched."""

    name: str
    uri: str
    passages: int
    documents: int | None = Field(description="Files; null where passages come from elsewhere.")
    source: str
    model: str
    modes: list[str]
    default_mode: str
    fields: dict[str, str] = Field(description="What filter can ask for, with types.")


class ListAnswer(BaseModel):
    """All collections."""

    collections: list[CollectionOut]


def search_answer(collection: str, mode: str, asked: int, hits: Sequence[Hit], most: int) -> SearchAnswer:
    """Hits as they fit into ``most`` characters, each with its share, the first at least.

    Args:
        collection, mode: that were searched.
        asked: for how many hits.
        hits: found.
        most: characters.
    """
    longest = min(LONGEST_HIT, max(SHORTEST_HIT, most // (2 * max(1, len(hits)))))
    shown: list[HitOut] = []
    left = most
    for rank, hit in enumerate(hits, 1):
        one = _hit_out(collection, rank, hit, min(longest, max(SHORTEST_HIT, most // 2)))
        left -= len(one.model_dump_json())
        if shown and left < 0:
            break
        shown.append(one)
    more = None
    if len(shown) < len(hits):
        more = f"{len(hits) - len(shown)} more were found; ask for k={len(shown)} or narrow the question"
    elif any(one.cut for one in shown):
        more = "texts that end in … are cut: read(id) gives a passage with its neighbours"
    elif len(hits) == asked and asked < MOST_HITS:
        more = f"there may be more: k up to {MOST_HITS}"
    return SearchAnswer(collection=collection, mode=mode, hits=shown, more=more)


def _hit_out(collection: str, rank: int, hit: Hit, longest: int) -> HitOut:
    document = document_of(hit.passage, dict(hit.fields), hit.parent)[:LONGEST_ID]
    text = printable(hit.text)
    kept = {name: value for name, value in _flat(hit.fields).items() if name not in SHOWN_APART}
    return HitOut(
        rank=rank,
        id=hit.passage[:LONGEST_ID],
        document=document,
        uri=uri_of(collection, document),
        score=round(hit.score, 4),
        title=_line(hit.title, LONGEST_TITLE),
        text=text if len(text) <= longest else f"{text[:longest]}…",
        cut=len(text) > longest,
        line=_whole(hit.fields.get("line")),
        page=_whole(hit.fields.get("page")),
        fields=kept,
    )


def read_answer(collection: str, page: Page, number: int | None, asked: str) -> ReadAnswer:
    """Passages of a document, and how to get the rest.

    Args:
        collection: that they are of.
        page: see ``Documents``.
        number: of the page; None for a passage with its neighbours.
        asked: the id that was asked for.
    """
    document = page.document
    whole = len(document.ids)
    follows = number + 1 if number is not None and page.more else None
    more = None
    if follows is not None:
        more = f"read(id={asked!r}, page={follows}) goes on"
    elif number is None and (page.more or len(page.parts) < whole):
        more = f"the whole document, by pages: read(id={asked!r}, page=1)"
    return ReadAnswer(
        collection=collection,
        document=document.name,
        uri=uri_of(collection, document.name),
        passages_in_document=whole,
        passages=[_passage_out(one.passage, one.text, one.place) for one in page.parts],
        page=number,
        next_page=follows,
        more=more,
    )


def _passage_out(passage: Passage, text: str, place: int) -> PassageOut:
    return PassageOut(
        id=passage.id,
        place=place,
        title=_line(passage.title, LONGEST_TITLE),
        text=printable(text),
        line=_whole(passage.fields.get("line")),
        page=_whole(passage.fields.get("page")),
    )


def search_text(answer: SearchAnswer) -> str:
    """The same for reading."""
    if not answer.hits:
        return f"Nothing found in {answer.collection} (mode {answer.mode})."
    lines = [f"{len(answer.hits)} passages of {answer.collection}, best first (mode {answer.mode}):"]
    for hit in answer.hits:
        lines += ["", f"{hit.rank}. {hit.title or hit.document} ({hit.score:g})"]
        lines += [f"id: {_line(hit.id, LONGEST_ID)}{_place(hit.document, hit.line, hit.page)}", hit.text]
    return "\n".join([*lines, "", answer.more] if answer.more else lines)


def read_text(answer: ReadAnswer) -> str:
    """The same for reading."""
    first, last = answer.passages[0].place, answer.passages[-1].place
    span = f"passage {first}" if first == last else f"passages {first} to {last}"
    lines = [f"{_line(answer.document, LONGEST_ID)}: {span} of {answer.passages_in_document}"]
    title = None
    for one in answer.passages:
        heading = one.title if one.title != title else ""
        title = one.title
        where = _place("", one.line, one.page)
        lines += ["", f"[{one.place}] {heading}{where}".rstrip(), one.text]
    return "\n".join([*lines, "", answer.more] if answer.more else lines)


def list_text(answer: ListAnswer) -> str:
    """The same for reading."""
    lines = []
    for one in answer.collections:
        files = "" if one.documents is None else f"{one.documents} documents, "
        fields = ", ".join(f"{name} ({kind})" for name, kind in one.fields.items()) or "none"
        lines.append(
            f"{one.name}: {files}{one.passages} passages; modes {', '.join(one.modes)} "
            f"(default {one.default_mode}); fields for filter: {fields}"
        )
    return "\n".join(lines)


def document_text(page: Page, follows: str) -> str:
    """A page of a document as text alone; ``follows`` is the address of the next one."""
    texts = [printable(part.text) for part in page.parts]
    return "\n\n".join([*texts, f"[continues: {follows}]"] if page.more else texts)


def document_title(document: Document) -> str:
    """A document's name on one line."""
    return _line(document.name, LONGEST_TITLE)


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, str):
            found[_line(name, LONGEST_VALUE)] = _line(value, LONGEST_VALUE)
        elif isinstance(value, bool | int | float) and len(str(value)) <= LONGEST_VALUE:
            found[_line(name, LONGEST_VALUE)] = value
        if len(found) == MOST_FIELDS:
            break
    return found


def _line(text: str, longest: int) -> str:
    shown = printable(text[: longest + 1], one_line=True)
    return shown if len(shown) <= longest else f"{shown[:longest]}…"


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _place(document: str, line: int | None, page: int | None) -> str:
    parts = [f"in {_line(document, LONGEST_TITLE)}"] if document else []
    parts += [f"line {line}"] if line is not None else []
    parts += [f"page {page}"] if page is not None else []
    return f" ({', '.join(parts)})" if parts else ""
