"""The default index: one LanceDB table in a folder, with commits that survive a crash."""

import contextlib
import os
import shutil
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search._util.files import seen_from, storage_errors
from ernie_search._util.settings import read_record
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import lance_files as on_disk
from ernie_search.index.bm25 import check_texts
from ernie_search.index.codecs import codec
from ernie_search.index.exact import inner_products
from ernie_search.index.filters import Filter, fit_filter
from ernie_search.index.lance_reader import (
    SMALLEST_TRAINED,
    LanceReader,
    Seen,
    lance_errors,
    one_of,
    read_codec,
    read_projection,
    to_sql,
    vector_index,
    word_index,
    write_codec,
)
from ernie_search.index.projection import PROJECTION, Projection
from ernie_search.index.protocol import Index, IndexStats, OpenMode, Origin, check_delete, check_vectors
from ernie_search.index.rows import row_schema, to_rows, with_passages
from ernie_search.index.spec import IndexSpec, make_spec
from ernie_search.index.statistics import Statistics, read_statistics
from ernie_search.index.stored_tokens import TokenCodec
from ernie_search.index.topk import Ranking
from ernie_search.types import Passage

NEVER = timedelta(days=36_500)
"""LanceDB prunes by age whenever it optimizes; the version that a commit names may be of any age."""
COMMITS_HELD = 32
"""A writer opens its table anew after so many commits: LanceDB keeps something of every version, 80 kB
of the smallest, up to gigabytes."""
MARGIN_S = 1.0
"""A clock read just before a version is written may disagree with the file system's by less than this."""
MEND = "restore the index from a copy or build it again"
"""What to do about a damaged file."""
LARGEST_LAG = 0.05
"""The share of the passages that may have changed since statistics were counted: a word's idf moves by as
much at most, and counting reads the words of all passages."""
MERGES = 8
"""So often files are merged at most before old ones are removed; the second time mostly finds nothing."""


