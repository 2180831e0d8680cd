"""Writes any collection as a BEIR folder, checked in the same reading; the folder is whole or absent.

What people wrote into a folder outlasts a second conversion: questions, judgements and other files that the
new folder would lack are kept, or named in a refusal.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from ernie_search._util.files import (
    atomic_directory,
    atomic_write,
    is_unfinished,
    recover_directory,
    remove_unfinished,
)
from ernie_search._util.lines import BrokenOffError, stop
from ernie_search.data.beir import BeirCollection, find_jsonl
from ernie_search.data.collection import Collection, with_places
from ernie_search.data.id_set import IdSet
from ernie_search.data.validation import CheckedReading, CollectionInfo, Findings, TooMany, first_of
from ernie_search.errors import DataError

Item = TypeVar("Item")
STEP = 1000
"""Passages between two reports of progress."""
CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
OWN_FILES = frozenset({CORPUS, f"{CORPUS}.gz", QUERIES, f"{QUERIES}.gz", QRELS})
"""What a BEIR folder consists of."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What ``convert`` wrote.

    Attributes:
        collection: the folder, opened.
        info: its counts.
        skipped: items that were left out because something is wrong with them.
        first: what is wrong with the first of them.
        lost: splits that were left out, as nothing of their judgements was left.
        kept: files of questions and judgements that the folder had and the source has not; they stayed.
        dangling: judgements in them of passages that the source has no longer.
    """

    collection: BeirCollection
    info: CollectionInfo
    skipped: int = 0
    first: str = ""
    lost: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    dangling: int = 0


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


def write_corpus(handle: IO[str], reading: CheckedReading, progress: Callable[[int], None] | None) -> None:
    """Write the passages."""
    for passage in counted(reading.passages(), progress):
        handle.write(json_line(passage.id, passage.text, passage.fields, title=passage.title))


def write_files(
    reading: CheckedReading, splits: list[str], folder: Path, progress: Callable[[int], None] | None
) -> None:
    """Write corpus, queries and qrels below an empty folder; a split without judgements gets no file."""
    (folder / QRELS).mkdir()
    with open(folder / CORPUS, "w", encoding="utf-8", newline="\n") as handle:
        write_corpus(handle, reading, progress)
    with open(folder / QUERIES, "w", encoding="utf-8", newline="\n") as handle:
        for query in reading.queries():
            handle.write(json_line(query.id, query.text, query.fields))
    for split in splits:
        path = folder / QRELS / f"{split}.tsv"
        with open(path, "w", encoding="utf-8", newline="\n") as handle:
            handle.write("query-id\tcorpus-id\tscore\n")
            for row in reading.judgements(split):
                handle.write(f"{row.query}\t{row.passage}\t{row.grade}\n")
        if not reading.splits[split].judged:
            path.unlink()
            del reading.splits[split]


def has_questions(collection: Collection) -> bool:
    """Whether a collection has a split or a question, sound or faulty."""
    try:
        return bool(collection.splits) or any(True for _ in with_places(collection).located_queries())
    except DataError:
        return True  # what is wrong with them is said where they are read


def foreign_file(folder: Path) -> str | None:
    """A file or folder in a BEIR folder that is no part of one, by its path there; None if all are."""
    inside = [one.name for one in folder.iterdir()]
    if (folder / QRELS).is_dir():
        inside.remove(QRELS)
        inside += [f"{QRELS}/{one.name}" for one in (folder / QRELS).iterdir() if one.suffix != ".tsv"]
    return min(
        (one for one in inside if one not in OWN_FILES and not is_unfinished(one, CORPUS)), default=None
    )


def would_be_lost(old: BeirCollection, new: BeirCollection) -> str:
    """A question or judgement of a folder that another one lacks, with its place; "" if there is none."""
    known = IdSet(json_line(one.id, one.text, one.fields) for _, one in new.located_queries())
    for where, query in old.located_queries():
        if json_line(query.id, query.text, query.fields) not in known:
            return f"question {query.id!r} ({where})"
    for split in old.splits:
        judged = new.located_judgements(split, stop) if split in new.splits else ()
        known = IdSet(f"{row.query}\t{row.passage}\t{row.grade}" for _, row in judged)
        for where, row in old.located_judgements(split, stop):
            if f"{row.query}\t{row.passage}\t{row.grade}" not in known:
                return f"the judgement of {row.query!r} and {row.passage!r} ({where})"
    return ""


def convert(
    collection: Collection,
    path: Path,
    *,
    skip_faulty: bool = False,
    replace: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Conversion:
    """Write a collection as a BEIR folder that is whole or absent; what an earlier call left is cleared.

    A BEIR folder that stands there is replaced when the new one is whole. If the collection has no questions,
    the folder's own ones, its judgements and all other files stay, and its corpus alone is written anew.
    Else the new folder has to hold all that the old one does, but for passages.

    Memory: 12 to 24 bytes per id and judgement; texts are not kept.

    Args:
        path: the folder.
        skip_faulty: leave out what is wrong (and judgements of it), and say how much, instead of refusing.
        replace: write the folder anew whatever it holds, without its questions, judgements and other files.
        progress: called with the number of passages done since its last call.

    Raises:
        DataError: something is wrong with the collection (one line, with the place of the first fault);
            ``path`` holds something that is not a BEIR folder; or it has questions, judgements or other files
            that the new folder would lack. It is left alone.
        StorageError: the disk is full or not writable.
    """
    recover_directory(path)  # what is there counts, also where a kill left it under another name
    if path.exists() and not (path.is_dir() and (find_jsonl(path, "corpus") or not any(path.iterdir()))):
        raise DataError(f"{path}: is there and is no BEIR folder; choose another place")
    before = None
    if not replace and path.exists() and any(path.iterdir()):
        before = BeirCollection(path)
        if not has_questions(collection):
            return _convert_corpus(collection, before, skip_faulty, progress)
        foreign = foreign_file(path)
        if foreign is not None:
            raise _would_lose(path, foreign)
    skipping, found = Skipping(), Findings()
    reading = CheckedReading(collection, skipping if skip_faulty else found)
    with atomic_directory(path) as folder:
        with _refused(found):
            write_files(reading, collection.splits, folder, progress)
        if not len(reading.passage_ids):
            raise DataError(skipping.first)
        lost = "" if before is None else would_be_lost(before, BeirCollection(folder))
        if lost:
            raise _would_lose(path, lost)
    left_out = tuple(split for split in collection.splits if split not in reading.splits)
    return Conversion(BeirCollection(path), reading.info(), skipping.count, skipping.first, left_out)


def _convert_corpus(
    collection: Collection,
    before: BeirCollection,
    skip_faulty: bool,
    progress: Callable[[int], None] | None,
) -> Conversion:
    """Write the passages of a collection without questions in place of a folder's, and leave all else."""
    skipping, found = Skipping(), Findings()
    reading = CheckedReading(collection, skipping if skip_faulty else found)
    folder = before.folder
    remove_unfinished(folder / CORPUS)
    with atomic_write(folder / CORPUS) as handle:
        with _refused(found):
            write_corpus(handle, reading, progress)
        if not len(reading.passage_ids):
            raise DataError(skipping.first)
    (folder / f"{CORPUS}.gz").unlink(missing_ok=True)
    after = BeirCollection(folder)
    files = (QUERIES, f"{QUERIES}.gz", *(f"{QRELS}/{split}.tsv" for split in after.splits))
    kept = tuple(one for one in files if (folder / one).is_file() and (folder / one).stat().st_size)
    judged = (row for split in after.splits for _, row in after.read_split(split, lambda error: None))
    dangling = sum(row.passage not in reading.passage_ids for row in judged)
    return Conversion(*(after, reading.info(), skipping.count, skipping.first), kept=kept, dangling=dangling)


@contextmanager
def _refused(found: Findings) -> Iterator[None]:
    """Read on to the end, or until enough faults were found; then the first is raised."""
    try:
        yield
    except TooMany:
        pass  # enough were found; they are raised below
    except DataError as error:
        if not found.errors:
            raise
        found.errors.append(error)
    if found.errors:
        raise first_of(found.errors)


def _would_lose(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: has {what}, which the new folder would lack; choose another folder, or give that up with "
        "--replace"
    )


def write_beir(collection: Collection, path: Path) -> BeirCollection:
    """Write a collection as a BEIR folder and open it; see ``convert``, whose errors it raises."""
    return convert(collection, path).collection
