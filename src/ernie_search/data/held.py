"""A small collection's passages kept in memory, so that its corpus is read from disk once."""

import sys
from collections.abc import Iterator
from typing import Any

from ernie_search.data.collection import Collection, CollectionInfo, Judgement, Report, stop
from ernie_search.data.located import with_places
from ernie_search.errors import DataError
from ernie_search.types import Passage, Qrels, Query

MOST_BYTES = 128 << 20
"""Of passages kept; a corpus that takes more is read from disk each time."""


class HeldCollection:
    """A collection whose passages stay in memory from their first complete reading on, where they are few.

    The fingerprint is then computed once, too. Copies that are pickled read anew.

    Args:
        inner: the collection that is read.
    """

    def __init__(self, inner: Collection) -> None:
        self.inner = inner
        self._held: list[Passage] | None = None
        self._fingerprint: str | None = None
        self._too_large = False

    def __reduce__(self) -> tuple[Any, ...]:
        return HeldCollection, (self.inner,)

    @property
    def name(self) -> str:
        """The collection's own."""
        return self.inner.name

    @property
    def source(self) -> str:
        """The collection's own."""
        return self.inner.source

    @property
    def splits(self) -> list[str]:
        """The collection's own."""
        return self.inner.splits

    @property
    def fingerprint(self) -> str:
        """The collection's own; of passages that are held it is that of their reading."""
        if self._held is None:
            return self.inner.fingerprint
        if self._fingerprint is None:
            self._fingerprint = self.inner.fingerprint
        return self._fingerprint

    def passages(self) -> Iterator[Passage]:
        """All passages: from memory, or else read, and kept if they are few."""
        if self._held is not None:
            return iter(self._held)
        return (passage for _, passage in self._keeping((("", one) for one in self.inner.passages()), []))

    def queries(self, split: str) -> list[Query]:
        """The questions that the split judges."""
        return self.inner.queries(split)

    def qrels(self, split: str) -> Qrels:
        """The split's judgements."""
        return self.inner.qrels(split)

    def describe(self) -> CollectionInfo:
        """Counts."""
        return self.inner.describe()

    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each passage with its place, read from the source, and kept if they are few and none is faulty."""
        faults: list[DataError] = []

        def note(error: DataError) -> None:
            faults.append(error)
            report(error)

        return self._keeping(with_places(self.inner).located_passages(note), faults)

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question, judged or not, with its place."""
        return with_places(self.inner).located_queries(report)

    def located_judgements(self, split: str, report: Report = stop) -> Iterator[tuple[str, Judgement]]:
        """Each judgement of the split with its place."""
        return with_places(self.inner).located_judgements(split, report)

    def _keeping(
        self, passages: Iterator[tuple[str, Passage]], faults: list[DataError]
    ) -> Iterator[tuple[str, Passage]]:
        kept: list[Passage] = []
        size = 0
        for where, passage in passages:
            if not self._too_large:
                kept.append(passage)
                size += _bytes(passage)
                if size > MOST_BYTES:
                    self._too_large = True
                    kept.clear()
            yield where, passage
        if not (faults or self._too_large) and self._held is None:
            self._held = kept


def hold(collection: Collection) -> HeldCollection:
    """The collection with its passages kept in memory where they are few; one that keeps them, as it is."""
    return collection if isinstance(collection, HeldCollection) else HeldCollection(collection)


def _bytes(passage: Passage) -> int:
    """About what a passage takes in memory, its fields one level deep."""
    parts = (passage, passage.id, passage.title, passage.text, passage.fields, *passage.fields.values())
    return sum(map(sys.getsizeof, parts))
