"""What a collection is: passages, and per split the questions with their judged passages."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from ernie_search._util.files import did_you_mean, fingerprint
from ernie_search.errors import DataError
from ernie_search.types import Passage, Qrels, Query

Item = TypeVar("Item")
USUAL_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a collection holds. The mappings go from the split's name to a figure."""

    name: str
    source: str
    passages: int
    queries: Mapping[str, int]
    positives: Mapping[str, float]
    """Mean number of relevant passages a question."""
    grades: Mapping[str, tuple[int, ...]]
    """The relevance grades that occur."""


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

    def describe(self) -> CollectionInfo:
        """Counts, from one reading of everything."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """One line of a qrels file."""

    query: str
    passage: str
    grade: int


class BrokenOffError(DataError):
    """A fault after which nothing more of the file can be read: a cut .gz, broken JSON in the middle."""


class ConsequenceError(DataError):
    """A fault that follows from one that was reported before, or may: a judgement of an item left out."""


Report = Callable[[DataError], None]
"""Told of each item that cannot be read. One that returns makes the reader skip the item and go on."""


def stop(error: DataError) -> None:
    """The usual report: raise."""
    raise error


@runtime_checkable
class Located(Protocol):
    """A collection that knows where each item stands ("corpus.jsonl:12"). Validation asks for it."""

    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each passage with its place."""
        ...

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question, judged or not, with its place."""
        ...

    def located_judgements(self, split: str, report: Report = stop) -> Iterator[tuple[str, Judgement]]:
        """Each judgement of the split with its place."""
        ...


def order_splits(names: Iterable[str]) -> list[str]:
    """Train, dev and test first, then the others by name."""
    known = set(names)
    return [n for n in USUAL_SPLITS if n in known] + sorted(known.difference(USUAL_SPLITS))


def unknown_split(source: str, split: str, splits: Sequence[str]) -> DataError:
    """The error for a split that the collection does not have."""
    hint = did_you_mean(split, splits) if splits else "; it has no judged questions at all"
    return DataError(f"{source}: no split {split!r}{hint}")


def describe(collection: Collection) -> CollectionInfo:
    """Count what the collection holds, in one pass over the passages and each split's judgements."""
    judged = {split: collection.qrels(split) for split in collection.splits}
    relevant = {s: sum(g > 0 for row in qrels.values() for g in row.values()) for s, qrels in judged.items()}
    return CollectionInfo(
        name=collection.name,
        source=collection.source,
        passages=sum(1 for _ in collection.passages()),
        queries={split: len(qrels) for split, qrels in judged.items()},
        positives={split: relevant[split] / len(qrels) for split, qrels in judged.items()},
        grades={
            split: tuple(sorted({g for row in qrels.values() for g in row.values()}))
            for split, qrels in judged.items()
        },
    )


class MemoryCollection:
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
        self.name = name
        self.source = source
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

    def passages(self) -> Iterator[Passage]:
        """All passages."""
        return iter(self._passages)

    def queries(self, split: str) -> list[Query]:
        """The questions that the split judges; DataError for an unknown split."""
        judged = self.qrels(split)
        return [query for query in self._queries if query.id in judged]

    def qrels(self, split: str) -> Qrels:
        """A copy of the split's judgements; DataError for an unknown split, or one without questions."""
        if split not in self._qrels:
            raise unknown_split(self.source, split, self.splits)
        if not self._qrels[split]:
            raise DataError(
                f"{self.source}: split {split!r} has no questions; judge some or leave the split out"
            )
        return {query: dict(row) for query, row in self._qrels[split].items()}

    def describe(self) -> CollectionInfo:
        """Counts."""
        return describe(self)

    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each passage with its place in the list, from 1."""
        return self._located("passage", self._passages)

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question with its place in the list, from 1."""
        return self._located("query", self._queries)

    def located_judgements(self, split: str, report: Report = stop) -> Iterator[tuple[str, Judgement]]:
        """Each judgement of the split."""
        rows = [Judgement(q, p, grade) for q, row in self._qrels[split].items() for p, grade in row.items()]
        return self._located(f"qrels {split!r}, judgement", rows)

    def _located(self, what: str, items: Iterable[Item]) -> Iterator[tuple[str, Item]]:
        return ((f"{self.source}: {what} {number}", item) for number, item in enumerate(items, 1))
