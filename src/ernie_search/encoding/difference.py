"""What has to be done so that an index holds other passages: encode, move, remove; vectors are used again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from ernie_search._util.files import JSON, fingerprint
from ernie_search.index import Index
from ernie_search.shards import PIECE
from ernie_search.types import Passage

COLUMNS = ("id", "text", "title", "fields", *PIECE)
TOGETHER = 1000
"""Rows of one reading or writing, ids of one deletion: they stand in one condition."""


@dataclass(slots=True)
class Difference:
    """Ids of passages, by what becomes of them.

    Attributes:
        encode: those whose words are new.
        moved: those whose words another row has, or an earlier one of theirs: that row's id.
        gone: held, and not wanted any more.
        new: how many of the wanted ones are not held.
    """

    encode: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    new: int = 0

    @property
    def written(self) -> int:
        """Passages that are added or replaced."""
        return len(self.encode) + len(self.moved)


def difference(index: Index, wanted: Iterable[Passage], replaces: Sequence[str] | None = None) -> Difference:
    """Compare an index with what it is to hold; memory holds two digests for each passage compared.

    Args:
        index: as it is.
        wanted: passages, each id once.
        replaces: the ids that they take the place of; None for all.
    """
    held: dict[str, str] = {}
    by_words: dict[str, str] = {}
    for passage in _held(index, replaces):
        held[passage.id] = _digest(passage)
        by_words[fingerprint(passage.full_text)] = passage.id
    found = Difference(gone=set(held))
    for passage in wanted:
        found.gone.discard(passage.id)
        before = held.get(passage.id)
        if before == _digest(passage):
            continue
        found.new += before is None
        source = by_words.get(fingerprint(passage.full_text))
        if source is None:
            found.encode.add(passage.id)
        else:
            found.moved[passage.id] = source
    return found


def move(index: Index, before: Index, moved: Mapping[str, str], passages: Iterable[Passage]) -> None:
    """Write passages with the vectors of rows that have their words; not committed.

    Args:
        index: open for writing.
        before: the same, open for reading as it was before any change.
        moved: id -> id of the row with its words.
        passages: among them all of ``moved``.
    """
    some: list[Passage] = []
    for passage in passages:
        if passage.id in moved:
            some.append(passage)
        if len(some) == TOGETHER:
            _move_some(index, before, moved, some)
            some = []
    if some:
        _move_some(index, before, moved, some)


def _move_some(index: Index, before: Index, moved: Mapping[str, str], passages: list[Passage]) -> None:
    index.rewrite(before.fetch([moved[one.id] for one in passages]), passages)


def _held(index: Index, ids: Sequence[str] | None) -> Iterator[Passage]:
    if ids is None:
        for batch in index.scan(list(COLUMNS)):
            yield from _passages(batch.select(list(COLUMNS)))
        return
    for start in range(0, len(ids), TOGETHER):
        yield from _passages(index.fetch(ids[start : start + TOGETHER], list(COLUMNS)))


def _passages(rows: pa.Table | pa.RecordBatch) -> Iterator[Passage]:
    columns = (column.to_pylist() for column in rows.columns)
    for one, text, title, fields, parent, start in zip(*columns, strict=True):
        yield Passage(one, text, title, JSON.decode(fields), parent, start)


def _digest(passage: Passage) -> str:
    """Equal where passages are, but for their ids."""
    return fingerprint(passage.title, passage.text, dict(passage.fields), passage.parent, passage.start)
