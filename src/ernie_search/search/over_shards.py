"""A run from encoded shards as they lie on disk: exact, in memory that does not grow with the corpus."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.hardware import asks_bf16
from ernie_search.encoder import Encoder
from ernie_search.errors import DataError, IndexStateError
from ernie_search.index.exact import best_rows, longest
from ernie_search.index.protocol import check_vectors
from ernie_search.index.topk import top_rows
from ernie_search.search.searcher import RUN_BLOCK
from ernie_search.shards import read_manifest, read_shards
from ernie_search.types import Query, check_question

QUESTIONS = 8 * RUN_BLOCK
"""Questions that go through the shards together: each such block reads every vector once more."""
PASSAGES = 1 << 16
"""Passages compared at a time: their vectors take 200 MB at 768 dimensions."""

Vectors = tuple[NDArray[np.object_], NDArray[np.float32]]
Scored = tuple[str, dict[str, float]]


def run_over_shards(
    model: Encoder,
    shards: Path,
    queries: Sequence[Query],
    k: int,
    *,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Scored]:
    """The ``k`` nearest passages of every question: those that ``Searcher.run`` finds in mode dense.

    Memory: the vectors of ``PASSAGES`` passages, and of ``QUESTIONS`` questions with their rankings.

    Args:
        model: that made the shards.
        shards: what ``encode_collection`` wrote; whose SHA-256 are checked once.
        queries: with ids that differ.
        k: passages for each; fewer if there are fewer.
        progress: called with the number of questions done since its last call; of a block's, as many as
            passages of the shards.

    Yields:
        Question id, and score by passage id, best first; equal ones in the order of the shards.

    Raises:
        IndexStateError: the shards are unfinished, damaged, or of another model.
        DataError: an empty question, or an id that repeats.
        SettingsError: ``k`` below 1.
    """
    manifest = read_manifest(shards)
    if model.fingerprint != manifest.model_fingerprint:
        raise IndexStateError(
            f"{shards}: encoded by model {manifest.model_name} ({manifest.model_fingerprint}), not by "
            f"{model.name} ({model.fingerprint}); encode again with this one"
        )
    _check(queries)
    for start in range(0, len(queries), QUESTIONS):
        block = queries[start : start + QUESTIONS]
        best = _Nearest(_encoded(model, block, asks_bf16(manifest.precision)), k)
        seen = told = 0
        for ids, dense in _chunks(shards, verify=start == 0):
            best.add(ids, dense)
            seen += len(ids)
            done = len(block) * seen // manifest.passages
            if progress is not None:
                progress(done - told)
            told = done
        yield from zip((query.id for query in block), best.rankings(), strict=True)


def _check(queries: Sequence[Query]) -> None:
    seen: set[str] = set()
    for query in queries:
        check_question(query.text, f"question {query.id!r}")
        if query.id in seen:
            raise DataError(f"question id {query.id!r} repeats; give every question an id of its own")
        seen.add(query.id)


def _encoded(model: Encoder, queries: Sequence[Query], bf16: bool | None) -> NDArray[np.float32]:
    """In the blocks of a ``Searcher``, as the last bits of a vector depend on what it is padded with; in the
    precision of the shards, as a measurement that comes out otherwise after a kill would change them."""
    parts = []
    for start in range(0, len(queries), RUN_BLOCK):
        texts = [query.text for query in queries[start : start + RUN_BLOCK]]
        parts.append(model.encode_joint(texts, "query", tokens=False, bf16=bf16).dense)
    return np.concatenate(parts)


def _chunks(shards: Path, *, verify: bool) -> Iterator[Vectors]:
    """Shards joined up to ``PASSAGES``: the best of each chunk cost about the same, however large it is."""
    ids: list[str] = []
    dense: list[NDArray[np.float32]] = []
    for shard in read_shards(shards, verify=verify):
        ids += shard.ids
        dense.append(shard.dense)
        if len(ids) >= PASSAGES:
            yield np.array(ids, dtype=object), np.concatenate(dense)
            ids, dense = [], []
    if ids:
        yield np.array(ids, dtype=object), np.concatenate(dense)


class _Nearest:
    """The ``k`` best of each of Q questions so far; equal ones in the order in which they came."""

    def __init__(self, vectors: NDArray[np.float32], k: int) -> None:
        self.vectors, self.k = check_vectors(vectors, vectors.shape[1], k), k
        nothing = (np.zeros(0, object), np.zeros(0, np.float32))
        self.found: list[Vectors] = [nothing] * len(vectors)
        self.floors: NDArray[np.float32] = np.full(len(vectors), -np.inf, np.float32)

    def add(self, ids: NDArray[np.object_], dense: NDArray[np.float32]) -> None:
        """See ``(n, D)`` more vectors and their ids."""
        nearest = best_rows(dense, self.vectors, self.k, longest(dense), floors=self.floors)
        for place, (rows, scores) in enumerate(nearest):
            before, known = self.found[place]
            joined = np.concatenate([known, scores])
            order = top_rows(joined, self.k)
            self.found[place] = np.concatenate([before, ids[rows]])[order], joined[order]
            if len(order) == self.k:
                self.floors[place] = joined[order[-1]]

    def rankings(self) -> Iterator[dict[str, float]]:
        """Score by id of each question, best first."""
        for ids, scores in self.found:
            yield dict(zip(ids.tolist(), scores.tolist(), strict=True))
