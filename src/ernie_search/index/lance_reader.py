"""Reading one version of a LanceDB table: vectors, words, rows."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search._util.files import atomic_write, storage_errors
from ernie_search._util.words import counted_words
from ernie_search.errors import ErnieSearchError, IndexStateError
from ernie_search.index.codecs import codec
from ernie_search.index.exact import ExactVectors, Int8Vectors, best_rows, longest
from ernie_search.index.filters import And, Eq, Filter, In, Not, Or, Value
from ernie_search.index.lance_files import CODEC
from ernie_search.index.projection import PROJECTION, Projection
from ernie_search.index.rows import column_of, in_order
from ernie_search.index.spec import AnnKind, IndexSpec
from ernie_search.index.statistics import Statistics
from ernie_search.index.stored_tokens import TokenCodec
from ernie_search.index.topk import Best, Ranking, top_ids, until_settled


def hashes(ids: Sequence[str]) -> NDArray[np.int64]:
    """64-bit hashes of ids: of this process alone, as Python salts them."""
    return np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))


class IdMap:
    """Where each id's row is. Ids of one hash are all found; the caller keeps the row that has the id."""

    def __init__(self, keys: NDArray[np.int64], rows: NDArray[np.uint64]) -> None:
        """From ``(n,)`` hashes and row addresses."""
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Addresses of the rows that may have these ids, without repetition."""
        wanted = np.unique(hashes(ids))
        first = np.searchsorted(self._keys, wanted, "left")
        last = np.searchsorted(self._keys, wanted, "right")
        places = [np.arange(start, stop) for start, stop in zip(first, last, strict=True) if stop > start]
        return self._rows[np.concatenate(places)].tolist() if places else []


class Seen:
    """Hashes of all ids so far, in a few sorted arrays that double in size: adding n costs n log n in all."""

    def __init__(self) -> None:
        """None yet."""
        self._runs: list[NDArray[np.int64]] = []

    def add(self, ids: Sequence[str]) -> None:
        """These are there now; again is no harm."""
        if not ids:
            return
        self._runs.append(np.sort(hashes(ids)))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")

    def any_of(self, ids: Sequence[str]) -> bool:
        """Whether one of them may have been added: yes for sure where it was, hardly ever where not."""
        keys = hashes(ids)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            if (run[places] == keys).any():
                return True
        return False


def to_sql(where: Filter) -> str:
    """The condition as SQL that is true or false for every row, never null."""
    if isinstance(where, And):
        return _joined([to_sql(part) for part in where.parts], "AND", "true")
    if isinstance(where, Or):
        return _joined([to_sql(part) for part in where.parts], "OR", "false")
    if isinstance(where, Not):
        return f"(NOT {to_sql(where.part)})"
    # Backticks: DataFusion would lower a bare name's letters.
    column = f"`{column_of(where.field)}`"
    if isinstance(where, Eq):
        return f"({column} IS NOT NULL AND {column} = {literal(where.value)})"
    if isinstance(where, In):
        return (
            f"({column} IS NOT NULL AND {column} IN ({', '.join(map(literal, where.values))}))"
            if (where.values)
            else "(false)"
        )
    bounds = ((">", where.above), (">=", where.at_least), ("<", where.below), ("<=", where.at_most))
    tests = [f"{column} {sign} {literal(bound)}" for sign, bound in bounds if bound is not None]
    return _joined([f"{column} IS NOT NULL", *tests], "AND", "true")


def one_of(ids: list[str]) -> str:
    """The condition that ``id`` is one of these."""
    return f"`id` IN ({', '.join(map(literal, ids))})"


def literal(value: Value) -> str:
    """A value in SQL; quotes in strings are doubled, nothing else needs escaping."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _joined(parts: list[str], word: str, empty: str) -> str:
    return f"({f' {word} '.join(parts)})" if parts else f"({empty})"


SCAN_ROWS = 8_192
"""Rows a batch when all are read; with 100 fp16 tokens of 128 dimensions a row, 200 MB."""

GRAPH_PASSAGES = 250_000
"""Passages a graph of the approximate index: more graphs are built faster and in less memory, but each one
that is searched costs the same again."""

LIST_PASSAGES = 256
"""LanceDB trains no more lists than one for so many passages."""

LEAST_PROBES, PROBE_SHARE = 16, 12
LEAST_EF, EF_SHARE = 150, 10
"""Defaults of an approximate search, see ``IndexSpec``; ``benchmarks/index_scale.py`` measures them."""

CANDIDATES, LEAST_CANDIDATES = 2, 50
"""Passages that LanceDB's word index finds for every hit asked for, to be scored again."""

