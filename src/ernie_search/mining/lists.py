"""Training lists as a folder: each question's positives, hard negatives, and a teacher's scores.

A folder holds ``lists.parquet``, one row per question, and ``manifest.json``, which says what made it and has
the file's SHA-256. Both are written whole or not at all, and read row group by row group.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ernie_search import __version__
from ernie_search._util.files import (
    MANIFEST,
    atomic_directory,
    fingerprint,
    read_json,
    recover_directory,
    sha256_file,
    write_json,
)
from ernie_search.data import Collection
from ernie_search.errors import DataError, SettingsError, StorageError
from ernie_search.types import Passage, Query

FORMAT = 1
"""Goes up when folders in an older format can no longer be read."""
LISTS_FILE = "lists.parquet"
ROW_GROUP = 1000
"""Questions in memory at a time, when writing and when reading."""
NEEDED = {"rows": int, "scored": bool, "sha256": str, "fingerprint": str, "data_fingerprint": str}
POSSIBLE = {"counts": dict, "settings": dict, "scores": dict, "split": str}
"""Entries that a manifest must have, and may have, with their types."""
SCHEMA = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("positives", pa.list_(pa.string()), nullable=False),
        pa.field("negatives", pa.list_(pa.string()), nullable=False),
        pa.field("positive_scores", pa.list_(pa.float32()), nullable=False),
        pa.field("negative_scores", pa.list_(pa.float32()), nullable=False),
        pa.field("negative_ranks", pa.list_(pa.int32()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class TrainingList:
    """The list of one training question: its positives and negatives.

    Attributes:
        query: id of the training question.
        positives: passage ids, known relevant, in a stable order.
        negatives: distinct passage ids, best-ranked first; no positives.
        positive_scores: the teacher's raw logits, one per positive; () when unscored.
        negative_scores: the same for the negatives; NaN for one that was drawn at random after scoring.
        negative_ranks: rank of each negative in the run, from 1; 0 for one that was drawn at random. () where
            unknown.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    positive_scores: tuple[float, ...] = ()
    negative_scores: tuple[float, ...] = ()
    negative_ranks: tuple[int, ...] = ()

    @property
    def scored(self) -> bool:
        """Whether the list has a teacher's scores."""
        return bool(self.positive_scores)


@dataclass(frozen=True, slots=True)
class ListSizes:
    """Lengths of the lists in a folder.

    Attributes:
        shortest: negatives of the shortest list.
        positives, negatives: of all lists together.
    """

    shortest: int
    positives: int
    negatives: int


