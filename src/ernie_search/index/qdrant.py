"""An index in a Qdrant cluster: one collection with dense, sparse and token vectors, searched on the server.

Needs the extra ``qdrant``. What differs from the other backends: each point is durable and visible when
``upsert`` returns, so ``commit`` has nothing to do; a batch goes over in pieces, so a failure on the way
leaves the pieces that were sent (send it again: it is idempotent); and writers are not kept apart, the last
one wins.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search.errors import IndexStateError, SettingsError

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
except ModuleNotFoundError as error:
    raise SettingsError("Qdrant needs its client; install it: pip install 'ernie-search[qdrant]'") from error

from ernie_search._util.words import counted_words
from ernie_search.index.bm25 import check_texts
from ernie_search.index.codecs import codec
from ernie_search.index.filters import Filter, In, fit_filter, is_unicode
from ernie_search.index.projection import Projection
from ernie_search.index.protocol import Index, IndexStats, OpenMode, Origin, check_delete, check_vectors
from ernie_search.index.qdrant_points import (
    DENSE,
    TOKENS,
    WORDS,
    in_memory,
    make_collection,
    point_id,
    question_words,
    search_params,
    to_filter,
    to_points,
    to_rows_back,
)
from ernie_search.index.rows import in_order, to_rows
from ernie_search.index.spec import IndexSpec, check_same_spec, make_spec
from ernie_search.index.statistics import Statistics
from ernie_search.index.stored_tokens import TokenCodec
from ernie_search.index.topk import Ranking, until_settled

NOTE = "ernie_search"
"""Where a collection's metadata hold the spec."""

PROJECTION_NOTE = "ernie_search_projection"
"""And where the file of its projection, in base64: 260 kB at 384 to 128 dimensions."""

PIECE = 128
"""Points a request: with 100 tokens of 128 dimensions about 20 MB of JSON, of 32 that a server takes."""

T = TypeVar("T")


