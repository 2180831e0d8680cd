"""What every index offers: one interface, and what follows from its few readings whatever the backend."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search._util.files import JSON, did_you_mean
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index.exact import inner_products
from ernie_search.index.filters import Filter, is_unicode, shown
from ernie_search.index.maxsim import maxsim_scores
from ernie_search.index.projection import Projection
from ernie_search.index.rows import column_of, row_schema
from ernie_search.index.spec import IndexSpec
from ernie_search.index.statistics import Statistics, count_statistics
from ernie_search.index.stored_tokens import StoredTokens, TokenCodec
from ernie_search.index.token_ids import unpack_many
from ernie_search.index.topk import Ranking, reciprocal_rank
from ernie_search.shards import PIECE
from ernie_search.types import Hit, Passage

OpenMode = Literal["r", "w"]
"""``r``: what was committed when it was opened. ``w``: may change it; one at a time."""

FUSED_DEPTH = 100
"""Passages that each of both rankings gives to a fusion, if nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class TokenMatrices:
    """The token matrices of n passages, one after the other.

    Attributes:
        values: ``(T, d)`` float16.
        token_ids: ``(T,)`` int32, the vocabulary ids of those rows.
        offsets: ``(n + 1,)`` int64; passage i owns rows ``offsets[i]:offsets[i + 1]``.
    """

    values: NDArray[np.float16]
    token_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IndexStats:
    """Counts and sizes of an index, and how it answers.

    Attributes:
        kind: the backend.
        passages, dim: of the single vectors.
        tokens, token_dim: of the token matrices, all together.
        memory_bytes: what questions make it hold in memory.
        model_name, model_fingerprint: the model that made the vectors.
        search: how a question is answered: "exact" or the approximate index's kind.
        unindexed: passages that the approximate index lacks; they are searched exactly beside it.
        disk_bytes: of all files; 0 where there are none, or they are elsewhere.
        dense_format: how vectors are compared: "fp32", or by codes ("int8", "1 bit", ...) whose best are
            scored again with the full vectors.
        token_format: how token matrices are stored.
        fields: what filters can ask for.
        commit: the number of the commit that is read; 0 where there are none.
    """

    kind: str
    passages: int
    dim: int
    tokens: int
    token_dim: int
    memory_bytes: int
    model_name: str
    model_fingerprint: str
    search: str = "exact"
    unindexed: int = 0
    disk_bytes: int = 0
    dense_format: str = "fp32"
    token_format: str = "none"
    fields: dict[str, str] = field(default_factory=dict)
    commit: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an index's passages come from.

    Attributes:
        source: the collection or folder of shards; a path is as seen from the index's folder.
        data: fingerprint of the source's content and how its passages were cut.
        state: "filling" until all of it is in the index; then "complete"; "changed" once passages were added,
            replaced or removed by other means.
        cut: how a collection's passages were cut, ``WORDS/OVERLAP``; "" if they were not, or by files' own
            rules.
    """

    source: str
    data: str
    state: Literal["filling", "complete", "changed"]
    cut: str = ""


class Index(ABC):
    """Passages with vectors, token matrices, words and typed fields. All scores: higher is better.

    Equal scores are in the order of the passages' ids. A question's list does not depend on the others that
    are asked with it. ``k`` above the number of passages gives all of them. A zero vector is a passage or
    question like any other, whose scores are all 0.
    """

    capabilities: frozenset[str]
    """Of "bm25", "hybrid", "maxsim" (the backend scores token matrices itself), "filters", "multiprocess",
    "persistent" (a commit outlives the process)."""

    origin: Origin | None = None
    """Where its passages come from, if it remembers that: an index on disk does, as of its last commit."""

    folder: Path | None = None
    """Where it lies on this disk; None for one in memory or on a server."""

    def __init__(
        self,
        spec: IndexSpec,
        codec: TokenCodec | None,
        mode: OpenMode = "w",
        projection: Projection | None = None,
    ) -> None:
        """For backends: what is stored, how its tokens are written, and whether it may be changed.

        Raises:
            SettingsError: ``projection`` is not the one of which the spec has the digest.
        """
        if spec.projection != ("" if projection is None else projection.digest):
            raise SettingsError(
                f"projection {spec.projection!r} of the spec: give the projection itself, and no other"
            )
        self.spec = spec
        self.codec = codec
        self.projection = projection
        self.mode: OpenMode = mode
        self._has_parents: bool | None = None
        self._statistics: Statistics | None = None

    # Writing

    @abstractmethod
    def upsert(self, batch: pa.RecordBatch) -> int:
        """Add passages, or replace those with the same ids; the whole batch or nothing of it.

        Args:
            batch: see ``make_batch``.

        Returns:
            Passages written.

        Raises:
            DataError, IndexStateError: see ``to_rows``.
            StorageError: the disk is full or read-only; nothing of the batch was kept.
        """

    def rewrite(self, rows: pa.Table, passages: Sequence[Passage]) -> int:
        """Write passages with the vectors of stored rows that have their words: nothing is encoded again.

        Args:
            rows: all columns of such a row for each passage, as ``fetch`` gives them.
            passages: whose ids, places and fields the rows get.

        Returns:
            Passages written.

        Raises:
            SettingsError: it is not an index on disk.
        """
        raise SettingsError("only an index on disk uses stored vectors again")

    @abstractmethod
    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> int:
        """Remove passages by id (unknown ones are no error) or by filter; the number removed.

        Raises:
            SettingsError: both or neither are given, or see ``fit_filter``.
        """

    @abstractmethod
    def commit(self, origin: Origin | None = None) -> None:
        """Make everything since the last commit durable and visible to readers that open from now on.

        Args:
            origin: where the passages come from, if that changed; noted where a backend remembers it.
        """

    @abstractmethod
    def optimize(self) -> None:
        """Merge small files, bring indexes up to date, drop what no reader uses; commits, too."""

    def optimizing(self) -> Iterator[None]:
        """``optimize`` in steps: it yields between two, where the index may be read, written and closed."""
        self.optimize()
        yield

    # Reading

    @abstractmethod
    def __len__(self) -> int:
        """Passages held."""

    @abstractmethod
    def nearest(
        self, dense: NDArray[np.float32], k: int = 10, *, where: Filter | None = None, exact: bool = False
    ) -> list[Ranking]:
        """Ids and scores of the ``k`` best for each of the ``(Q, D)`` vectors (or one ``(D,)``).

        Args:
            dense: question vectors.
            k: hits for each; fewer if there are not as many.
            where: only passages that meet it.
            exact: compare with every vector, also where there is an approximate index.

        Raises:
            SettingsError, DataError, IndexStateError: see ``check_vectors`` and ``fit_filter``.
        """

    @abstractmethod
    def bm25(self, texts: Sequence[str], k: int = 10, *, where: Filter | None = None) -> list[Ranking]:
        """Ids and BM25 scores of the ``k`` best for each text; only passages that share a word with it.

        Raises:
            SettingsError: ``k`` below 1, or see ``fit_filter``.
            DataError: an empty text.
        """

    @abstractmethod
    def fetch(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Stored columns (see ``row_schema``; all if None) of passages, a row for each id, in that order.

        ``tokens`` are bytes of the index's ``codec``.

        Raises:
            IndexStateError: an id is unknown.
            SettingsError: a column is unknown.
        """

    @abstractmethod
    def scan(self, columns: Sequence[str], where: Filter | None = None) -> Iterator[pa.RecordBatch]:
        """Those columns of all passages (that meet the filter), in batches, in no particular order."""

    @abstractmethod
    def count(self, where: Filter | None = None) -> int:
        """Passages that meet the filter."""

    @abstractmethod
    def stats(self) -> IndexStats:
        """Counts, sizes, and how questions are answered."""

    @abstractmethod
    def damage(self) -> list[str]:
        """What is wrong with the backend's files: a line each, naming the file. Rows are ``verify``'s."""

    def check_files(self) -> None:  # noqa: B027 - most have none
        """Refuse to continue where files are missing, cut or overwritten, at the price of a ``stat`` each.

        Raises:
            IndexStateError: naming the first such file.
            StorageError: the folder may not be read any more.
        """

    def newest(self, *, trust: bool = True) -> "Index":
        """Another opening for reading, at the newest commit; this one stays as it is.

        Files never change once a commit names them, so only new ones are compared with their SHA-256: the
        price is that of a commit, not of the whole index.

        Args:
            trust: take the files that are open here for sound; without it all are compared.

        Raises:
            IndexStateError: a new file is damaged, or the index is gone.
            SettingsError: it is not an index on disk.
        """
        raise SettingsError("only an index on disk is opened again at its newest commit")

    def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Release files and locks; what was not committed is gone."""

    # What follows

    def __enter__(self) -> "Index":
        """``with open_index(...) as index:`` closes it."""
        return self

    def __exit__(self, *exception: object) -> None:
        """See ``close``."""
        self.close()

    @property
    def model_name(self) -> str:
        """The model that made the vectors."""
        return self.spec.model_name

    @property
    def model_fingerprint(self) -> str:
        """That model's fingerprint; no other model's vectors are taken or compared."""
        return self.spec.model_fingerprint

    @property
    def model_folder(self) -> Path | None:
        """Where the model that made the vectors was, if that is noted; it may have been moved since."""
        return Path(self.spec.model_path) if self.spec.model_path else None

    @property
    def writable(self) -> bool:
        """Whether it was opened so that passages can be added and removed."""
        return self.mode == "w"

    @property
    def has_tokens(self) -> bool:
        """Whether token matrices are stored."""
        return self.spec.with_tokens

    @property
    def has_parents(self) -> bool:
        """Whether any passage is a piece of a longer document."""
        if self._has_parents is None:
            self._has_parents = any(
                batch.column("parent").null_count < batch.num_rows for batch in self.scan(["parent"])
            )
        return self._has_parents

    def search(
        self,
        dense: NDArray[np.float32] | None = None,
        k: int = 10,
        *,
        text: Sequence[str] | None = None,
        where: Filter | None = None,
        candidates: int | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The ``k`` best passages by vector, by words, or by both fused by their ranks (reciprocal rank).

        Args:
            dense: ``(Q, D)`` question vectors.
            k: hits for each.
            text: Q questions.
            where: only passages that meet it.
            candidates: how deep each ranking goes into the fusion; ``FUSED_DEPTH`` or ``k`` if None.
            exact: as for ``nearest``.

        Returns:
            Hits with text, title and fields; ``stages`` has "dense" and "bm25" where they looked.

        Raises:
            SettingsError: neither ``dense`` nor ``text``; and as ``nearest`` and ``bm25``.
            DataError: another number of vectors than of texts.
        """
        if isinstance(text, str):
            text = [text]
        if dense is None and text is None:
            raise SettingsError("search needs question vectors (dense), questions (text), or both")
        depth = k if dense is None or text is None else max(k, candidates or FUSED_DEPTH)
        named: dict[str, list[Ranking]] = {}
        if dense is not None:
            named["dense"] = self.nearest(dense, depth, where=where, exact=exact)
        if text is not None:
            named["bm25"] = self.bm25(text, depth, where=where)
        if len({len(rankings) for rankings in named.values()}) > 1:
            raise DataError(f"{len(named['dense'])} question vectors, but {len(named['bm25'])} texts")
        results = []
        for place in range(len(next(iter(named.values())))):
            stages = {name: rankings[place] for name, rankings in named.items()}
            best = (
                reciprocal_rank(list(stages.values()), k) if len(stages) > 1 else next(iter(stages.values()))
            )
            scored = {
                name: dict(zip(one.ids, one.scores.tolist(), strict=True)) for name, one in stages.items()
            }
            pairs = zip(self.get(best.ids), best.scores.tolist(), strict=True)
            results.append([_hit(passage, score, scored) for passage, score in pairs])
        return results

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Passages by id, in the order asked for.

        Raises:
            IndexStateError: an id is unknown.
        """
        names = ["id", "text", "title", "fields", *PIECE]
        found = self.fetch(ids, names)
        columns = [found[name].to_pylist() for name in names]
        return [
            Passage(one, text, title, JSON.decode(fields), parent, start)
            for one, text, title, fields, parent, start in zip(*columns, strict=True)
        ]

    def parents(self, ids: Sequence[str]) -> list[str]:
        """The document that each passage is a piece of; its own id where it stands alone."""
        if not self.has_parents:
            return list(ids)
        parents = self.fetch(ids, ["parent"])["parent"].to_pylist()
        return [one if parent is None else parent for one, parent in zip(ids, parents, strict=True)]

    def fetch_tokens(self, ids: Sequence[str]) -> TokenMatrices:
        """The token matrices of passages as fp16, in the order asked for.

        Raises:
            IndexStateError: an id is unknown, or no token matrices are stored.
        """
        codec = self._tokens_codec()
        found = self.fetch(ids, ["tokens", "token_ids"])
        vocabulary = found["token_ids"].to_pylist()
        stored = codec.join(found["tokens"].to_pylist(), vocabulary)
        if stored.scales is not None or stored.values.dtype not in (np.float16, np.float32):
            values = np.concatenate([np.zeros((0, codec.dim), np.float32), *stored.matrices()])
        else:
            values = stored.values
        numbers = unpack_many(vocabulary, np.diff(stored.offsets).tolist())
        return TokenMatrices(values.astype(np.float16), numbers, stored.offsets)

    def stored_tokens(self, ids: Sequence[str]) -> StoredTokens:
        """The token matrices of passages in the type they are stored in, in the order asked for.

        Raises:
            IndexStateError: see ``fetch_tokens``.
        """
        codec = self._tokens_codec()
        found = self.fetch(ids, ["tokens", "token_ids"] if codec.needs_ids else ["tokens"])
        return codec.join(
            found["tokens"].to_pylist(), found["token_ids"].to_pylist() if codec.needs_ids else ()
        )

    def late_scores(self, query_tokens: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float32]:
        """Late interaction of one question with passages: MaxSim as a mean over the question's tokens.

        Args:
            query_tokens: ``(Lq, d)``.
            ids: n passages.

        Returns:
            ``(n,)``; see ``maxsim_scores``.

        Raises:
            IndexStateError: see ``fetch_tokens``.
        """
        return maxsim_scores(query_tokens, self.stored_tokens(ids))

    def statistics(self) -> Statistics | None:
        """How often words and tokens occur here; None where the backend keeps no such counts.

        Where they are kept, a twentieth of the passages may have changed since they were counted.
        """
        if self._statistics is None:
            self._statistics = self._count_all()
        return self._statistics

    def _count_all(self) -> Statistics:
        columns = ["words", "token_ids", "token_count"] if self.has_tokens else ["words"]
        return count_statistics(self.scan(columns), self.language)

    @property
    def language(self) -> str:
        """How texts are made into words; see ``counted_words``."""
        return self.spec.language

    def word_scores(self, text: str, ids: Sequence[str]) -> NDArray[np.float32]:
        """BM25 of one question with passages, those that it shares no word with included.

        Args:
            text: the question.
            ids: n passages.

        Returns:
            ``(n,)``; 0 where they share no word. k1 is 0.9, b 0.4, as everywhere.

        Raises:
            IndexStateError: an id is unknown.
            SettingsError: the backend keeps no statistics.
        """
        statistics = self.statistics()
        if statistics is None:
            raise SettingsError("this kind of index keeps no statistics, so it cannot score single passages")
        return statistics.scores(text, self.fetch(ids, ["words"])["words"].to_pylist())

    def dense_scores(self, vector: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float32]:
        """Inner products of one question's vector with passages', as ``nearest`` has them.

        Args:
            vector: ``(D,)``.
            ids: n passages.

        Returns:
            ``(n,)``.

        Raises:
            IndexStateError: an id is unknown.
            DataError, IndexStateError: see ``check_vectors``.
        """
        asked = check_vectors(vector, self.spec.dim, 1)[0]
        column = self.fetch(ids, ["dense"])["dense"].combine_chunks()
        dense = np.asarray(column.flatten(), np.float32).reshape(-1, self.spec.dim)
        return inner_products(dense, asked)

    def _tokens_codec(self) -> TokenCodec:
        if self.codec is None:
            raise IndexStateError(
                "this index holds no token matrices, so late interaction is not possible; "
                "use mode dense or index again with tokens"
            )
        return self.codec

    def columns(self, names: Sequence[str] | None) -> list[str]:
        """Stored columns by name.

        A field goes by its own name; where every passage has a column of that name, that one is meant, and
        ``field_NAME`` is the field.

        Raises:
            SettingsError: an unknown one.
        """
        stored = row_schema(self.spec).names
        known = {one: column_of(one) for one in self.spec.fields} | {one: one for one in stored}
        if names is None:
            return list(stored)
        unknown = [one for one in names if one not in known]
        if unknown:
            raise SettingsError(f"no column {unknown[0]!r}{did_you_mean(unknown[0], list(known))}")
        return [known[one] for one in names]


def check_vectors(dense: NDArray[np.float32], dim: int, k: int) -> NDArray[np.float32]:
    """Question vectors as ``(Q, dim)`` contiguous float32, or a clear refusal.

    Raises:
        SettingsError: ``k`` below 1.
        DataError: there is no vector, or one holds NaN or infinity.
        IndexStateError: they have another number of dimensions than the index.
    """
    if k < 1:
        raise SettingsError(f"k={k}: must be at least 1")
    vectors = np.ascontiguousarray(dense, dtype=np.float32)
    if vectors.ndim == 1 and vectors.size:
        vectors = vectors[None]
    if vectors.ndim != 2 or vectors.size == 0:
        raise DataError(
            f"question vectors of shape {np.shape(dense)}: expected (questions, {dim}), at least one"
        )
    if vectors.shape[1] != dim:
        raise IndexStateError(
            f"question vectors have {vectors.shape[1]} dimensions, the index {dim}; "
            "use the model that made the index"
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DataError(f"question vector {row} holds NaN or infinity; check the model that made it")
    return vectors


def check_delete(ids: Sequence[str] | None, where: Filter | None) -> list[str]:
    """Refuse a deletion of nothing in particular.

    Returns:
        Those ids that a passage can have; none where there is a filter.

    Raises:
        SettingsError: both or neither are given, or one string where a list belongs.
    """
    if (ids is None) == (where is None):
        raise SettingsError("delete takes ids or a filter, one of them")
    if isinstance(ids, str):
        raise SettingsError(f"delete takes a list of ids, not the string {shown(ids)}; put it in brackets")
    return [one for one in ids or () if is_unicode(one)]


def _hit(passage: Passage, score: float, scored: dict[str, dict[str, float]]) -> Hit:
    stages = {name: values[passage.id] for name, values in scored.items() if passage.id in values}
    return Hit(
        passage.id,
        score,
        passage.text,
        passage.title,
        passage.fields,
        stages,
        parent=passage.parent,
        start=passage.start,
    )