class Lists:
    """A folder of training lists, checked when opened, streamed when read; use :meth:`open`.

    Attributes:
        folder: where it lies.
        manifest: the whole manifest: settings, counts, what made it.
        scored: whether every list has a teacher's scores.
        fingerprint: 16 hex digits of the lists and their collection.
        data_fingerprint: of the collection that they were mined from.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.scored = bool(manifest["scored"])
        self.fingerprint = str(manifest["fingerprint"])
        self.data_fingerprint = str(manifest["data_fingerprint"])
        self._rows = int(manifest["rows"])

    @staticmethod
    def open(folder: Path) -> "Lists":
        """Open a folder that :func:`write_lists` wrote; reads its file once, for the checksum.

        Raises:
            StorageError: there is none, or its manifest cannot be read.
            DataError: of another format, or the file is missing or was altered since it was written.
        """
        folder = Path(folder)
        recover_directory(folder)
        if not (folder / MANIFEST).is_file():
            raise StorageError(
                f"{folder}: no {MANIFEST}, so no training lists; make some with: ernie-search mine"
            )
        manifest = read_json(folder / MANIFEST)
        again = f"delete {folder} and make the lists again"
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            found = manifest.get("format") if isinstance(manifest, dict) else None
            raise DataError(
                f"{folder / MANIFEST}: not of lists in format {FORMAT} (found {found!r}); {again}"
            )
        missing = NEEDED.keys() - manifest.keys()
        if missing:
            raise DataError(f"{folder / MANIFEST}: lacks {', '.join(sorted(missing))}; {again}")
        for name, kind in (NEEDED | POSSIBLE).items():
            if name in manifest and type(manifest[name]) is not kind:  # true is no number of rows
                found = repr(manifest[name])[:80]
                raise DataError(
                    f"{folder / MANIFEST}: {name} is {found}, not of type {kind.__name__}; {again}"
                )
        path = folder / LISTS_FILE
        if not path.is_file():
            raise DataError(f"{path}: the file is missing; {again}")
        if sha256_file(path) != manifest["sha256"]:
            raise DataError(f"{path}: its bytes changed since it was written (SHA-256 differs); {again}")
        return Lists(folder, manifest)

    def __len__(self) -> int:
        """Number of questions."""
        return self._rows

    def sizes(self) -> ListSizes:
        """Lengths of the lists; all of them are read.

        Raises:
            DataError: the file cannot be read as lists.
        """
        shortest, positives, negatives = -1, 0, 0
        for one in self:
            number = len(one.negatives)
            shortest = number if shortest < 0 else min(shortest, number)
            positives, negatives = positives + len(one.positives), negatives + number
        return ListSizes(shortest, positives, negatives)

    def __iter__(self) -> Iterator[TrainingList]:
        """Yield the lists in the order in which they were written; one row group is in memory at a time.

        Raises:
            DataError: the file cannot be read as lists.
        """
        path = self.folder / LISTS_FILE
        try:
            with pq.ParquetFile(path) as file:
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number, columns=SCHEMA.names)
                    columns = [table[name].to_pylist() for name in SCHEMA.names]
                    del table
                    for query, *others in zip(*columns, strict=True):
                        yield TrainingList(query, *map(tuple, others))
        except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"{path}: not readable as training lists ({reason}); "
                f"delete {self.folder} and make the lists again"
            ) from error


def write_lists(
    folder: Path, lists: Iterable[TrainingList], *, data_fingerprint: str, about: Mapping[str, Any]
) -> Lists:
    """Write lists as a folder that appears whole or not at all; the same lists give the same bytes.

    Args:
        folder: the final name; one that stands there is replaced.
        lists: read once, ``ROW_GROUP`` at a time; a question comes once.
        data_fingerprint: of the collection whose ids these are.
        about: further entries of the manifest (settings, counts, model). Read after the last list, so that
            the producer of the lists may count into it.

    Raises:
        DataError: no list; a list without positives, with repeated passages, or with another number of scores
            than of passages; or scored lists among unscored ones.
        StorageError: ``folder`` holds something else, which is left alone; or the disk refused, and nothing
            is left behind.
    """
    folder = Path(folder)
    if folder.exists() and not (
        folder.is_dir() and ((folder / LISTS_FILE).exists() or not any(folder.iterdir()))
    ):
        raise StorageError(f"{folder}: is there and holds no training lists; choose another place")
    rows, scored = 0, False
    with atomic_directory(folder) as temporary:
        path = temporary / LISTS_FILE
        with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_statistics=False) as writer:
            source = iter(lists)
            while group := list(islice(source, ROW_GROUP)):
                for one in group:
                    scored = _checked(one, scored=scored if rows else one.scored)
                    rows += 1
                columns = [pa.array([getattr(one, f.name) for one in group], f.type) for f in SCHEMA]
                writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), row_group_size=ROW_GROUP)
        if not rows:
            raise DataError(
                f"{folder}: there is no list to write; do the run and the judgements share questions?"
            )
        sha256 = sha256_file(path)
        own = {
            "format": FORMAT,
            "version": __version__,
            "data_fingerprint": data_fingerprint,
            "rows": rows,
            "scored": scored,
            "sha256": sha256,
            "fingerprint": fingerprint(data_fingerprint, sha256),
        }
        write_json(temporary / MANIFEST, {**about, **own})
    return Lists.open(folder)


def _checked(one: TrainingList, *, scored: bool) -> bool:
    """Refuse a list that no training could use; return ``scored``."""
    where = f"list of question {one.query!r}"
    if not one.positives:
        raise DataError(f"{where}: has no positive; leave the question out")
    passages = (*one.positives, *one.negatives)
    if len(set(passages)) < len(passages):
        raise DataError(f"{where}: a passage stands in it twice; name each once")
    if one.scored != scored:
        raise DataError(f"{where}: scored and unscored lists do not mix; score all of them or none")
    wanted = (len(one.positives), len(one.negatives)) if scored else (0, 0)
    found = (len(one.positive_scores), len(one.negative_scores))
    if found != wanted:
        raise DataError(f"{where}: {found} scores of positives and negatives, {wanted} are needed")
    if one.negative_ranks and len(one.negative_ranks) != len(one.negatives):
        raise DataError(
            f"{where}: {len(one.negative_ranks)} ranks of {len(one.negatives)} negatives; drop both together"
        )
    known = [score for score in one.negative_scores if not math.isnan(score)]
    if not all(map(math.isfinite, (*one.positive_scores, *known))):
        raise DataError(f"{where}: a teacher's score is not finite; check the teacher")
    return scored


@dataclass(frozen=True, slots=True)
class PreviewPassage:
    """One passage of a previewed list.

    Attributes:
        passage: with title and text.
        score: the teacher's raw logit; None where there is none.
        rank: in the run it was mined from, from 1; 0 for one drawn at random; None where that is not known,
            and for positives.
    """

    passage: Passage
    score: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """One question's list, with the texts of its passages."""

    query: Query
    positives: list[PreviewPassage]
    negatives: list[PreviewPassage]


