"""Training lists as a folder: each question's positives, hard negatives, and a teacher's scores.

A folder holds ``lists.parquet``, one row per question, and ``manifest.json``, which says what made it and has
the file's SHA-256. Both are written whole or not at all, and read row group by row group.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

FORMAT = 2
"""Goes up when an older version could no longer read a folder rightly: one that knows only 1 would take
denoised negatives for hard ones."""
READABLE = (1, FORMAT)
"""In format 1 no list has ``kept`` or ``parts``: all its negatives count."""
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
        pa.field("kept", pa.list_(pa.bool_()), nullable=False),
        pa.field("parts", pa.map_(pa.string(), pa.list_(pa.float32())), nullable=False),
    ]
)
OLDEST = SCHEMA.names[:6]
"""The columns that lists have in every format."""


@dataclass(frozen=True, slots=True)
class TrainingList:
    """The list of one training question: its positives and negatives.

    Attributes:
        query: id of the training question.
        positives: passage ids, known relevant, in a stable order.
        negatives: distinct passage ids, best-ranked first; no positives.
        positive_scores: the teacher's raw scores, one per positive; NaN for one that it gave none; () when
            unscored.
        negative_scores: the same for the negatives; NaN also for one that was drawn at random after scoring.
        negative_ranks: rank of each negative in the run, from 1; 0 for one that was drawn at random. () where
            unknown.
        kept: for each negative whether the contrastive terms may use it. One that was denoised stays in the
            list with its score, and only the terms with a teacher see it. () where all may be used.
        parts: scores of each component of a teacher by its name, positives first, then negatives; the scores
            are their weighted sum. Empty where they are not known.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    positive_scores: tuple[float, ...] = ()
    negative_scores: tuple[float, ...] = ()
    negative_ranks: tuple[int, ...] = ()
    kept: tuple[bool, ...] = ()
    parts: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)

    @property
    def passages(self) -> tuple[str, ...]:
        """Positives, then negatives."""
        return (*self.positives, *self.negatives)

    @property
    def contrastive(self) -> list[int]:
        """Places of the negatives that the contrastive terms may use."""
        return [place for place in range(len(self.negatives)) if not self.kept or self.kept[place]]

    @property
    def scored(self) -> bool:
        """Whether the list has a teacher's scores."""
        return bool(self.positive_scores)


@dataclass(frozen=True, slots=True)
class ListSizes:
    """Lengths of the lists in a folder.

    Attributes:
        shortest: negatives of the shortest list that the contrastive terms may use.
        positives, negatives: of all lists together.
        denoised: of the negatives, those that only the terms with a teacher see.
    """

    shortest: int
    positives: int
    negatives: int
    denoised: int = 0


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
        if not isinstance(manifest, dict) or manifest.get("format") not in READABLE:
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
        shortest, positives, negatives, denoised = -1, 0, 0, 0
        for one in self:
            number = len(one.contrastive)
            shortest = number if shortest < 0 else min(shortest, number)
            positives, negatives = positives + len(one.positives), negatives + len(one.negatives)
            denoised += len(one.negatives) - number
        return ListSizes(shortest, positives, negatives, denoised)

    def __iter__(self) -> Iterator[TrainingList]:
        """Yield the lists in the order in which they were written; one row group is in memory at a time.

        Raises:
            DataError: the file cannot be read as lists.
        """
        path = self.folder / LISTS_FILE
        try:
            with pq.ParquetFile(path) as file:
                known = OLDEST if self.manifest["format"] == 1 else SCHEMA.names
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number, columns=known)
                    columns = [table[name].to_pylist() for name in known]
                    del table
                    yield from (_read(*row) for row in zip(*columns, strict=True))
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
            (of the sum, or of a part) than of passages; or scored lists among unscored ones.
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
                columns = [pa.array([_cell(one, f.name) for one in group], f.type) for f in SCHEMA]
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


def _read(
    query: str,
    positives: list[str],
    negatives: list[str],
    positive_scores: list[float],
    negative_scores: list[float],
    ranks: list[int],
    kept: Sequence[bool] = (),
    parts: Sequence[tuple[str, list[float]]] = (),
) -> TrainingList:
    """A list from the cells of its row; in format 1 a row has the first six."""
    return TrainingList(
        query,
        tuple(positives),
        tuple(negatives),
        tuple(positive_scores),
        tuple(negative_scores),
        tuple(ranks),
        tuple(kept),
        {name: tuple(scores) for name, scores in parts},
    )


def _cell(one: TrainingList, name: str) -> Any:
    """What a column holds of a list: components in the order of their names, so that equal is equal."""
    return sorted(one.parts.items()) if name == "parts" else getattr(one, name)


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
    if one.kept and len(one.kept) != len(one.negatives):
        raise DataError(
            f"{where}: {len(one.kept)} marks of {len(one.negatives)} negatives in kept; "
            "give one for each, or none"
        )
    for name, scores in one.parts.items():
        if len(scores) != len(passages):
            raise DataError(
                f"{where}: {len(scores)} scores of component {name!r}, {len(passages)} are needed; "
                "score again"
            )
    if any(map(math.isinf, (*one.positive_scores, *one.negative_scores))):
        raise DataError(f"{where}: a teacher's score is infinite; check the teacher")
    return scored


@dataclass(frozen=True, slots=True)
class PreviewPassage:
    """One passage of a previewed list.

    Attributes:
        passage: with title and text.
        score: the teacher's raw logit; None where there is none.
        rank: in the run it was mined from, from 1; 0 for one drawn at random; None where that is not known,
            and for positives.
        kept: whether the contrastive terms may use it; False for a denoised negative.
    """

    passage: Passage
    score: float | None = None
    rank: int | None = None
    kept: bool = True


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
    scores, ranks = one.negative_scores or unknown, one.negative_ranks or unknown
    kept = one.kept or [True] * len(one.negatives)
    negatives = zip(one.negatives, scores, ranks, kept, strict=True)
    return Preview(
        query,
        [PreviewPassage(passages[passage], _known(score)) for passage, score in positives],
        [
            PreviewPassage(passages[passage], _known(score), rank, stays)
            for passage, score, rank, stays in negatives
        ],
    )


def _known(score: float | None) -> float | None:
    return None if score is None or math.isnan(score) else score
