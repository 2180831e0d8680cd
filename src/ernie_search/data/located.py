"""What all streamed formats share: three streams of located items make a collection."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from ernie_search.data.collection import (
    Collection,
    CollectionInfo,
    Judgement,
    Located,
    Report,
    describe,
    stop,
    unknown_split,
)
from ernie_search.data.qrels import gather
from ernie_search.types import Passage, Qrels, Query


class LocatedCollection(ABC):
    """A collection that is read as a stream, each item with its place; a format fills in what is abstract.

    Args:
        name: a short name for tables and folders.
        source: what ``open_collection`` was asked for.
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
    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each passage with its place."""

    @abstractmethod
    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question, judged or not, with its place."""

    @abstractmethod
    def read_split(self, split: str, report: Report) -> Iterator[tuple[str, Judgement]]:
        """Each judgement of a split that is known to exist, with its place."""

    def located_judgements(self, split: str, report: Report = stop) -> Iterator[tuple[str, Judgement]]:
        """Each judgement of the split with its place; DataError for an unknown split."""
        if split not in self.splits:
            raise unknown_split(self.source, split, self.splits)
        return self.read_split(split, report)

    def passages(self) -> Iterator[Passage]:
        """All passages, streamed."""
        return (passage for _, passage in self.located_passages())

    def queries(self, split: str) -> list[Query]:
        """The questions that the split judges, in the source's order."""
        judged = self.qrels(split)
        return [query for _, query in self.located_queries() if query.id in judged]

    def qrels(self, split: str) -> Qrels:
        """The split's judgements; DataError for an unknown split, or one without questions."""
        return gather(self.located_judgements(split), f"{self.source}: split {split!r}")

    def describe(self) -> CollectionInfo:
        """Counts, from one reading of everything."""
        return describe(self)


class Numbered:
    """Gives a collection that knows no places the numbers of its items."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each passage with its number."""
        for number, passage in enumerate(self.collection.passages(), 1):
            yield f"{self.collection.source}: passage {number}", passage

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question of each split with its number; one that is in two splits is shown once."""
        seen: set[str] = set()
        for split in self.collection.splits:
            own: set[str] = set()
            for number, query in enumerate(self.collection.queries(split), 1):
                if query.id not in seen:
                    own.add(query.id)
                    yield f"{self.collection.source}: split {split!r}, query {number}", query
            seen |= own

    def located_judgements(self, split: str, report: Report = stop) -> Iterator[tuple[str, Judgement]]:
        """Each judgement, with the split as its place."""
        for query, row in self.collection.qrels(split).items():
            for passage, grade in row.items():
                yield f"{self.collection.source}: qrels {split!r}", Judgement(query, passage, grade)


def with_places(collection: Collection) -> Located:
    """The collection itself where it knows its items' places, else with their numbers."""
    return collection if isinstance(collection, Located) else Numbered(collection)
