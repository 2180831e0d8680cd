"""A folder of scores that grows shard by shard, so that an interrupted scoring resumes."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ernie_search import __version__
from ernie_search._util.files import (
    MANIFEST,
    atomic_write,
    fsync_directory,
    read_json,
    remove,
    sha256_file,
    storage_errors,
    write_json,
)
from ernie_search._util.settings import read_record
from ernie_search.errors import DataError, StorageError

FORMAT = 1
SCORES_FILE = "scores.json"
SHARDS = "shards"
STAGING = ".lists"
"""Where the scored lists are written before they move up."""
SCHEMA = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("parts", pa.map_(pa.string(), pa.list_(pa.float32())), nullable=False),
    ]
)
ONLY_CROSS = ["query", "positive_scores", "negative_scores"]
"""The columns of shards from before there were other components than cross-encoders."""


@dataclass(frozen=True, slots=True)
class ScoredList:
    """A question's scores by component, each in the order of its list: positives, then negatives."""

    query: str
    parts: Mapping[str, tuple[float, ...]]


@dataclass(slots=True)
class ScoreFolder:
    """A folder of scores, finished or not.

    Attributes:
        folder: where it lies.
        key: components, data and lists of the scores; a folder with another key is refused. Weights are no
            part of it: the shards hold each component's scores, whatever the sum.
        precision: of the scoring, kept when it is resumed: which is faster is a measurement, which may come
            out differently the next time.
        shard_size: lists in a shard; kept when the scoring is resumed.
        shards: file name -> SHA-256 of the finished ones.
        seconds: spent scoring, in all calls.
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
        """Begin a folder (nothing is written yet), or open one that was begun with the same key.

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
        # Of finished scores a part may be asked for; of others all, else some lists would lack a component.
        asked = key if begun.finished else dict.fromkeys((*key, *before))
        other = [
            f"{name} {before.get(name)}, now {key.get(name)}"
            for name in asked
            if before.get(name) != key.get(name)
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
        cells = ([one.query for one in scored], [sorted(one.parts.items()) for one in scored])
        columns = [pa.array(values, kind.type) for values, kind in zip(cells, SCHEMA, strict=True)]
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
                if "parts" not in columns:
                    old = zip(*(columns[column] for column in ONLY_CROSS), strict=True)
                    yield from (ScoredList(query, {"cross": (*ours, *theirs)}) for query, ours, theirs in old)
                    continue
                rows = zip(columns["query"], columns["parts"], strict=True)
                yield from (
                    ScoredList(query, {name: tuple(scores) for name, scores in parts})
                    for query, parts in rows
                )
            except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
                reason = str(error).partition("\n")[0]
                raise DataError(
                    f"{path}: not readable as scores ({reason}); delete it and run the same command again"
                ) from error

    def reopen(self) -> None:
        """Take the finished lists away, so that they are made anew from the shards."""
        with storage_errors(self.folder):
            remove(self.folder / MANIFEST)
            fsync_directory(self.folder)

    def empty_staging(self) -> Path:
        """The staging folder of the scored lists, cleared of what a kill in ``move_up`` left there."""
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
