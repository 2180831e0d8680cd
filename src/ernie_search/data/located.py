"""What all streamed formats share: three streams of located items make a collection."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from ernie_search._util.files import did_you_mean, fingerprint, remembered_sha256
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
from ernie_search.errors import DataError
from ernie_search.types import Passage, Qrels, Query

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""Words of file and split names -> what the split is called here."""


def parse_locator(source: str, rest: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The place and its options.

    Args:
        source: the whole source, for messages.
        rest: what stands after the format's colon.
        known: the format's options.

    Raises:
        DataError: no place, an option that the format does not have, one that is given twice.
    """
    place, mark, query = rest.rpartition("?")
    if not mark or Path(rest).exists():
        place, query = rest, ""
    if not place.strip():
        raise DataError(f"{source}: nothing named after the colon; say what to read")
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise DataError(f"{source}: no option {name!r}{did_you_mean(name, known)}")
        if name in options:
            raise DataError(f"{source}: option {name!r} twice; give it once")
        options[name] = value
    if query and not options:
        raise DataError(f"{source}: {query!r} is no option; write ?NAME=VALUE&NAME=VALUE")
    return place, options


def parse_paths(source: str, place: str) -> list[Path]:
    """The files that a place names, separated by commas; DataError for one that is not there."""
    names = [place] if Path(place).expanduser().exists() else place.split(",")
    paths = [Path(name.strip()).expanduser() for name in names if name.strip()]
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file; {source} names it")
    return paths


def stem_of(path: Path) -> str:
    """The file's name without its endings (``nq-train.json.gz`` -> ``nq-train``)."""
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def split_of(name: str) -> str:
    """The split that a file's or a data set's own split's name speaks of; ``train`` if it speaks of none."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "train")


def files_fingerprint(paths: Sequence[Path], *more: object) -> str:
    """16 hex digits of the files' names and contents, and of what else decides the reading."""
    return fingerprint([[path.name, path.stat().st_size, remembered_sha256(path)] for path in paths], *more)


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