LEAST_REFINED = 200
"""Candidates that are scored again at least; one bit a dimension orders the ten best only roughly."""

LEAST_ONE_BIT_DIM = 128
"""One bit a dimension errs by the inverse root of their number (Gao & Long 2024, RaBitQ): at 16 dimensions
the best 110 of 400 passages held 183 of 200 hits. Below, ``ivf_sq`` is made; it is small there anyway."""

CODES = {"ivf_hnsw_sq": "int8", "ivf_sq": "int8", "ivf_pq": "product codes", "ivf_rq": "1 bit"}
"""What each approximate index compares; LanceDB scores the best again with the full vectors."""


PANICS = ("PanicException", "RustPanic")
"""What pyo3 makes of a panic; the first where it was awaited, the second where it was not."""


class LanceReader:
    """What a table holds at the version it was opened at; made anew after a change."""

    def __init__(self, folder: Path, table: Any, spec: IndexSpec) -> None:
        """Read ``table`` of the index in ``folder``."""
        self.folder, self.table, self.spec = folder, table, spec
        with lance_errors(folder):
            self.passages: int = table.count_rows()
            self.indexes = {one.columns[0]: one for one in table.list_indices()}
        self._vectors: ExactVectors | Int8Vectors | None = None
        self._map: IdMap | None = None

    @property
    def dense_format(self) -> str:
        """How vectors are compared before the best are scored with the full ones."""
        if not self.approximate:
            return self.spec.dense if self.passages < self.spec.exact_below else "fp32"
        return CODES[ann_for(self.spec)]

    @property
    def memory_bytes(self) -> int:
        """What questions make it hold: vectors, or only where each passage lies on the disk."""
        if self.approximate or self.passages >= self.spec.exact_below:
            return 16 * self.passages
        one = self.spec.dim + 24 if self.dense_format == "int8" else 4 * self.spec.dim
        return one * self.passages

    @property
    def approximate(self) -> bool:
        """Whether questions are answered from the approximate index, if nothing else is asked for."""
        return "dense" in self.indexes and self.passages >= self.spec.exact_below

    def nearest(
        self, vectors: NDArray[np.float32], k: int, where: Filter | None, exact: bool
    ) -> list[Ranking]:
        """The ``k`` best for each of the ``(Q, D)`` vectors."""
        if self.approximate and not exact:
            return [self._settled(vector, k, where) for vector in vectors]
        if self.passages < max(self.spec.exact_below, 1):
            if self._vectors is None:
                self._vectors = self._held()
            allowed = None
            if where is not None:
                allowed = [one for part in self.scan(["id"], where) for one in part.column("id").to_pylist()]
            return self._vectors.nearest(vectors, k, allowed)
        return self._streamed(vectors, k, where)

    def bm25(self, text: str, k: int, where: Filter | None, statistics: Statistics) -> Ranking:
        """The ``k`` best by words.

        LanceDB's own ranking has other parameters (``index/bm25.py``) and rounds lengths, so it only chooses
        candidates, more than are asked for; their scores and their order are those of every backend.
        """
        from lancedb.query import MatchQuery

        found = counted_words(text, statistics.language)
        if not found or not self.passages:
            return Ranking([], np.zeros(0, np.float32))
        query = MatchQuery(" ".join(found), "words")  # type: ignore[call-arg]  # mypy misses its defaults
        stored: dict[str, str] = {}

        def ask(limit: int) -> tuple[list[str], list[float]]:
            search = self.table.search(query, query_type="fts").select(["id", "words", "_score"]).limit(limit)
            if where is not None:
                search = search.where(to_sql(where), prefilter=True)
            with lance_errors(self.folder):
                table = search.to_arrow()
            ids = table["id"].to_pylist()
            stored.update(zip(ids, table["words"].to_pylist(), strict=True))
            return ids, table["_score"].to_pylist()

        ids = until_settled(ask, max(CANDIDATES * k, LEAST_CANDIDATES), self.passages).ids
        return top_ids(ids, statistics.scores(text, [stored[one] for one in ids]), k)

    def fetch(self, ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """Rows by id, in the order asked for."""
        names = list(dict.fromkeys(["id", *columns]))
        if self._map is None:
            parts = list(self.scan(["id", "_rowid"], None))
            keys = [hashes(part.column("id").to_pylist()) for part in parts]
            rows = [part.column("_rowid").to_numpy() for part in parts]
            self._map = IdMap(
                np.concatenate([np.zeros(0, np.int64), *keys]),
                np.concatenate([np.zeros(0, np.uint64), *rows]),
            )
        addresses = self._map.rows(ids)
        with lance_errors(self.folder):
            found = (
                self.table.take_row_ids(addresses).select(names).to_arrow()
                if addresses
                else self.table.schema.empty_table().select(names)
            )
        return in_order(found, ids, columns, self.passages)

    def scan(self, columns: Sequence[str], where: Filter | None) -> Iterator[pa.RecordBatch]:
        """Those columns of all rows (that meet the filter)."""
        query = self.table.search().select([one for one in columns if one != "_rowid"])
        if "_rowid" in columns:
            query = query.with_row_id(True)
        if where is not None:
            query = query.where(to_sql(where))
        with lance_errors(self.folder):
            for batch in query.to_batches(SCAN_ROWS):
                yield batch.select(list(columns))

    def count(self, where: Filter | None) -> int:
        """Rows that meet the filter."""
        if where is None:
            return self.passages
        with lance_errors(self.folder):
            return int(self.table.count_rows(to_sql(where)))

    def vectors_held(self, ids: Sequence[str]) -> NDArray[np.float32] | None:
        """Full vectors ``(n, D)`` of passages; None where they are not in memory, or an id is unknown."""
        if not isinstance(self._vectors, ExactVectors):
            return None
        place = self._vectors.place
        rows = [place.get(one, -1) for one in ids]
        return None if -1 in rows else self._vectors.dense[rows]

    def _held(self) -> ExactVectors | Int8Vectors:
        """All vectors in memory, as the spec says."""
        dim, scanned = self.spec.dim, self.scan(["id", "dense"], None)
        if self.spec.dense == "int8":
            parts = ((part.column("id").to_pylist(), _stacked([part], dim)) for part in scanned)
            return Int8Vectors(parts, dim, lambda ids: _stacked(self.fetch(ids, ["dense"]).to_batches(), dim))
        batches = list(scanned)
        ids = [one for part in batches for one in part.column("id").to_pylist()]
        return ExactVectors(ids, _stacked(batches, dim))

    def _settled(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """From the index, with ties at the k-th place broken by id: it breaks them as it likes."""

        def ask(limit: int) -> tuple[list[str], list[float]]:
            found = self._approximate(vector, limit, where)
            return found.ids, found.scores.tolist()

        return until_settled(ask, k, self.passages)

    def _approximate(self, vector: NDArray[np.float32], k: int, where: Filter | None) -> Ranking:
        """From the index, the best of its candidates scored again with the full vectors."""
        spec, limit = self.spec, min(k, self.passages)
        query = self.table.search(vector, vector_column_name="dense", query_type="vector").distance_type(
            "dot"
        )
        refine = refine_for(spec, limit)
        query = query.select(["id", "_distance"]).limit(limit).refine_factor(refine)
        # Of a filter, too few passages in these lists may meet it, so LanceDB may read on to the last list;
        # without one it must not: it would, always, at 1,000,000 passages in three times the time.
        probes = probes_for(spec, self.passages)
        query = query.minimum_nprobes(probes).maximum_nprobes(probes if where is None else 0)
        if spec.ann == "ivf_hnsw_sq":
            query = query.ef(max(ef_for(spec, limit), refine * limit))  # fewer are refused
        if where is not None:
            query = query.where(to_sql(where), prefilter=True)
        with lance_errors(self.folder):
            table = query.to_arrow()
        ids, scores = table["id"].to_pylist(), (1.0 - table["_distance"].to_numpy()).astype(np.float32)
        return top_ids(ids, scores, len(ids))

    def _streamed(self, vectors: NDArray[np.float32], k: int, where: Filter | None) -> list[Ranking]:
        """Every vector compared, a batch of rows at a time."""
        best = [Best(k) for _ in vectors]
        for part in self.scan(["id", "dense"], where):
            if not part.num_rows:
                continue
            part = part.sort_by("id")  # ties at the k-th place are by id
            ids, dense = part.column("id").to_pylist(), _stacked([part], self.spec.dim)
            found = best_rows(dense, vectors, k, longest(dense))
            for one, (rows, scores) in zip(best, found, strict=True):
                one.add([ids[row] for row in rows.tolist()], scores)
        return [one.ranking() for one in best]


def partitions_for(spec: IndexSpec, passages: int) -> int:
    """Lists of an approximate index over so many passages."""
    if spec.partitions:
        return spec.partitions
    if spec.ann == "ivf_hnsw_sq":
        return max(1, passages // GRAPH_PASSAGES)
    return int(max(1, min(round(passages**0.5), passages // LIST_PASSAGES)))


def ann_for(spec: IndexSpec) -> AnnKind:
    """The approximate index that is made; LanceDB packs one bit a dimension into whole bytes only."""
    one_bit = spec.dim >= LEAST_ONE_BIT_DIM and spec.dim % 8 == 0
    return "ivf_sq" if spec.ann == "ivf_rq" and not one_bit else spec.ann


def probes_for(spec: IndexSpec, passages: int) -> int:
    """Lists that a search reads."""
    partitions = partitions_for(spec, passages)
    if spec.probes or spec.ann == "ivf_hnsw_sq":
        return min(spec.probes or partitions, partitions)
    return min(max(LEAST_PROBES, partitions // PROBE_SHARE), partitions)


def ef_for(spec: IndexSpec, k: int) -> int:
    """Candidates that a search of a graph keeps."""
    return spec.ef or max(LEAST_EF, EF_SHARE * k)


def refine_for(spec: IndexSpec, k: int) -> int:
    """Candidates for each of ``k`` hits that are scored again with the full vectors."""
    return max(spec.refine, -(-LEAST_REFINED // k)) if spec.ann == "ivf_rq" else spec.refine


@contextlib.contextmanager
def lance_errors(folder: Path) -> Iterator[None]:
    """Turn what LanceDB raises for broken or missing files into one line that names the index.

    Raises:
        StorageError: the disk is full or read-only.
        IndexStateError: anything else that it could not do.
    """
    try:
        with storage_errors(folder):
            yield
    except (ErnieSearchError, GeneratorExit):
        raise
    except BaseException as error:
        # A panic of its Rust code is an exception of a class that nobody can import, Exception or not.
        if not isinstance(error, RuntimeError | OSError | ValueError | pa.ArrowException) and (
            type(error).__name__ not in PANICS
        ):
            raise
        reason = str(error).partition("\n")[0][:300]
        raise IndexStateError(
            f"{folder}: LanceDB could not continue ({reason}); run: ernie-search index verify {folder}"
        ) from error


def _stacked(parts: Sequence[pa.RecordBatch], dim: int) -> NDArray[np.float32]:
    arrays = [np.asarray(part.column("dense").flatten(), np.float32).reshape(-1, dim) for part in parts]
    return np.concatenate([np.zeros((0, dim), np.float32), *arrays])


SMALLEST_TRAINED = 256
"""LanceDB trains product codes on at least so many vectors."""
GRAPH_M, GRAPH_EF = 20, 150
"""Neighbours in a graph, LanceDB's default; candidates while it is built, the lower end of what it advises:
half the time of its default of 300."""


def write_codec(folder: Path, made: TokenCodec) -> None:
    """Keep what a trained codec needs to read its blobs again; most need nothing."""
    if made.state():
        with atomic_write(folder / CODEC, "wb") as handle:
            np.savez(handle, **made.state())  # type: ignore[arg-type]


def read_codec(folder: Path, spec: IndexSpec) -> TokenCodec | None:
    """The codec of an index's token matrices; None where it holds none."""
    if not spec.with_tokens:
        return None
    path = folder / CODEC
    if not path.is_file():
        return codec(spec.tokens, spec.token_dim)
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        return codec(spec.tokens, spec.token_dim, {name: arrays[name] for name in arrays.files})


def read_projection(folder: Path, spec: IndexSpec) -> Projection | None:
    """The projection of an index's token vectors; None where they have none.

    Raises:
        IndexStateError: it is missing, damaged or another one.
    """
    if not spec.projection:
        return None
    found = Projection.read(folder)
    if found is None or found.digest != spec.projection:
        state = "missing" if found is None else "not the one that the index was made with"
        raise IndexStateError(f"{folder / PROJECTION}: {state}; restore the index from a copy")
    return found


def word_index() -> Any:
    """BM25 over a column of words that are already found, lowered and separated: nothing is dropped again."""
    from lancedb.index import FTS

    return FTS(
        base_tokenizer="whitespace",
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
        lower_case=False,
        max_token_length=None,
    )


def vector_index(spec: IndexSpec, passages: int) -> Any:
    """The approximate index that the spec asks for."""
    from lancedb.index import HnswSq, IvfPq, IvfRq, IvfSq

    partitions = partitions_for(spec, passages)
    if spec.ann == "ivf_hnsw_sq":
        return HnswSq(distance_type="dot", num_partitions=partitions, m=GRAPH_M, ef_construction=GRAPH_EF)
    kind = {"ivf_rq": IvfRq, "ivf_sq": IvfSq, "ivf_pq": IvfPq}[ann_for(spec)]
    return kind(distance_type="dot", num_partitions=partitions)
