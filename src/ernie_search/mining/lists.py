"""What the cascade trains on, as a folder: each question's positives, its negatives, and a teacher's scores.

A folder holds ``lists.parquet``, one row a question, and ``manifest.json``, which says what made it and has
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
from ernie_search.errors import DataError, StorageError

FORMAT = 1
"""Goes up when a folder written by an older version can no longer be read."""
LISTS_FILE = "lists.parquet"
ROW_GROUP = 1000
"""Questions held at a time, when writing and when reading."""
NEEDED = {"rows": int, "scored": bool, "sha256": str, "fingerprint": str, "data_fingerprint": str}
POSSIBLE = {"counts": dict, "settings": dict, "scores": dict, "split": str}
"""What a manifest has, and may have, of what is read again, and of which type."""
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
    """One training question with what it is to tell apart.

    Attributes:
        query: id of the training question.
        positives: passage ids, known relevant, in a stable order.
        negatives: distinct passage ids, best-ranked first; no positives.
        positive_scores: the teacher's raw logits, one a positive; () when unscored.
        negative_scores: the same for the negatives; NaN for one that was drawn at random after scoring.
        negative_ranks: where each negative stood in the run, from 1; 0 for one that was drawn at random. ()
            where that is not known.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    positive_scores: tuple[float, ...] = ()
    negative_scores: tuple[float, ...] = ()
    negative_ranks: tuple[int, ...] = ()

    @property
    def scored(self) -> bool:
        """Whether a teacher has scored it."""
        return bool(self.positive_scores)


@dataclass(frozen=True, slots=True)
class ListSizes:
    """How long the lists of a folder are.

    Attributes:
        shortest: negatives of the list that has the fewest.
        positives, negatives: of all lists together.
    """

    shortest: int
    positives: int
    negatives: int


class Lists:
    """A folder of training lists, checked when opened, streamed when read. Made by ``open`` alone.

    Attributes:
        folder: where it lies.
        manifest: everything that the manifest says: settings, counts a stage, what made it.
        scored: whether every list carries a teacher's scores.
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
        """How long the lists are; all of them are read.

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
        """All lists in the order in which they were written; one row group is held at a time.

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
        about: what else the manifest is to say (settings, counts, model). Read after the last list, so
            that a producer may count into it while it is being read.

    Raises:
        DataError: no list, one without positives, one whose passages repeat or that has another number of
            scores than of passages, or scored lists among unscored ones.
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
    """Refuse a list that no training could use; returns ``scored``."""
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