def preview(lists: Lists, collection: Collection, number: int = 3) -> list[Preview]:
    """Preview ``number`` lists, evenly spread over the folder, with the texts of their passages.

    Lists, questions and passages are read once each; memory holds the chosen lists, their texts, and the
    split's questions.

    Raises:
        DataError: the lists are of another collection, or name a question or passage that it lacks.
        SettingsError: ``number`` below 1.
    """
    if number < 1:
        raise SettingsError(f"number of lists to show is {number}; ask for at least 1")
    if lists.data_fingerprint != collection.fingerprint:
        raise DataError(
            f"{lists.folder}: mined from another collection ({lists.data_fingerprint}) than "
            f"{collection.source} is now ({collection.fingerprint}); name that one, or mine again"
        )
    number = min(number, len(lists))
    places = {place * len(lists) // number for place in range(number)}
    chosen = [one for place, one in enumerate(lists) if place in places]
    wanted = {passage for one in chosen for passage in (*one.positives, *one.negatives)}
    passages = {passage.id: passage for passage in collection.passages() if passage.id in wanted}
    asked = {one.query for one in chosen}
    split = str(lists.manifest.get("split", "train"))
    queries = {query.id: query for query in collection.queries(split) if query.id in asked}
    missing = sorted(wanted - passages.keys()) + sorted(asked - queries.keys())
    if missing:
        raise DataError(f"{collection.source}: {missing[0]!r} of {lists.folder} is not in it; mine again")
    return [_with_texts(one, queries[one.query], passages) for one in chosen]


def _with_texts(one: TrainingList, query: Query, passages: dict[str, Passage]) -> Preview:
    unknown = [None] * len(one.negatives)
    positives = zip(one.positives, one.positive_scores or [None] * len(one.positives), strict=True)
    negatives = zip(one.negatives, one.negative_scores or unknown, one.negative_ranks or unknown, strict=True)
    return Preview(
        query,
        [PreviewPassage(passages[passage], score) for passage, score in positives],
        [
            PreviewPassage(passages[passage], None if score is None or math.isnan(score) else score, rank)
            for passage, score, rank in negatives
        ],
    )
