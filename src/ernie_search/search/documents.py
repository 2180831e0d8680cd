"""A document out of an index: its passages in order, or those around one of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from ernie_search._util.files import JSON
from ernie_search._util.words import brief
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index import Eq, In, Index
from ernie_search.index.filters import is_unicode
from ernie_search.types import Passage

TOGETHER = 64
"""Pieces that are asked for at once."""
GAP = 1000
"""Numbers in a row that may be missing among a document's pieces, where single ones could be deleted."""
AROUND = 2
"""Passages before and after one that are read with it, if nothing else is asked for."""


class UnknownPassageError(DataError):
    """The index has neither a passage nor a document of that id."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A document's passages by id.

    Attributes:
        id: of the document: the ``parent`` of its passages, or the path of its file; of a passage that stands
            alone its own.
        path: of its file, as the passages' field ``path`` has it; None where it comes from no file.
        ids: of its passages, in the document's order.
        place: of the passage that was asked for, in ``ids``; None where the document was asked for.
    """

    id: str
    path: str | None
    ids: tuple[str, ...]
    place: int | None


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """Consecutive passages of a document.

    Attributes:
        id, path: see ``Outline``.
        first: place of the first of these passages in the document, counted from 0.
        total: passages of the whole document.
        place: of the passage that was asked for, in the document; None where the document was asked for.
        passages: in the document's order; pieces of a text that was cut with an overlap share words.
    """

    id: str
    path: str | None
    first: int
    total: int
    place: int | None
    passages: tuple[Passage, ...]


def outline(index: Index, wanted: str) -> Outline:
    """The document of a passage, or the document of that id.

    Pieces of one text (``Passage.parent``) are in the order of their ``start``; passages of a file by page
    and line, those of one page as they are stored. One column of the whole index is read for that, unless the
    passage stands alone, or is a piece as indexing numbers them.

    Args:
        index: any.
        wanted: a passage's id, a document's id (``Hit.id``, ``Passage.parent``), or the path of a file.

    Raises:
        UnknownPassageError: there is neither.
    """
    if not is_unicode(wanted):
        raise UnknownPassageError("no passage or document has half a surrogate pair in its id")
    passage = _passage(index, wanted)
    if passage is None:
        ids = _pieces(index, wanted)
        found = Outline(wanted, None, ids, None) if ids else _file(index, wanted)
        if not found.ids:
            raise UnknownPassageError(f"no passage or document {brief(wanted)!r} in this index")
        return found
    if passage.parent is not None:
        ids = _pieces(index, passage.parent, wanted)
        return Outline(passage.parent, None, ids, ids.index(wanted))
    path = path_of(passage)
    if path is None:
        return Outline(wanted, None, (wanted,), 0)
    whole = _file(index, path, wanted.rpartition("#")[0])
    return Outline(path, path, whole.ids, whole.ids.index(wanted))


def path_of(passage: Passage) -> str | None:
    """The path of the file that a passage was cut from, relative to the folder; None where there is none.

    A field named ``path`` may be anything; that of a passage from a file is also the beginning of its id,
    there with ``%20`` for a space.
    """
    path, (start, mark, _) = passage.fields.get("path"), passage.id.rpartition("#")
    return path if isinstance(path, str) and path and mark and path in (start, unquote(start)) else None


def read_document(index: Index, wanted: str, first: int = 0, count: int = 20) -> DocumentPart:
    """Passages of a document from its place ``first`` on.

    Args:
        index, wanted: see ``outline``.
        first: place in the document, counted from 0; beyond its end there are no passages.
        count: passages at most.

    Raises:
        UnknownPassageError: see ``outline``.
        SettingsError: ``first`` below 0, or ``count`` below 1.
    """
    if first < 0 or count < 1:
        raise SettingsError(f"first={first}, count={count}: give at least 0 and 1")
    return _part(index, outline(index, wanted), first, first + count)


