"""What a collection is: passages, and per split the questions with their judged passages.

``Collection`` is what the rest of the package asks of one; formats fill in ``LocatedCollection``.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from ernie_search._util.files import did_you_mean, fingerprint
from ernie_search._util.lines import Placed, Report, stop
from ernie_search._util.trec import gather_qrels, no_judgements
from ernie_search.data.id_set import IdSet
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Passage, Qrels, Query

Item = TypeVar("Item")
USUAL_SPLITS = ("train", "dev", "test")


class Collection(Protocol):
    """Passages and judged questions, whatever they are read from.

    Reading raises DataError, with the place, for what cannot be read; ``validate`` finds everything.
    """

    @property
    def name(self) -> str:
        """A short name for tables and folders."""
        ...

    @property
    def source(self) -> str:
        """What ``open_collection`` was asked for."""
        ...

    @property
    def splits(self) -> list[str]:
        """The splits' names: train, dev and test first, then the others by name."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the content."""
        ...

    def passages(self) -> Iterator[Passage]:
        """All passages, one after the other, in the source's order."""
        ...

    def queries(self, split: str) -> list[Query]:
        """The questions that the split judges, in the source's order."""
        ...

    def qrels(self, split: str) -> Qrels:
        """The split's judgements: query id -> passage id -> grade (above 0 is relevant)."""
        ...


class ConsequenceError(DataError):
    """A fault that follows from one that was reported before, or may: a judgement of an item left out."""


@runtime_checkable
class Located(Protocol):
    """A collection that knows where each item stands ("corpus.jsonl:12"). Validation asks for it."""

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with its place."""
        ...

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question, judged or not, with its place."""
        ...

    def located_judgements(self, split: str, report: Report = stop) -> Placed[Judgement]:
        """Each judgement of the split with its place."""
        ...


def order_splits(names: Iterable[str]) -> list[str]:
    """Train, dev and test first, then the others by name."""
    known = set(names)
    return [n for n in USUAL_SPLITS if n in known] + sorted(known.difference(USUAL_SPLITS))


class LocatedCollection(ABC):
    """A collection read as three streams, each item with its place; a format fills in what is abstract.

    Args:
        name: a short name for tables and folders.
        source: what ``open_collection`` was asked for; messages call it that.
    """

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source

    @property
    @abstractmethod
    def splits(self) -> list[str]:
        """The splits' names: train, dev and test first."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hex digits that change with the content."""

    @abstractmethod
    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with its place."""

    @abstractmethod
    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question, judged or not, with its place."""

    @abstractmethod
    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """Each judgement of a split that is known to exist, with its place."""

    def located_judgements(self, split: str, report: Report = stop) -> Placed[Judgement]:
        """Each judgement of the split with its place; DataError for an unknown split."""
        self.check_split(split)
        return self.read_split(split, report)

    def check_split(self, split: str) -> None:
        """Raise DataError if the collection has no such split."""
        if split not in self.splits:
            hint = did_you_mean(split, self.splits) if self.splits else "; it has no judged questions at all"
            raise DataError(f"{self.source}: no split {split!r}{hint}")

    def passages(self) -> Iterator[Passage]:
        """All passages, streamed."""
        return (passage for _, passage in self.located_passages())

    def queries(self, split: str) -> list[Query]:
        """The questions that the split judges, in the source's order."""
        judged = self.qrels(split)
        return [query for _, query in self.located_queries() if query.id in judged]

    def qrels(self, split: str) -> Qrels:
        """The split's judgements; DataError for an unknown split, or one without questions."""
        return gather_qrels(self.located_judgements(split), f"{self.source}: split {split!r}")


def each_once(streams: Iterable[Placed[Query]]) -> Placed[Query]:
    """The questions of several files or splits; one that an earlier of them has, too, comes once.

    Two questions with one id and different texts both come, and so does a repetition inside one stream:
    validation reports them.
    """
    earlier: list[IdSet] = []
    for stream in streams:
        own = IdSet()
        for where, query in stream:
            key = f"{query.id}\t{query.text}"
            if not any(key in one for one in earlier):
                own.add(key)
                yield where, query
        earlier.append(own)


class Numbered:
    """Gives a collection that knows no places the numbers of its items."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with its number."""
        return _numbered(f"{self.collection.source}: passage", self.collection.passages())

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question of each split with its number; one that is in two splits comes once."""
        return each_once(
            _numbered(f"{self.collection.source}: split {split!r}, query", self.collection.queries(split))
            for split in self.collection.splits
        )

    def located_judgements(self, split: str, report: Report = stop) -> Placed[Judgement]:
        """Each judgement, with the split as its place."""
        for query, row in self.collection.qrels(split).items():
            for passage, grade in row.items():
                yield f"{self.collection.source}: qrels {split!r}", Judgement(query, passage, grade)


def with_places(collection: Collection) -> Located:
    """The collection itself where it knows its items' places, else with their numbers."""
    return collection if isinstance(collection, Located) else Numbered(collection)


