"""An index in memory: everything exact, nothing kept after the process; for tests and small collections."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search._util.words import counted_words
from ernie_search.index.bm25 import WordIndex, check_texts
from ernie_search.index.exact import ExactVectors, Int8Vectors
from ernie_search.index.filters import Filter, fit_filter, meets
from ernie_search.index.projection import Projection
from ernie_search.index.protocol import Index, IndexStats, Origin, check_delete, check_vectors
from ernie_search.index.rows import column_of, in_order, row_schema, to_rows
from ernie_search.index.spec import IndexSpec
from ernie_search.index.stored_tokens import TokenCodec
from ernie_search.index.topk import Ranking


class MemoryIndex(Index):
    """All rows in one Arrow table; indexes are made anew when something is asked after a change."""

    capabilities = frozenset({"bm25", "hybrid", "filters"})

    def __init__(
        self, spec: IndexSpec, codec: TokenCodec | None, projection: Projection | None = None
    ) -> None:
        """An empty index."""
        super().__init__(spec, codec, projection=projection)
        self._table = row_schema(spec).empty_table()
        self._vectors: ExactVectors | Int8Vectors | None = None
        self._words: WordIndex | None = None
        self._word_ids: list[str] = []

    def upsert(self, batch: pa.RecordBatch) -> int:
        """See ``Index``."""
        rows = to_rows(batch, self.spec, self.codec)
        new = set(rows["id"].to_pylist())
        kept = [one not in new for one in self._table["id"].to_pylist()]
        self._replace(pa.concat_tables([self._table.filter(pa.array(kept, pa.bool_())), rows]))
        return int(rows.num_rows)

    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> int:
        """See ``Index``."""
        named = check_delete(ids, where)
        gone = set(named) if where is None else set(self._allowed(where))
        kept = [one not in gone for one in self._table["id"].to_pylist()]
        self._replace(self._table.filter(pa.array(kept, pa.bool_())))
        return len(kept) - sum(kept)

    def commit(self, origin: Origin | None = None) -> None:
        """Nothing to do: there is one process, and it sees what it wrote."""

    def optimize(self) -> None:
        """Nothing to do: indexes are exact, and made when they are needed."""

    def __len__(self) -> int:
        """Passages held."""
        return int(self._table.num_rows)

    def nearest(
        self, dense: NDArray[np.float32], k: int = 10, *, where: Filter | None = None, exact: bool = False
    ) -> list[Ranking]:
        """See ``Index``; always exact."""
        vectors = check_vectors(dense, self.spec.dim, k)
        if self._vectors is None:
            column = self._table["dense"].combine_chunks()
            matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.spec.dim)
            ids = self._table["id"].to_pylist()
            if self.spec.dense == "int8":
                rows = {one: row for row, one in enumerate(ids)}
                self._vectors = Int8Vectors(
                    [(ids, matrix)], self.spec.dim, lambda some: matrix[[rows[one] for one in some]]
                )
            else:
                self._vectors = ExactVectors(ids, matrix)
        return self._vectors.nearest(vectors, k, None if where is None else self._allowed(where))

    def bm25(self, texts: Sequence[str], k: int = 10, *, where: Filter | None = None) -> list[Ranking]:
        """See ``Index``."""
        check_texts(texts, k)
        if self._words is None:
            pairs = sorted(zip(self._table["id"].to_pylist(), self._table["words"].to_pylist(), strict=True))
            self._word_ids = [one for one, _ in pairs]
            self._words = WordIndex(text.split() for _, text in pairs)
        allowed = None
        if where is not None:
            met = set(self._allowed(where))
            allowed = np.asarray([one in met for one in self._word_ids], dtype=np.bool_)
        found = (self._words.best(counted_words(text, self.language), k, allowed) for text in texts)
        return [Ranking([self._word_ids[row] for row in rows.tolist()], scores) for rows, scores in found]

    def fetch(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """See ``Index``."""
        return in_order(self._table, ids, self.columns(columns), len(self))

    def scan(self, columns: Sequence[str], where: Filter | None = None) -> Iterator[pa.RecordBatch]:
        """See ``Index``."""
        table = self._table
        if where is not None:
            met = set(self._allowed(where))
            table = table.filter(pa.array([one in met for one in table["id"].to_pylist()], pa.bool_()))
        yield from table.select(self.columns(columns)).to_batches()

    def count(self, where: Filter | None = None) -> int:
        """See ``Index``."""
        return len(self) if where is None else len(self._allowed(where))

    def stats(self) -> IndexStats:
        """See ``Index``."""
        counts = self._table["token_count"].to_numpy()
        return IndexStats(
            kind="memory",
            passages=len(self),
            dim=self.spec.dim,
            tokens=int(counts.sum()),
            token_dim=self.spec.token_dim,
            memory_bytes=int(self._table.nbytes),
            model_name=self.model_name,
            model_fingerprint=self.model_fingerprint,
            dense_format=self.spec.dense,
            token_format=self.spec.tokens,
            fields=dict(self.spec.fields),
        )

    def damage(self) -> list[str]:
        """There are no files."""
        return []

    def _replace(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        self._vectors = self._words = self._has_parents = self._statistics = None

    def _allowed(self, where: Filter) -> list[str]:
        fitted = fit_filter(where, self.spec.fields)
        names = ["id", *self.spec.fields]
        rows = zip(*(self._table[column_of(name)].to_pylist() for name in names), strict=True)
        return [row[0] for row in rows if meets(fitted, dict(zip(names, row, strict=True)))]
