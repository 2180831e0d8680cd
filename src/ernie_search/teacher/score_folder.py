"""The folder in which lists are scored: shards of scores, and the manifest that says whose scores of what.

``shards/scores-00000.parquet``, ... hold a row a list; ``scores.json`` has their key and checksums. The
scored lists themselves (``lists.parquet``, ``manifest.json``) come last, beside them.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ernie_search import __version__
from ernie_search.errors import DataError, StorageError
from ernie_search.files import (
    MANIFEST,
    atomic_write,
    fsync_directory,
    read_json,
    remove,
    sha256_file,
    storage_errors,
    write_json,
)
from ernie_search.typed_settings import read_record

FORMAT = 1
SCORES_FILE = "scores.json"
SHARDS = "shards"
STAGING = ".lists"
"""Where the scored lists are written before they move up."""
SCHEMA = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("positive_scores", pa.list_(pa.float32()), nullable=False),
        pa.field("negative_scores", pa.list_(pa.float32()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class ScoredList:
    """A question's scores, in the order of its list."""

    query: str
    positive_scores: tuple[float, ...]
    negative_scores: tuple[float, ...]


@dataclass(slots=True)
class ScoreFolder:
    """What is scored already, and by whom.

    Attributes:
        folder: where it lies.
        key: whose scores of what: other teachers, data or lists are refused.
        precision: that the scoring began in, and goes on in: which is faster is a measurement, which may come
            out otherwise next time.
        shard_size: lists a shard; a folder goes on with its own.
        shards: file name -> SHA-256 of the finished ones.
        seconds: spent scoring, over all interrupted runs.
    """

    folder: Path
    key: dict[str, Any]
    precision: str
    shard_size: int
    shards: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    version: str = __version__
    format: int = FORMAT

    @staticmethod
    def begin(folder: Path, key: dict[str, Any], *, precision: str, shard_size: int) -> "ScoreFolder":
        """Start a folder (nothing is written yet), or take up one that was begun with the same key.

        Raises:
            DataError: it holds other scores (it says which), or a shard was altered since it was written.
            StorageError: it is a file, or holds something else.
        """
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{folder}: is a file; choose a folder for the scores")
        if not (folder / SCORES_FILE).is_file():
            strangers = (
                sorted(p.name for p in folder.iterdir() if p.name != SHARDS) if folder.is_dir() else []
            )
            strangers = [name for name in strangers if not name.startswith(f".{SCORES_FILE}.")]
            if strangers:
                raise StorageError(
                    f"{folder}: holds {strangers[0]!r} but no {SCORES_FILE}; choose an empty or new folder"
                )
            return ScoreFolder(folder, key, precision, shard_size)
        found = read_json(folder / SCORES_FILE)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise DataError(
                f"{folder / SCORES_FILE}: not of scores in format {FORMAT}; delete {folder} and score again"
            )
        try:
            begun = read_record(ScoreFolder, found | {"folder": str(folder)})
        except ValueError as error:
            raise DataError(
                f"{folder / SCORES_FILE}: not readable as scores ({error}); delete {folder} and score again"
            ) from error
        before = begun.key
        other = [
            f"{name} {before.get(name)}, now {value}"
            for name, value in key.items()
            if before.get(name) != value
        ]
        if other:
            raise DataError(
                f"{folder}: holds other scores ({'; '.join(other)}); choose another folder or delete this one"
            )
        begun._check_shards()
        return begun

    def _check_shards(self) -> None:
        for name, sha256 in self.shards.items():
            path = self.folder / SHARDS / name
            if path.is_file() and sha256_file(path) != sha256:
                raise DataError(
                    f"{path}: its bytes changed since it was written (SHA-256 differs); "
                    "delete it and run the same command again to score its lists anew"
                )
        self.shards = {
            name: sha256 for name, sha256 in self.shards.items() if (self.folder / SHARDS / name).is_file()
        }

    @property
    def finished(self) -> bool:
        """Whether the scored lists are there."""
        return (self.folder / MANIFEST).is_file()

    def write(self) -> None:
        """Write ``scores.json``."""
        values = asdict(self)
        del values["folder"]
        write_json(self.folder / SCORES_FILE, values)

    def add(self, number: int, scored: Sequence[ScoredList], seconds: float) -> None:
        """Write a shard, then the manifest that names it: a kill between the two costs this shard."""
        path = self.folder / SHARDS / shard_name(number)
        columns = [pa.array([getattr(one, f.name) for one in scored], f.type) for f in SCHEMA]
        with atomic_write(path, "wb") as handle:
            table = pa.Table.from_arrays(columns, schema=SCHEMA)
            pq.write_table(table, handle, compression="zstd", write_statistics=False)
        self.shards[path.name] = sha256_file(path)
        self.seconds = round(self.seconds + seconds, 3)
        self.write()

    def scores(self) -> Iterator[ScoredList]:
        """All scores, in the order of the lists; one shard is held at a time.

        Raises:
            DataError: a shard cannot be read.
        """
        for name in sorted(self.shards):
            path = self.folder / SHARDS / name
            try:
                columns = pq.ParquetFile(path).read().to_pydict()
                rows = zip(*(columns[column] for column in SCHEMA.names), strict=True)
                yield from (ScoredList(query, tuple(ours), tuple(theirs)) for query, ours, theirs in rows)
            except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
                reason = str(error).partition("\n")[0]
                raise DataError(
                    f"{path}: not readable as scores ({reason}); delete it and run the same command again"
                ) from error

    def empty_staging(self) -> Path:
        """Where the scored lists are written first, without what a kill in ``move_up`` left there."""
        staging = self.folder / STAGING
        with storage_errors(self.folder):
            remove(staging)
        return staging

    def move_up(self) -> None:
        """Bring the scored lists from the staging folder to their place, the manifest last."""
        staging = self.folder / STAGING
        with storage_errors(self.folder):
            names = sorted((path.name for path in staging.iterdir()), key=lambda name: name == MANIFEST)
            for name in names:
                os.replace(staging / name, self.folder / name)
            fsync_directory(self.folder)
            shutil.rmtree(staging, ignore_errors=True)


def shard_name(number: int) -> str:
    """``scores-00007.parquet``."""
    return f"scores-{number:05d}.parquet"