def all_questions(collection: Collection) -> list[Query]:
    """Every question of a collection, judged or not."""
    return [query for _, query in with_places(collection).located_queries()]


class MemoryCollection(LocatedCollection):
    """A collection made of Python objects.

    Args:
        name: a short name for tables.
        source: where it came from, for messages.
        passages: all passages.
        queries: all questions, of whatever split.
        qrels: split -> query id -> passage id -> grade.

    Example:
        >>> passages, queries = [Passage("p", "Tea is grown in Assam.")], [Query("q", "Where does tea grow?")]
        >>> MemoryCollection("tea", "memory", passages, queries, {"dev": {"q": {"p": 1}}})
    """

    def __init__(
        self,
        name: str,
        source: str,
        passages: Iterable[Passage],
        queries: Iterable[Query],
        qrels: Mapping[str, Qrels],
    ) -> None:
        super().__init__(name, source)
        self._passages = list(passages)
        self._queries = list(queries)
        self._qrels = {split: {q: dict(row) for q, row in rows.items()} for split, rows in qrels.items()}

    @property
    def splits(self) -> list[str]:
        """The splits' names."""
        return order_splits(self._qrels)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of everything that it holds."""
        return fingerprint(
            [[p.id, p.title, p.text, dict(p.fields)] for p in self._passages],
            [[q.id, q.text, dict(q.fields)] for q in self._queries],
            self._qrels,
        )

    def qrels(self, split: str) -> Qrels:
        """A copy of the split's judgements, empty rows included; DataError for an unknown or empty split."""
        self.check_split(split)
        if not self._qrels[split]:
            raise no_judgements(f"{self.source}: split {split!r}")
        return {query: dict(row) for query, row in self._qrels[split].items()}

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with its place in the list, from 1."""
        return _numbered(f"{self.source}: passage", self._passages)

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question with its place in the list, from 1."""
        return _numbered(f"{self.source}: query", self._queries)

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """Each judgement of the split."""
        rows = (Judgement(q, p, grade) for q, row in self._qrels[split].items() for p, grade in row.items())
        return _numbered(f"{self.source}: qrels {split!r}, judgement", rows)


def _numbered(what: str, items: Iterable[Item]) -> Placed[Item]:
    return ((f"{what} {number}", item) for number, item in enumerate(items, 1))


class WrappedCollection(LocatedCollection):
    """Another collection, of which a subclass changes something.

    Args:
        inner: the other collection.
        source: what ``open_collection`` was asked for; the other collection's if not given.
    """

    def __init__(self, inner: Collection, source: str = "") -> None:
        super().__init__(inner.name, source or inner.source)
        self.inner = inner

    @property
    def splits(self) -> list[str]:
        """The other collection's splits."""
        return self.inner.splits

    @property
    def fingerprint(self) -> str:
        """The other collection's fingerprint."""
        return self.inner.fingerprint

    def queries(self, split: str) -> list[Query]:
        """The questions that the split judges."""
        return self.inner.queries(split)

    def qrels(self, split: str) -> Qrels:
        """The split's judgements."""
        return self.inner.qrels(split)

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with its place."""
        return with_places(self.inner).located_passages(report)

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question, judged or not, with its place."""
        return with_places(self.inner).located_queries(report)

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """Each judgement of the split with its place."""
        return with_places(self.inner).located_judgements(split, report)


MOST_BYTES = 128 << 20
"""Of passages kept in memory; a corpus that takes more is read from disk each time."""


class HeldCollection(WrappedCollection):
    """A collection whose passages stay in memory from their first complete reading on, where they are few.

    The fingerprint is then computed once, too. Pickled copies read the corpus again.

    Args:
        inner: the collection that is read.
    """

    def __init__(self, inner: Collection) -> None:
        super().__init__(inner)
        self._held: list[Passage] | None = None
        self._fingerprint: str | None = None
        self._too_large = False

    def __reduce__(self) -> tuple[Any, ...]:
        return HeldCollection, (self.inner,)

    @property
    def fingerprint(self) -> str:
        """The collection's own; once passages are held, that of their reading."""
        if self._held is None:
            return self.inner.fingerprint
        if self._fingerprint is None:
            self._fingerprint = self.inner.fingerprint
        return self._fingerprint

    def passages(self) -> Iterator[Passage]:
        """All passages: from memory, or else read, and kept if they are few."""
        return iter(self._held) if self._held is not None else super().passages()

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with its place, read from the source, and kept if they are few and none is faulty."""
        faults: list[DataError] = []

        def note(error: DataError) -> None:
            faults.append(error)
            report(error)

        kept: list[Passage] = []
        size = 0
        for where, passage in super().located_passages(note):
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