class LanceIndex(Index):
    """A folder with a LanceDB table and the commits that make it trustworthy; see ``lance_files``.

    A reader stays at the commit that it opened, whatever a writer does, and writers do not prune it away.
    Open again to see what is new. A writer sees its own changes before it commits them.
    """

    capabilities = frozenset({"bm25", "hybrid", "filters", "multiprocess", "persistent"})

    folder: Path

    def __init__(self, folder: Path, mode: OpenMode, commit: on_disk.Commit, lock: int) -> None:
        """For ``open`` and ``create``."""
        spec = make_spec(**commit.spec)
        super().__init__(spec, read_codec(folder, spec), mode, read_projection(folder, spec))
        self.folder, self.commit_read = folder, commit
        self.origin = None if commit.origin is None else read_record(Origin, commit.origin)
        self._watch = on_disk.Watch(folder, commit.files)
        self._seen: Seen | None = None
        self._tokens: int | None = commit.tokens
        self._uncounted, self._counted = commit.uncounted, False
        self.written_at = commit.written_at
        self._open_table()
        # An index that nobody closed must not keep writers out, or files from being pruned.
        self._release = weakref.finalize(self, os.close, lock)

    @classmethod
    def open(
        cls,
        folder: Path,
        mode: OpenMode = "r",
        *,
        check: bool = True,
        known: Mapping[str, tuple[int, str]] | None = None,
    ) -> "LanceIndex":
        """Open an index.

        Args:
            folder: of the index.
            mode: "r" or "w".
            check: read every file and compare its SHA-256; without it only those that are read to open the
                index, as LanceDB does not survive every damage there. Other damage may then go unnoticed.
            known: files of an earlier commit that were checked before, with their sizes and SHA-256; they are
                not read again.

        Raises:
            IndexStateError: no index, a damaged one, or another writer is at work.
        """
        if mode == "r":
            commit, lock = on_disk.hold_for_reading(folder)
        else:
            if not on_disk.is_index(folder):
                on_disk.read_commit(folder)  # says what is missing
            lock = on_disk.lock_for_writing(folder)
        opened: LanceIndex | None = None
        try:
            if mode == "w":
                commit = on_disk.read_commit(folder)
            problems = on_disk.damaged_files(folder, commit, all_of_them=check, known=known)
            if not problems:
                if mode == "w":
                    on_disk.roll_back(folder, commit)
                opened = cls._opened(folder, mode, commit, lock)
            elif mode == "w" or on_disk.read_commit(folder).number == commit.number:
                more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                raise IndexStateError(f"{problems[0]}{more}; {MEND}")
        except BaseException:
            os.close(lock)
            raise
        if opened is None:  # a writer pruned between our two looks: begin again, at its commit
            os.close(lock)
            return cls.open(folder, mode, check=check, known=known)
        if mode == "w" and commit.pruning:
            opened._remove_unneeded()
        return opened

    @classmethod
    def _opened(cls, folder: Path, mode: OpenMode, commit: on_disk.Commit, lock: int) -> "LanceIndex":
        """The index; where LanceDB cannot read it, the error names the broken file, if that is why."""
        try:
            return cls(folder, mode, commit, lock)
        except IndexStateError as error:
            problems = on_disk.damaged_files(folder, commit)
            if problems:
                raise IndexStateError(f"{problems[0]}; restore the index from a copy") from error
            raise

    @classmethod
    def create(
        cls,
        folder: Path,
        spec: IndexSpec,
        trained: TokenCodec | None = None,
        projection: Projection | None = None,
    ) -> "LanceIndex":
        """Make an empty index, and open it for writing.

        Args:
            folder: new, empty, or left by a writer that was killed before its first commit.
            spec: what it will hold.
            trained: the token codec where it had to be trained.
            projection: that the token vectors went through.

        Raises:
            IndexStateError: the folder holds something else, or another writer is at work.
            SettingsError: a codec that must be trained was not given.
        """
        import lancedb

        own = {on_disk.LOCK, on_disk.DATA, on_disk.COMMITS, on_disk.CODEC, PROJECTION}
        if folder.exists() and not folder.is_dir():
            raise IndexStateError(f"{folder}: is a file; choose a folder for the index")
        strangers = [
            one.name
            for one in (folder.iterdir() if folder.is_dir() else ())
            if one.name not in own | {on_disk.INDEX_FILE}
        ]
        strangers = sorted(
            name for name in strangers if not name.endswith(".tmp") and not fnmatch(name, on_disk.STATISTICS)
        )
        if strangers:
            raise IndexStateError(f"{folder}: holds {strangers[0]!r}; choose an empty or new folder")
        chosen = trained or (codec(spec.tokens, spec.token_dim) if spec.with_tokens else None)
        lock = on_disk.lock_for_writing(folder)
        try:
            if on_disk.is_index(folder):
                raise IndexStateError(
                    f"{folder}: an index is there already; open it, or choose another folder"
                )
            for name in (on_disk.DATA, on_disk.COMMITS):
                shutil.rmtree(folder / name, ignore_errors=True)
            for leftover in (folder / on_disk.CODEC, folder / PROJECTION, *folder.glob(on_disk.STATISTICS)):
                leftover.unlink(missing_ok=True)
            now = time.time()
            if chosen is not None:
                write_codec(folder, chosen)
            if projection is not None:
                projection.write(folder)
            with lance_errors(folder):
                table = lancedb.connect(str(folder)).create_table(on_disk.TABLE, schema=row_schema(spec))
            files = on_disk.checksums(folder, {})
            commit = on_disk.Commit(1, table.version, 0, 0, now, False, spec.model_dump(mode="json"), files)
            on_disk.write_commit(folder, commit)
            return cls(folder, "w", commit, lock)
        except BaseException:
            os.close(lock)
            raise

    # Writing

    def upsert(self, batch: pa.RecordBatch) -> int:
        """See ``Index``. Passages with new ids are appended without reading what is there."""
        self._writing()
        return self._put(to_rows(batch, self.spec, self.codec))

    def rewrite(self, rows: pa.Table, passages: Sequence[Passage]) -> int:
        """See ``Index``."""
        self._writing()
        return self._put(with_passages(rows, passages, self.spec))

    def _put(self, rows: pa.Table) -> int:
        """Write rows as they are stored."""
        if not rows.num_rows:
            return 0
        ids = rows["id"].to_pylist()
        self._depart_from_origin()
        with _Change(self):
            replaces = self._seen_ids().any_of(ids)
            if replaces:
                merge = self.table.merge_insert("id").when_matched_update_all()
                merge.when_not_matched_insert_all().execute(rows)
            else:
                self.table.add(rows)
        self._seen_ids().add(ids)
        self._uncounted += int(rows.num_rows)
        if replaces:
            self._tokens = None
        elif self._tokens is not None:
            self._tokens += int(rows["token_count"].to_numpy().sum())
        return int(rows.num_rows)

    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> int:
        """See ``Index``."""
        self._writing()
        named = check_delete(ids, where)
        if where is not None:
            condition = to_sql(fit_filter(where, self.spec.fields))
        elif named:
            condition = one_of(named)
        else:
            return 0
        self._depart_from_origin()
        with _Change(self):
            self._tokens = None
            removed = int(self.table.delete(condition).num_deleted_rows)
            self._uncounted += removed
        return removed

    def commit(self, origin: Origin | None = None) -> None:
        """See ``Index``: new files are made durable, then the commit's own; a crash leaves the last one."""
        self._writing()
        noted, self.origin = self.origin, origin or self.origin
        if len(self) and "words" not in self.reader.indexes:
            with _Change(self):
                self.table.create_index("words", config=word_index())
        filling = self.origin is not None and self.origin.state == "filling"
        if self._outdated and not filling:  # else each of its commits would read all that came before
            self._count()
        if self.table.version != self.commit_read.version or noted != self.origin or self._counted:
            self.make_commit(pruning=False)
        on_disk.held_since(self.folder, self.commit_read)

    def optimize(self) -> None:
        """See ``Index``. Takes as much disk again while it runs, and until no reader needs the old files."""
        for _ in self.optimizing():
            pass

    def optimizing(self) -> Iterator[None]:
        """See ``Index``; everything done so far is committed between two steps."""
        self.commit()
        yield
        self._merge()
        self.commit()
        yield
        self._index_vectors()
        self.commit()
        yield
        if self._uncounted or self._outdated:
            self._count()
        self.make_commit(pruning=True)
        self._remove_unneeded()

    # Reading

    def __len__(self) -> int:
        """Passages held."""
        return self.reader.passages

    def nearest(
        self, dense: NDArray[np.float32], k: int = 10, *, where: Filter | None = None, exact: bool = False
    ) -> list[Ranking]:
        """See ``Index``."""
        vectors = check_vectors(dense, self.spec.dim, k)
        return self.reader.nearest(vectors, k, self._reading(where), exact)

    def bm25(self, texts: Sequence[str], k: int = 10, *, where: Filter | None = None) -> list[Ranking]:
        """See ``Index``."""
        check_texts(texts, k)
        fitted = self._reading(where)
        statistics = self.statistics()
        return [self.reader.bm25(text, k, fitted, statistics) for text in texts]

    def fetch(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """See ``Index``."""
        self._reading()
        return self.reader.fetch(ids, self.columns(columns))

    def dense_scores(self, vector: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float32]:
        """See ``Index``. Vectors that are in memory anyway are not read again."""
        self._reading()
        rows = self.reader.vectors_held(ids)
        if rows is None:
            return super().dense_scores(vector, ids)
        return inner_products(rows, check_vectors(vector, self.spec.dim, 1)[0])

    def scan(self, columns: Sequence[str], where: Filter | None = None) -> Iterator[pa.RecordBatch]:
        """See ``Index``."""
        fitted = self._reading(where)
        yield from self.reader.scan(self.columns(columns), fitted)

    def count(self, where: Filter | None = None) -> int:
        """See ``Index``."""
        return self.reader.count(self._reading(where))

    def stats(self) -> IndexStats:
        """See ``Index``."""
        tokens = self._counted_tokens()
        index = self.reader.indexes.get("dense")
        return IndexStats(
            kind="lance",
            passages=len(self),
            dim=self.spec.dim,
            tokens=tokens,
            token_dim=self.spec.token_dim,
            memory_bytes=self.reader.memory_bytes,
            model_name=self.model_name,
            model_fingerprint=self.model_fingerprint,
            search=index.index_type if index is not None and self.reader.approximate else "exact",
            unindexed=index.num_unindexed_rows if index is not None else 0,
            disk_bytes=sum(size for size, _ in self.commit_read.files.values()),
            dense_format=self.reader.dense_format,
            token_format=self.spec.tokens,
            fields=dict(self.spec.fields),
            commit=self.commit_read.number,
        )

    def statistics(self) -> Statistics:
        """See ``Index``. A reader of an index of before there were statistics counts them itself, once."""
        self._reading()
        if self._statistics is None:
            name = self.commit_read.statistics
            if name is None or (self.mode == "w" and self._outdated):
                self._statistics = self._count_all()
            else:
                self._statistics = read_statistics(self.folder / name)
        return self._statistics

    @property
    def model_folder(self) -> Path | None:
        """See ``Index``."""
        return seen_from(self.folder, self.spec.model_path) if self.spec.model_path else None

    def check_files(self) -> None:
        """See ``Index``."""
        commit = self.commit_read
        with storage_errors(self.folder):
            for name, (size, _) in commit.files.items():
                try:
                    found = os.stat(self.folder / name).st_size
                except (FileNotFoundError, NotADirectoryError):
                    if commit.pruning:  # some may go, see ``Commit``
                        continue
                    raise IndexStateError(f"{self.folder / name}: this file is missing; {MEND}") from None
                if found != size:
                    raise IndexStateError(
                        f"{self.folder / name}: holds {found} bytes, {size} were written; {MEND}"
                    )
        self.count()  # compares times and inodes, too

    def newest(self, *, trust: bool = True) -> "LanceIndex":
        """See ``Index``."""
        return LanceIndex.open(self.folder, known=self.commit_read.files if trust else None)

    def damage(self) -> list[str]:
        """See ``Index``."""
        return on_disk.damaged_files(self.folder, self.commit_read)

    def close(self) -> None:
        """See ``Index``."""
        self._release()

    # Inside the room

    def reread(self) -> None:
        """After a change: what was read before no longer holds."""
        self._has_parents = self._statistics = None
        self.reader = LanceReader(self.folder, self.table, self.spec)

    def forget(self) -> None:
        """After a change that failed: nobody knows which ids are there, and how many tokens."""
        self._seen = self._tokens = None

    def _depart_from_origin(self) -> None:
        """Note that the index no longer holds just what its source does; ``commit`` may be told otherwise."""
        if self.origin is not None and self.origin.state == "complete":
            self.origin = replace(self.origin, state="changed")

    def make_commit(self, *, pruning: bool) -> None:
        """Write a commit of the table as it is."""
        last = self.commit_read
        known = last.files
        files = on_disk.checksums(self.folder, known)
        if self._tokens is None:  # a scan reads every small file, so where it can be known it is not made
            self._tokens = self._counted_tokens()
        commit = on_disk.Commit(
            last.number + 1,
            self.table.version,
            len(self),
            self._tokens,
            self.written_at,
            pruning,
            last.spec,
            files,
            None if self.origin is None else asdict(self.origin),
            self._uncounted,
        )
        on_disk.write_commit(self.folder, commit)
        self._counted = False
        self.commit_read = commit
        self._watch = on_disk.Watch(self.folder, files)
        if commit.number % COMMITS_HELD == 0:
            self._open_table()

    def _open_table(self) -> None:
        import lancedb

        pinned = self.commit_read.version if self.mode == "r" else None
        with lance_errors(self.folder):
            self.table: Any = lancedb.connect(str(self.folder)).open_table(on_disk.TABLE, version=pinned)
        if self.table.version != self.commit_read.version:
            raise IndexStateError(
                f"{self.folder}: its table is at version {self.table.version}, its commit names "
                f"{self.commit_read.version}; restore the index from a copy"
            )
        self.reader = LanceReader(self.folder, self.table, self.spec)

    def _writing(self) -> None:
        if not self._release.alive:
            raise IndexStateError(f"{self.folder}: this index is closed; open it again")
        if self.mode != "w":
            raise SettingsError(f'{self.folder}: opened for reading; open it with mode "w" to change it')

    def _reading(self, where: Filter | None = None) -> Filter | None:
        """Refuse what cannot be read; the filter as the columns can meet it."""
        if not self._release.alive:
            raise IndexStateError(f"{self.folder}: this index is closed; open it again")
        self._watch.check()
        return None if where is None else fit_filter(where, self.spec.fields)

    def _counted_tokens(self) -> int:
        parts = self.scan(["token_count"])
        return sum(int(part.column("token_count").to_numpy().sum()) for part in parts)

    @property
    def _outdated(self) -> bool:
        """Whether more changed since statistics were counted than they may lag behind."""
        missing = self.commit_read.statistics is None and len(self) > 0
        return missing or self._uncounted > LARGEST_LAG * len(self)

    def _count(self) -> None:
        """Count statistics into a file that the next commit names."""
        self._statistics = self._count_all()
        number = self.commit_read.number + 1
        self._statistics.write(self.folder / on_disk.STATISTICS.replace("*", f"{number:08d}"))
        self._uncounted, self._counted = 0, True

    def _seen_ids(self) -> Seen:
        if self._seen is None:
            self._seen = Seen()
            for part in self.reader.scan(["id"], None):
                self._seen.add(part.column("id").to_pylist())
        return self._seen

    def _merge(self) -> bool:
        """Merge small files and bring the indexes up to date, removing nothing; True where there was work."""
        before = self.table.version
        with _Change(self):
            self.table.optimize(cleanup_older_than=NEVER)
        return bool(self.table.version != before)

    def _index_vectors(self) -> None:
        """Build the approximate index that the spec asks for, where it is missing and worth its while."""
        if self.spec.ann == "none" or "dense" in self.reader.indexes:
            return
        if len(self) >= max(self.spec.exact_below, SMALLEST_TRAINED):
            with _Change(self):
                self.table.create_index("dense", config=vector_index(self.spec, len(self)))

    def _remove_unneeded(self) -> None:
        """Remove the files that neither this commit nor a reader needs, and commit what is left.

        LanceDB cleans up only while it merges, and a merge that still finds work makes a new version and
        removes the one that the commit names; a kill before the next commit would then leave none to open.
        So there must be nothing left to merge, and that must be committed, before anything is removed.
        """
        for _ in range(MERGES):
            if not self._merge():
                break
        else:  # never at rest: old files cost disk alone
            self.make_commit(pruning=False)
            return
        if self.table.version != self.commit_read.version:
            self.make_commit(pruning=True)
        held = on_disk.held_since(self.folder, self.commit_read)
        age = timedelta(milliseconds=1) if held is None else timedelta(seconds=time.time() - held + MARGIN_S)
        time.sleep(0.002)  # so that even a version written just now is older than that
        with _Change(self):
            self.table.optimize(cleanup_older_than=age, delete_unverified=True)
        if held is None:
            on_disk.remove_older_statistics(self.folder, self.commit_read)
        self.make_commit(pruning=False)
        on_disk.held_since(self.folder, self.commit_read)


class _Change:
    """A change of an index's table: errors become one line, and what was read before is forgotten."""

    def __init__(self, index: "LanceIndex") -> None:
        """Around the next statement."""
        self._index = index
        self._before = (index.table.version, index.written_at)
        self._errors = lance_errors(index.folder)

    def __enter__(self) -> None:
        """Note the time, for pruning by age."""
        self._index.written_at = time.time() - MARGIN_S
        self._errors.__enter__()

    def __exit__(self, *exception: Any) -> None:
        """Begin to read anew. What made no version does not make the last one look younger than it is."""
        index, (version, written_at) = self._index, self._before
        if exception[0] is None:
            index.reread()
            if index.table.version == version:
                index.written_at = written_at
        else:
            index.forget()
            index.written_at = written_at
            # A merge may have been done before what failed: then no row is where it was read.
            with contextlib.suppress(Exception):
                index.reread()
        self._errors.__exit__(*exception)
