"""Writes any collection as a BEIR folder, checked in the same reading; the folder is whole or absent."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ernie_search._util.files import atomic_directory
from ernie_search._util.lines import BrokenOffError
from ernie_search.data.beir import BeirCollection, find_jsonl
from ernie_search.data.collection import Collection
from ernie_search.data.validation import CheckedReading, CollectionInfo, Findings, TooMany, first_of
from ernie_search.errors import DataError

Item = TypeVar("Item")
STEP = 1000
"""Passages between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What ``convert`` wrote.

    Attributes:
        collection: the folder, opened.
        info: its counts.
        skipped: items that were left out because something is wrong with them.
        first: what is wrong with the first of them.
        lost: splits that were left out, as nothing of their judgements was left.
    """

    collection: BeirCollection
    info: CollectionInfo
    skipped: int = 0
    first: str = ""
    lost: tuple[str, ...] = ()


class Skipping:
    """A report that counts the faults and lets reading continue, unless the file breaks off."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def __call__(self, error: DataError) -> None:
        if isinstance(error, BrokenOffError):
            raise error
        self.first = self.first or str(error)
        self.count += 1


def json_line(identifier: str, text: str, fields: Mapping[str, Any], **more: str) -> str:
    """One line of a BEIR file."""
    row = {"_id": identifier, **more, "text": text, **({"metadata": dict(fields)} if fields else {})}
    return json.dumps(row, ensure_ascii=False) + "\n"


def counted(items: Iterable[Item], progress: Callable[[int], None] | None) -> Iterator[Item]:
    """The items, with a report of progress every ``STEP``."""
    number = 0
    for number, item in enumerate(items, 1):
        yield item
        if progress and number % STEP == 0:
            progress(STEP)
    if progress:
        progress(number % STEP)


def write_files(
    reading: CheckedReading, splits: list[str], folder: Path, progress: Callable[[int], None] | None
) -> None:
    """Write corpus, queries and qrels below an empty folder; a split without judgements gets no file."""
    (folder / "qrels").mkdir()
    with open(folder / "corpus.jsonl", "w", encoding="utf-8", newline="\n") as handle:
        for passage in counted(reading.passages(), progress):
            handle.write(json_line(passage.id, passage.text, passage.fields, title=passage.title))
    with open(folder / "queries.jsonl", "w", encoding="utf-8", newline="\n") as handle:
        for query in reading.queries():
            handle.write(json_line(query.id, query.text, query.fields))
    for split in splits:
        path = folder / "qrels" / f"{split}.tsv"
        with open(path, "w", encoding="utf-8", newline="\n") as handle:
            handle.write("query-id\tcorpus-id\tscore\n")
            for row in reading.judgements(split):
                handle.write(f"{row.query}\t{row.passage}\t{row.grade}\n")
        if not reading.splits[split].judged:
            path.unlink()
            del reading.splits[split]


def convert(
    collection: Collection,
    path: Path,
    *,
    skip_faulty: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Conversion:
    """Write a collection as a BEIR folder that is whole or absent; what an earlier call left is cleared.

    Memory: 12 to 24 bytes per id and judgement; texts are not kept.

    Args:
        path: the folder; a BEIR folder that stands there is replaced when the new one is whole.
        skip_faulty: leave out what is wrong (and judgements of it), and say how much, instead of refusing.
        progress: called with the number of passages done since its last call.

    Raises:
        DataError: something is wrong with the collection (one line, with the place of the first fault), or
            ``path`` holds something that is not a BEIR folder, which is left alone.
        StorageError: the disk is full or not writable.
    """
    if path.exists() and not (path.is_dir() and (find_jsonl(path, "corpus") or not any(path.iterdir()))):
        raise DataError(f"{path}: is there and is no BEIR folder; choose another place")
    skipping, found = Skipping(), Findings()
    reading = CheckedReading(collection, skipping if skip_faulty else found)
    with atomic_directory(path) as folder:
        try:
            write_files(reading, collection.splits, folder, progress)
        except TooMany:
            pass  # enough were found; they are raised below
        except DataError as error:
            if not found.errors:
                raise
            found.errors.append(error)
        if found.errors:
            raise first_of(found.errors)
        if not len(reading.passage_ids):
            raise DataError(skipping.first)
    lost = tuple(split for split in collection.splits if split not in reading.splits)
    return Conversion(BeirCollection(path), reading.info(), skipping.count, skipping.first, lost)


def write_beir(collection: Collection, path: Path) -> BeirCollection:
    """Write a collection as a BEIR folder and open it; see ``convert``, whose errors it raises."""
    return convert(collection, path).collection
