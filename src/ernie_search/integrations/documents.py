"""Documents as a reader sees them: the passages of one in their order, a passage's neighbours, pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from ernie_search._util.files import JSON
from ernie_search.data.files import State, read_state
from ernie_search.data.files.reading import id_path, readable_path
from ernie_search.errors import DataError
from ernie_search.index import Index
from ernie_search.index.filters import Eq, Filter, In
from ernie_search.types import Passage

TOGETHER = 64
"""Pieces that are asked for at once."""

COLUMNS = ("id", "text", "title", "fields", "parent", "start")


@dataclass(frozen=True, slots=True)
class Document:
    """A document's passages by id, in its order.

    Attributes:
        name: a file's path, the id of a document that was cut, or that of a passage that stands alone.
        ids: of its passages.
    """

    name: str
    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Part:
    """A passage of a document, or the rest of one that a page cut.

    Attributes:
        passage: the whole passage.
        text: what is shown of it.
        place: in the document, from 1.
    """

    passage: Passage
    text: str
    place: int


@dataclass(slots=True)
class Page:
    """Some of a document; ``more`` is whether anything follows."""

    document: Document
    parts: list[Part] = field(default_factory=list)
    more: bool = False


class Documents:
    """The documents of an index as it is now.

    A folder's index notes the order of each file's passages. A document that was cut into pieces has them
    under its id and their numbers. Every other passage is a document of its own.
    """

    def __init__(self, index: Index) -> None:
        """Look at an index; its list of files is read when it is first needed."""
        self._index = index
        self._state: State | None = None
        self._paths: dict[str, str] | None = None

    @property
    def names(self) -> Sequence[str]:
        """The paths of all files, in order; nothing where passages come from elsewhere."""
        return list(self._files())

    def of(self, name: str) -> tuple[Document, Passage | None]:
        """The document of an id, and the passage of that id; None for a document's own name.

        Args:
            name: a passage's id, a file's path, or the id of a document that was cut.

        Raises:
            DataError: there is neither.
        """
        passage = self._passage(name)
        if passage is not None:
            return self._around(passage), passage
        for document in (self._file(name), self._cut(name)):
            if document is not None:
                return document, None
        raise DataError(f"no passage or document {name!r:.120} here; take an id from a search")

    def neighbours(self, document: Document, passage: Passage, around: int, most: int) -> Page:
        """A passage with up to ``around`` on either side; the farthest are left out if they are too long.

        Args:
            document: of the passage.
            passage: in the middle.
            around: passages on either side.
            most: characters of all together; of the passage itself, what fits.
        """
        place = list(document.ids).index(passage.id)
        first, last = max(0, place - around), min(len(document.ids), place + around + 1)
        found = self._index.get(document.ids[first:last])
        left = most - len(passage.text)
        low = high = place
        for distance in range(1, around + 1):
            for other in (place + distance, place - distance):
                grows = other in (low - 1, high + 1) and first <= other < last
                if grows and len(found[other - first].text) <= left:
                    left -= len(found[other - first].text)
                    low, high = min(low, other), max(high, other)
        parts = [
            Part(found[one - first], found[one - first].text[:most], one + 1) for one in range(low, high + 1)
        ]
        return Page(document, parts, more=len(passage.text) > most)

    def page(self, document: Document, number: int, most: int) -> Page:
        """A document's page: whole passages up to ``most`` characters, or a slice of a longer one.

        Where pieces overlap, what two have in common is given once.

        Raises:
            DataError: it has fewer pages.
        """
        at, size = 1, 0
        page = Page(document)
        for part in self._slices(document, most):
            if size and size + len(part.text) > most:
                if at == number:
                    page.more = True
                    return page
                at, size = at + 1, 0
            size += len(part.text)
            if at == number:
                page.parts.append(part)
        if not page.parts:
            raise DataError(f"page={number}: {document.name!r:.120} has {at}")
        return page

    def _slices(self, document: Document, most: int) -> Iterator[Part]:
        end = 0
        for first in range(0, len(document.ids), TOGETHER):
            for place, passage in enumerate(
                self._index.get(document.ids[first : first + TOGETHER]), first + 1
            ):
                text = passage.text
                if passage.parent is not None and passage.start is not None:
                    text = text[max(0, end - passage.start) :] if place > 1 else text
                    end = passage.start + len(passage.text)
                for start in range(0, max(1, len(text)), most):
                    yield Part(passage, text[start : start + most], place)

    def _around(self, passage: Passage) -> Document:
        if passage.parent is not None:
            found = self._cut(passage.parent)
            return (
                found if found is not None and passage.id in found.ids else Document(passage.id, [passage.id])
            )
        path = passage.fields.get("path")
        if isinstance(path, str) and passage.id.startswith(f"{id_path(path)}#"):
            found = self._file(path)
            if found is not None and passage.id in found.ids:
                return found
        return Document(passage.id, [passage.id])

    def _passage(self, name: str) -> Passage | None:
        return next(iter(self._found(Eq("id", name))), None)

    def _cut(self, parent: str) -> Document | None:
        """A document that was cut into pieces: ``ID#0``, ``ID#1``, ...; a short one is its own only piece."""
        ids: list[str] = []
        while True:
            wanted = [f"{parent}#{number}" for number in range(len(ids), len(ids) + TOGETHER)]
            held = {one.id for one in self._found(In("id", tuple(wanted))) if one.parent == parent}
            for one in wanted:
                if one not in held:
                    break
                ids.append(one)
            if len(held) < TOGETHER:
                break
        if not ids and any(one.parent == parent for one in self._found(Eq("id", parent))):
            ids = [parent]
        return Document(parent, ids) if ids else None

    def _file(self, path: str) -> Document | None:
        known = self._files()
        if path in known and self._state is not None:
            return Document(path, self._state.files[known[path]].ids(known[path]))
        if known or "path" not in self._index.spec.fields:
            return None
        found = [one for one in self._found(Eq("path", path)) if one.id.startswith(f"{id_path(path)}#")]
        found.sort(key=lambda one: (_number(one.fields.get("page")), _number(one.fields.get("line"))))
        return Document(path, [one.id for one in found]) if found else None

    def _files(self) -> dict[str, str]:
        """Each file's path as shown, and as it is; of those that gave passages."""
        if self._paths is None:
            index, origin = self._index, self._index.origin
            if index.folder is not None and origin is not None and origin.state == "complete":
                self._state = read_state(index.folder, origin.data)
            files = {} if self._state is None else self._state.files
            self._paths = {readable_path(path): path for path, one in sorted(files.items()) if one.passages}
        return self._paths

    def _found(self, where: Filter) -> list[Passage]:
        found = []
        for batch in self._index.scan(COLUMNS, where):
            columns = [column.to_pylist() for column in batch.select(list(COLUMNS)).columns]
            for one, text, title, fields, parent, start in zip(*columns, strict=True):
                found.append(Passage(one, text, title, JSON.decode(fields), parent, start))
        return found


def document_of(passage: str, fields: object, parent: str | None) -> str:
    """The name of a hit's document, without a look at the index."""
    path = fields.get("path") if isinstance(fields, dict) else None
    if parent is not None:
        return parent
    return path if isinstance(path, str) and passage.startswith(f"{id_path(path)}#") else passage


def uri_of(collection: str, document: str) -> str:
    """The address of a document: ``ernie://COLLECTION/DOCUMENT``."""
    return f"ernie://{collection}/{quote(document, safe='/', errors='replace')}"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
