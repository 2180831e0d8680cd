"""Passages and judgements on disk while mining: what is looked up is read, and memory stays the same."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from ernie_search.data import Collection
from ernie_search.data.collection import Judgement, Located
from ernie_search.data.near_duplicates import shingles
from ernie_search.data.qrels import contradiction
from ernie_search.errors import DataError, StorageError
from ernie_search.types import Query

RECENT = 2048
"""Passages whose 4-grams are kept ready: neighbouring questions tend to find the same ones."""
CACHE_KIB = 16 * 1024
"""SQLite's own cache, in KiB."""


class Known(NamedTuple):
    """What is compared of a passage.

    Attributes:
        key: equal for equal texts, whatever their case and white space.
        grams: hashes of its 4-grams; empty for a shorter text, or where they were not asked for.
    """

    key: bytes
    grams: set[int]


class PassageTable:
    """Texts and judgements of a collection in a temporary file that the system removes by itself.

    SQLite makes the file in the system's temporary folder (TMPDIR names another) and unlinks it at once, so
    that nothing is left even after ``kill -9``. It needs as much disk as the corpus has text.

    Args:
        collection: read once.
        split: whose judgements count.
        grams: whether 4-grams will be asked for; without them no text is stored.

    Raises:
        DataError: what reading raises, two passages with one id, a pair that is judged in two ways, or no
            passage or judgement at all.
    """

    def __init__(self, collection: Collection, split: str, *, grams: bool) -> None:
        self._source = collection.source
        self._grams = grams
        self._base = sqlite3.connect("")  # "": a temporary file, not ":memory:"
        self.passage = lru_cache(maxsize=RECENT)(self._passage)
        try:
            for pragma in ("temp_store=1", "journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}"):
                self._base.execute(f"PRAGMA {pragma}")
            self._base.execute(
                "CREATE TABLE passages (row INTEGER PRIMARY KEY, id TEXT, key BLOB, text TEXT)"
            )
            self._base.execute(
                "CREATE TABLE judgements (query TEXT, passage TEXT, grade INTEGER, "
                "PRIMARY KEY (query, passage)) WITHOUT ROWID"
            )
            self._base.execute("CREATE TABLE seen (query TEXT PRIMARY KEY) WITHOUT ROWID")
            self._base.execute("CREATE TABLE questions (query TEXT PRIMARY KEY, key BLOB) WITHOUT ROWID")
            self._load_judgements(collection, split)
            self._load_questions(collection, split)
            self._load_passages(collection)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "PassageTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop everything."""
        self.passage.cache_clear()
        self._base.close()

    def first_time(self, query: str) -> bool:
        """Note that the question came; False if it did before."""
        return self._base.execute("INSERT OR IGNORE INTO seen VALUES (?)", (query,)).rowcount == 1

    def positives(self, query: str) -> list[str] | None:
        """Known relevant passages by id; None for a question without judgements."""
        rows = self._base.execute(
            "SELECT passage, grade FROM judgements WHERE query = ? ORDER BY passage", (query,)
        ).fetchall()
        return [passage for passage, grade in rows if grade > 0] if rows else None

    def question_key(self, query: str) -> bytes | None:
        """What :func:`text_key` says of a question's text; None for one whose text the collection lacks."""
        found = self._base.execute("SELECT key FROM questions WHERE query = ?", (query,)).fetchone()
        return None if found is None else bytes(found[0])

    def id_of(self, row: int) -> str:
        """The id of the passage at a place (from 0) of the corpus."""
        found: str = self._base.execute("SELECT id FROM passages WHERE row = ?", (row,)).fetchone()[0]
        return found

    def _passage(self, passage_id: str) -> Known | None:
        """What is compared of a passage, or None for an unknown id. Recent answers are kept."""
        columns = "key, text" if self._grams else "key, ''"
        found = self._base.execute(f"SELECT {columns} FROM passages WHERE id = ?", (passage_id,)).fetchone()
        return None if found is None else Known(found[0], set(map(hash, shingles(found[1]))))

    def _load_judgements(self, collection: Collection, split: str) -> None:
        for where, row in _judgements(collection, split):
            values = (row.query, row.passage, row.grade)
            if self._base.execute("INSERT OR IGNORE INTO judgements VALUES (?, ?, ?)", values).rowcount == 1:
                continue
            earlier = self._base.execute(
                "SELECT grade FROM judgements WHERE query = ? AND passage = ?", values[:2]
            ).fetchone()[0]
            if earlier != row.grade:
                raise contradiction(where, row, earlier)
        count = self._base.execute("SELECT COUNT(*) FROM (SELECT DISTINCT query FROM judgements)")
        self.judged: int = count.fetchone()[0]
        if not self.judged:
            raise DataError(f"{self._source}: split {split!r} has no questions; add judgements to mine for")

    def _load_questions(self, collection: Collection, split: str) -> None:
        self._base.executemany(
            "INSERT OR IGNORE INTO questions VALUES (?, ?)",
            ((query.id, text_key(query.text)) for query in _questions(collection, split)),
        )

    def _load_passages(self, collection: Collection) -> None:
        self._base.executemany(
            "INSERT INTO passages VALUES (?, ?, ?, ?)",
            (
                (row, passage.id, text_key(passage.full_text), passage.full_text if self._grams else None)
                for row, passage in enumerate(collection.passages())
            ),
        )
        self.passages: int = self._base.execute("SELECT COUNT(*) FROM passages").fetchone()[0]
        if not self.passages:
            raise DataError(f"{self._source}: the corpus has no passage; add some to mine from")
        try:
            # After the passages: sorted once, instead of a random place in the tree for each.
            self._base.execute("CREATE UNIQUE INDEX by_id ON passages (id)")
        except sqlite3.IntegrityError:
            repeated = self._base.execute("SELECT id FROM passages GROUP BY id HAVING COUNT(*) > 1 LIMIT 1")
            raise DataError(
                f"{self._source}: two passages have the id {repeated.fetchone()[0]!r}; ids must differ"
            ) from None


def text_key(text: str) -> bytes:
    """16 bytes that are equal for texts that differ in case and white space alone."""
    return blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).digest()


@contextlib.contextmanager
def temporary_file_errors() -> Iterator[None]:
    """Turn SQLite's refusals (its temporary file finds no room) into one line that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"mining's temporary file: {error}; free some space, or name another folder in TMPDIR"
        ) from error


def _questions(collection: Collection, split: str) -> Iterable[Query]:
    """The split's questions, and maybe others': streamed where the collection can."""
    if isinstance(collection, Located) and split in collection.splits:
        return (query for _, query in collection.located_queries())
    return collection.queries(split)


def _judgements(collection: Collection, split: str) -> Iterator[tuple[str, Judgement]]:
    """Each judgement with its place: streamed where the collection can."""
    if isinstance(collection, Located) and split in collection.splits:
        yield from collection.located_judgements(split)
        return
    for query, row in collection.qrels(split).items():
        for passage, grade in row.items():
            yield f"{collection.source}: split {split!r}", Judgement(query, passage, grade)