class QdrantIndex(Index):
    """One collection of a Qdrant server or cluster."""

    capabilities = frozenset({"bm25", "hybrid", "maxsim", "filters", "multiprocess", "persistent"})

    def __init__(
        self,
        client: QdrantClient,
        name: str,
        spec: IndexSpec,
        mode: OpenMode,
        projection: Projection | None = None,
    ) -> None:
        """For ``open`` and ``create``."""
        made = codec(spec.tokens, spec.token_dim) if spec.with_tokens else None
        super().__init__(spec, made, mode, projection)
        self._client, self._name = client, name

    @classmethod
    def open(
        cls,
        url: str,
        spec: IndexSpec | None,
        mode: OpenMode,
        *,
        trained: TokenCodec | None = None,
        projection: Projection | None = None,
    ) -> "QdrantIndex":
        """Connect to ``http://host:6333/collection``; with ``spec``, make it if there is none.

        Raises:
            SettingsError: no collection in the address.
            IndexStateError: no server answers, no such collection, or it is another's.
        """
        parts = urlsplit(url)
        name = parts.path.strip("/")
        if not name:
            raise SettingsError(f"{url}: names no collection; say qdrant+http://host:6333/my-collection")
        client = QdrantClient(url=f"{parts.scheme}://{parts.netloc}")
        if spec is not None and mode == "w" and not _answer(lambda: client.collection_exists(name), url):
            try:
                return cls.create(client, name, spec, projection)
            except IndexStateError:  # unless another loader made it between the two requests
                if not _answer(lambda: client.collection_exists(name), url):
                    raise
        return cls.connect(client, name, spec, mode)

    @classmethod
    def connect(
        cls, client: QdrantClient, name: str, spec: IndexSpec | None = None, mode: OpenMode = "r"
    ) -> "QdrantIndex":
        """Open a collection that is there.

        Raises:
            IndexStateError: it is not there, not one of ours, or made with another spec.
        """
        if not _answer(lambda: client.collection_exists(name), name):
            raise IndexStateError(f"{name}: no such collection; make one with: ernie-search index")
        metadata = _answer(lambda: client.get_collection(name), name).config.metadata or {}
        noted = metadata.get(NOTE)
        if not isinstance(noted, dict):
            raise IndexStateError(f"{name}: this collection was not made by ernie-search; choose another")
        found = make_spec(**noted)
        if spec is not None:
            check_same_spec(name, spec, found)
        projection = None
        if found.projection:
            raw = base64.b64decode(str(metadata.get(PROJECTION_NOTE, "")))
            projection = Projection.from_bytes(raw, f"{name}: metadata {PROJECTION_NOTE}")
        return cls(client, name, found, mode, projection)

    @classmethod
    def create(
        cls, client: QdrantClient, name: str, spec: IndexSpec, projection: Projection | None = None
    ) -> "QdrantIndex":
        """Make a collection, spread and copied as ``spec.qdrant`` says, and open it for writing.

        Raises:
            SettingsError: a token format that Qdrant does not have.
        """
        if spec.tokens not in ("none", "fp16", "fp32"):
            raise SettingsError(f"tokens={spec.tokens!r}: Qdrant keeps token matrices as fp16 or fp32")
        metadata: dict[str, Any] = {NOTE: spec.model_dump(mode="json")}
        if projection is not None:
            metadata[PROJECTION_NOTE] = base64.b64encode(projection.to_bytes()).decode()
        _answer(lambda: make_collection(client, name, spec, metadata), name)
        return cls(client, name, spec, "w", projection)

    def upsert(self, batch: pa.RecordBatch) -> int:
        """See ``Index``, and above what differs."""
        self._writing()
        rows = to_rows(batch, self.spec, self.codec)
        points = to_points(rows, self.codec, self.spec.qdrant.average_words)
        for start in range(0, len(points), PIECE):
            piece = points[start : start + PIECE]
            self._ask(lambda piece=piece: self._client.upsert(self._name, piece, wait=True))  # type: ignore[misc]
        self._has_parents = None
        return int(rows.num_rows)

    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> int:
        """See ``Index``."""
        self._writing()
        named = check_delete(ids, where)
        selector: Any
        if where is not None:
            count, selector = self.count(where), models.FilterSelector(filter=self._condition(where))
        else:
            points = [point_id(one) for one in dict.fromkeys(named)]
            if not points:
                return 0
            count = len(self._ask(lambda: self._client.retrieve(self._name, points, with_payload=False)))
            selector = models.PointIdsList(points=list(points))
        self._ask(lambda: self._client.delete(self._name, selector, wait=True))
        self._has_parents = None
        return count

    def commit(self, origin: Origin | None = None) -> None:
        """Nothing to do: the server logs every request before it answers."""

    def optimize(self) -> None:
        """Nothing to do: the server optimizes by itself."""

    def __len__(self) -> int:
        """Passages held."""
        return int(self.count())

    def nearest(
        self, dense: NDArray[np.float32], k: int = 10, *, where: Filter | None = None, exact: bool = False
    ) -> list[Ranking]:
        """See ``Index``."""
        vectors = check_vectors(dense, self.spec.dim, k)
        total = len(self)
        params = None
        if not in_memory(self._client):  # which is exact always, and warns
            params = search_params(self.spec, exact=exact or total < self.spec.exact_below)
        return [self._ranked(vector.tolist(), DENSE, k, where, total, params) for vector in vectors]

    def bm25(self, texts: Sequence[str], k: int = 10, *, where: Filter | None = None) -> list[Ranking]:
        """See ``Index``."""
        check_texts(texts, k)
        self._condition(where)  # refused also where no text has a word
        total = len(self)
        none = Ranking([], np.zeros(0, np.float32))
        return [
            self._ranked(question_words(found), WORDS, k, where, total, None) if found else none
            for found in (counted_words(text, self.language) for text in texts)
        ]

    def statistics(self) -> Statistics | None:
        """None: the server knows how many points hold a word, and does not say so."""
        return None

    def word_scores(self, text: str, ids: Sequence[str]) -> NDArray[np.float32]:
        """See ``Index``. The server scores them, by its own count of words."""
        self.fetch(ids, ["id"])  # refuses unknown ones
        asked = tuple(dict.fromkeys(ids))
        (found,) = self.bm25([text], max(len(asked), 1), where=In("id", asked))
        scores = dict(zip(found.ids, found.scores.tolist(), strict=True))
        return np.asarray([scores.get(one, 0.0) for one in ids], np.float32)

    def fetch(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """See ``Index``."""
        names = self.columns(columns)
        points = [point_id(one) for one in dict.fromkeys(ids) if is_unicode(one)]
        found = []
        for start in range(0, len(points), PIECE):
            piece = points[start : start + PIECE]
            found += self._ask(
                lambda piece=piece: self._client.retrieve(  # type: ignore[misc]
                    self._name, piece, with_payload=True, with_vectors=self._vectors_of(names)
                )
            )
        table = to_rows_back(found, list(dict.fromkeys(["id", *names])), self.spec, self.codec)
        return in_order(table, ids, names, len(self))

    def scan(self, columns: Sequence[str], where: Filter | None = None) -> Iterator[pa.RecordBatch]:
        """See ``Index``."""
        names = self.columns(columns)
        condition = self._condition(where)
        offset: Any = None
        while True:
            points, offset = self._ask(
                lambda offset=offset: self._client.scroll(  # type: ignore[misc]
                    self._name,
                    scroll_filter=condition,
                    limit=PIECE,
                    offset=offset,
                    with_payload=True,
                    with_vectors=self._vectors_of(names),
                )
            )
            if points:
                yield from to_rows_back(points, names, self.spec, self.codec).to_batches()
            if offset is None:
                return

    def count(self, where: Filter | None = None) -> int:
        """See ``Index``."""
        condition = self._condition(where)
        return self._ask(lambda: self._client.count(self._name, condition, exact=True)).count

    def stats(self) -> IndexStats:
        """See ``Index``. Counts tokens by reading every payload."""
        total = len(self)
        tokens = sum(int(part.column("token_count").to_numpy().sum()) for part in self.scan(["token_count"]))
        return IndexStats(
            kind="qdrant",
            passages=total,
            dim=self.spec.dim,
            tokens=tokens,
            token_dim=self.spec.token_dim,
            memory_bytes=0,
            model_name=self.model_name,
            model_fingerprint=self.model_fingerprint,
            search="exact" if total < self.spec.exact_below else "HNSW on the server",
            dense_format="fp32" if total < self.spec.exact_below else self.spec.dense,
            token_format=self.spec.tokens,
            fields=dict(self.spec.fields),
        )

    def damage(self) -> list[str]:
        """The server guards its own files."""
        return []

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ranked(
        self,
        query: Any,
        using: str,
        k: int,
        where: Filter | None,
        total: int,
        params: models.SearchParams | None,
    ) -> Ranking:
        condition = self._condition(where)

        def ask(limit: int) -> tuple[list[str], list[float]]:
            points = self._ask(
                lambda: self._client.query_points(
                    self._name,
                    query=query,
                    using=using,
                    limit=limit,
                    query_filter=condition,
                    search_params=params,
                    with_payload=["id"],
                )
            ).points
            return [str((one.payload or {})["id"]) for one in points], [one.score for one in points]

        return until_settled(ask, k, total)

    def _condition(self, where: Filter | None) -> models.Filter | None:
        return None if where is None else to_filter(fit_filter(where, self.spec.fields))

    def _vectors_of(self, names: Sequence[str]) -> list[str] | bool:
        return [name for name in (DENSE, TOKENS) if name in names] or False

    def _writing(self) -> None:
        if self.mode != "w":
            raise SettingsError(f'{self._name}: opened for reading; open it with mode "w" to change it')

    def _ask(self, request: Callable[[], T]) -> T:
        return _answer(request, self._name)


def _answer(request: Callable[[], T], place: str) -> T:
    """Ask the server; what it or the way to it says becomes one line."""
    try:
        return request()
    except (ResponseHandlingException, UnexpectedResponse) as error:
        reason = " ".join(str(error).split())[:300]
        raise IndexStateError(f"{place}: Qdrant did not answer as it should ({reason})") from error
