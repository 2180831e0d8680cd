"""Documents as a reader sees them: the passages of one in their order, a passage's neighbours, pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from ernie_search.data.files import State, read_state
from ernie_search.data.files.reading import id_path, readable_path
from ernie_search.errors import DataError
from ernie_search.index import Index
from ernie_search.search.documents import outline
from ernie_search.types import Passage

TOGETHER = 64
"""Pieces that are asked for at once."""


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

    What belongs to a document is found as elsewhere; a folder's index also notes the order of each file's
    passages, which page and line tell only roughly.
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
            UnknownPassageError: there is neither.
        """
        whole = outline(self._index, name)
        passage = None if whole.place is None else self._index.get([name])[0]
        ids = self._in_order(whole.path) if whole.path is not None else []
        return Document(whole.id, ids if set(ids) == set(whole.ids) else list(whole.ids)), passage

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

    def _in_order(self, path: str) -> Sequence[str]:
        """Ids of a file's passages as the list of files has them; none where there is no such list."""
        known = self._files()
        if path not in known or self._state is None:
            return []
        return self._state.files[known[path]].ids(known[path])

    def _files(self) -> dict[str, str]:
        """Each file's path as shown, and as it is; of those that gave passages."""
        if self._paths is None:
            index, origin = self._index, self._index.origin
            if index.folder is not None and origin is not None and origin.state == "complete":
                self._state = read_state(index.folder, origin.data)
            files = {} if self._state is None else self._state.files
            self._paths = {readable_path(path): path for path, one in sorted(files.items()) if one.passages}
        return self._paths


def document_of(passage: str, fields: object, parent: str | None) -> str:
    """The name of a hit's document, without a look at the index."""
    path = fields.get("path") if isinstance(fields, dict) else None
    if parent is not None:
        return parent
    return path if isinstance(path, str) and passage.startswith(f"{id_path(path)}#") else passage


def uri_of(collection: str, document: str) -> str:
    """The address of a document: ``ernie://COLLECTION/DOCUMENT``."""
    return f"ernie://{collection}/{quote(document, safe='/', errors='replace')}"