def read_around(index: Index, wanted: str, before: int = AROUND, after: int = AROUND) -> DocumentPart:
    """A passage with its neighbours in the document; of a document its beginning.

    Args:
        index, wanted: see ``outline``.
        before, after: passages before and after it, at most.

    Raises:
        UnknownPassageError: see ``outline``.
        SettingsError: ``before`` or ``after`` below 0.
    """
    if before < 0 or after < 0:
        raise SettingsError(f"before={before}, after={after}: give at least 0")
    whole = outline(index, wanted)
    place = whole.place or 0
    return _part(index, whole, max(0, place - before), place + after + 1)


def _part(index: Index, whole: Outline, first: int, stop: int) -> DocumentPart:
    passages = tuple(index.get(whole.ids[first:stop]))
    return DocumentPart(whole.id, whole.path, first, len(whole.ids), whole.place, passages)


def _passage(index: Index, wanted: str) -> Passage | None:
    """The passage; None where the index has none of that id."""
    try:
        return index.get([wanted])[0]
    except IndexStateError:
        if index.count(Eq("id", wanted)):
            raise  # it is there, and cannot be read
        return None


def _pieces(index: Index, document: str, one_of_them: str | None = None) -> tuple[str, ...]:
    """The ids of the passages with this ``parent``, in order."""
    if not index.has_parents:
        return ()
    numbered = _numbered(index, document)
    if numbered and one_of_them in (None, *numbered):
        return numbered
    found: list[tuple[int, str]] = []
    for batch in index.scan(["id", "parent", "start"]):
        met = batch.filter(pc.equal(batch.column("parent"), document))
        starts = met.column("start").to_pylist()
        found += zip((start or 0 for start in starts), met.column("id").to_pylist(), strict=True)
    return tuple(one for _, one in sorted(found, key=lambda pair: pair[0]))


def _numbered(index: Index, document: str) -> tuple[str, ...]:
    """The ids of a document's pieces as indexing numbers them, ``ID#0``, ``ID#1``, ..., found by these ids.

    None where its pieces have other ids: a column of the whole index then has to be read. An index that holds
    just what its source does has all of a document's; in others pieces may have been deleted one by one.
    """
    if "filters" not in index.capabilities:
        return ()
    whole = index.origin is not None and index.origin.state == "complete"
    ids: list[str] = []
    first, step = 0, TOGETHER if whole else GAP
    while True:
        wanted = [f"{document}#{number}" for number in range(first, first + step)]
        batches = index.scan(["id", "parent"], In("id", tuple(wanted)))
        columns = [(batch.column("id").to_pylist(), batch.column("parent").to_pylist()) for batch in batches]
        held = {
            one for found, of in columns for one, parent in zip(found, of, strict=True) if parent == document
        }
        ids += filter(held.__contains__, wanted)
        if len(held) < (step if whole else 1):
            return tuple(ids)
        first += step


def _file(index: Index, path: str, start: str = "") -> Outline:
    """The passages of a file; none where there is no such file.

    Args:
        path: as the field ``path`` has it.
        start: what stands before the ``#`` of their ids, if known: two files whose names are no UTF-8 may
            have one path.
    """
    ids = [one for batch in _of_path(index, path) for one in batch.column("id").to_pylist()]
    rows = index.fetch(ids, ["fields"])["fields"].to_pylist() if ids else []
    found: list[tuple[int, int, str]] = []
    for one, text in zip(ids, rows, strict=True):
        fields = JSON.decode(text)
        if path_of(Passage(one, "", fields=fields)) == path and start in ("", one.rpartition("#")[0]):
            found.append((_number(fields.get("page")), _number(fields.get("line")), one))
    return Outline(path, path, tuple(one for _, _, one in sorted(found, key=lambda row: row[:2])), None)


def _of_path(index: Index, path: str) -> Iterator[pa.RecordBatch]:
    """Ids of the passages whose field ``path`` is this one, or may be."""
    if index.spec.fields.get("path") == "str" and "filters" in index.capabilities:
        yield from index.scan(["id"], Eq("path", path))
        return
    for batch in index.scan(["id"]):
        starts = [one.rpartition("#")[0] for one in batch.column("id").to_pylist()]
        yield batch.filter(pa.array([path in (one, unquote(one)) for one in starts], pa.bool_()))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
