"""Token vectors in one bit a dimension: what is left of a vector beside the mean of its vocabulary word's.

A token's id is stored with it anyway, and says much of where its raw state lies: the mean of that id's states
over a sample is a centroid that costs no further byte. The residual's bits follow ColBERTv2 (Santhanam et al.
2022, "Effective and Efficient Retrieval via Lightweight Late Interaction"), with the id in the place of the
centroid's number.

The bundled model untrained, covidqa, PCA to 128 of 384 dimensions, MRR@10 beside the states as they are:
0.1 % less at 16 bytes a token and its id's two; with k-means, whose number takes two more, 2.5 % less.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import DataError, IndexStateError
from ernie_search.index.stored_tokens import StoredTokens, check_matrix, row_offsets
from ernie_search.index.token_ids import unpack_many

PRIOR = 1.0
"""Sampled tokens that the mean of all counts for in the mean of one id: a word seen once is half its own."""

BLOCK = 16_384
"""Tokens that are read back together: their floats stay in the cache."""

IN_A_BYTE = 8


class VocabularyCodec:
    """``ceil(d / 8)`` bytes a token: at d = 128, 16. Rows are read back with length one."""

    name: ClassVar[str] = "1bit"
    needs_ids: ClassVar[bool] = True

    def __init__(
        self,
        ids: NDArray[np.int32],
        centroids: NDArray[np.float16],
        cutoffs: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> None:
        """Join the parts; ``train`` and ``from_state`` are the usual ways here.

        Args:
            ids: ``(V,)`` vocabulary ids, rising.
            centroids: ``(V + 1, d)``: of those ids, and of all others.
            cutoffs: ``(d,)``: above it a residual's bit is 1.
            weights: ``(2, d)``: what a bit is read back as.
        """
        self.dim = int(centroids.shape[1])
        self._ids, self._stored = ids, centroids
        self._cutoffs, self._weights = cutoffs, weights
        self._centroids = centroids.astype(np.float32)
        self._bytes = -(-self.dim // IN_A_BYTE)
        self._table = self._byte_table()

    @classmethod
    def train(
        cls, dim: int, sample: NDArray[np.floating[Any]], sample_ids: NDArray[np.int32]
    ) -> "VocabularyCodec":
        """Means and bits of ``sample (N, dim)`` and its ``(N,)`` ids.

        Raises:
            DataError: see ``train_codec``.
        """
        rows = np.ascontiguousarray(sample, np.float32)
        check_matrix(rows, dim, 0)
        if len(rows) == 0 or len(rows) != len(sample_ids):
            raise DataError(
                f"token codec '1bit': a sample of {len(rows)} tokens with {len(sample_ids)} ids; draw some "
                "from the passages"
            )
        order = np.argsort(sample_ids, kind="stable")
        ids, starts, counts = np.unique(sample_ids[order], return_index=True, return_counts=True)
        mean = rows.mean(axis=0, dtype=np.float64)
        sums = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
        own = (sums + PRIOR * mean) / (counts + PRIOR)[:, None]
        centroids = np.concatenate([own, mean[None]]).astype(np.float16)
        residuals = rows - centroids.astype(np.float32)[np.searchsorted(ids, sample_ids)]
        cutoffs = np.median(residuals, axis=0).astype(np.float32)
        above = residuals > cutoffs
        weights = np.zeros((2, dim), np.float32)
        for bit, inside in enumerate((~above, above)):
            held = inside.sum(axis=0)
            sums = np.where(inside, residuals, 0).sum(axis=0, dtype=np.float64)
            weights[bit] = np.where(held > 0, sums / np.maximum(held, 1), cutoffs)
        return cls(ids.astype(np.int32), centroids, cutoffs, weights)

    @classmethod
    def from_state(cls, dim: int, state: Mapping[str, NDArray[Any]]) -> "VocabularyCodec":
        """From what ``state`` gave.

        Raises:
            IndexStateError: a part is missing, or of another shape.
        """
        try:
            ids = np.ascontiguousarray(state["ids"], np.int32)
            centroids = np.ascontiguousarray(state["centroids"], np.float16)
            cutoffs, weights = (
                np.ascontiguousarray(state[key], np.float32) for key in ("cutoffs", "weights")
            )
        except KeyError as error:
            raise IndexStateError(
                f"token codec '1bit': its state has no {error.args[0]!r}; index again"
            ) from None
        shapes = [centroids.shape, cutoffs.shape, weights.shape]
        wanted = [(len(ids) + 1, dim), (dim,), (2, dim)]
        if shapes != wanted or ids.ndim != 1 or not len(ids) or (np.diff(ids) <= 0).any():
            raise IndexStateError(
                f"token codec '1bit': its state has shapes {shapes}, not {wanted}, or its ids do not rise; "
                "index again"
            )
        return cls(ids, centroids, cutoffs, weights)

    def state(self) -> dict[str, NDArray[Any]]:
        """Ids, their means (float16), cutoffs and what bits mean (float32)."""
        return {
            "ids": self._ids,
            "centroids": self._stored,
            "cutoffs": self._cutoffs,
            "weights": self._weights,
        }

    def encode(self, matrices: Sequence[NDArray[np.floating[Any]]], ids: Sequence[bytes] = ()) -> list[bytes]:
        """See ``TokenCodec``."""
        for place, matrix in enumerate(matrices):
            check_matrix(matrix, self.dim, place)
        if not matrices:
            return []
        counts = [len(matrix) for matrix in matrices]
        places = self._places(unpack_many(ids, counts))
        rows = np.concatenate([np.asarray(matrix, np.float32) for matrix in matrices])
        packed = np.empty((len(rows), self._bytes), np.uint8)
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            bits = rows[part] - self._centroids[places[part]] > self._cutoffs
            packed[part] = np.packbits(bits, axis=1, bitorder="little")
        bounds = np.concatenate([[0], np.cumsum(counts)]).tolist()
        return [packed[start:stop].tobytes() for start, stop in itertools.pairwise(bounds)]

    def decode(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> list[NDArray[np.float32]]:
        """See ``TokenCodec``."""
        return self.join(blobs, ids).matrices()

    def join(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> StoredTokens:
        """See ``TokenCodec``."""
        offsets = row_offsets(blobs, self._bytes, 0, self.name)
        places = self._places(unpack_many(ids, np.diff(offsets).tolist()))
        packed = np.frombuffer(b"".join(blobs), np.uint8).reshape(-1, self._bytes)
        values = np.empty((len(packed), self.dim), np.float32)
        shifts = np.arange(0, 256 * self._bytes, 256, dtype=np.intp)
        for start in range(0, len(packed), BLOCK):
            part = slice(start, start + BLOCK)
            found = np.take(self._table, packed[part] + shifts, axis=0, mode="clip")
            rows = found.reshape(len(found), -1)[:, : self.dim]
            rows = np.add(rows, self._centroids[places[part]], out=values[part])
            length = np.sqrt(np.einsum("nd,nd->n", rows, rows))
            rows /= np.maximum(length, np.finfo(np.float32).tiny)[:, None]
        return StoredTokens(values, offsets)

    def _places(self, ids: NDArray[np.int32]) -> NDArray[np.intp]:
        """The row of ``centroids`` for each id; the last one for an id that the sample lacked."""
        places = np.searchsorted(self._ids, ids)
        known = np.minimum(places, len(self._ids) - 1)
        return np.where(self._ids[known] == ids, known, len(self._ids))

    def _byte_table(self) -> NDArray[np.float32]:
        """``(bytes * 256, 8)``: the eight residuals behind each value of each byte."""
        weights = np.zeros((2, self._bytes * IN_A_BYTE), np.float32)
        weights[:, : self.dim] = self._weights
        bits = (np.arange(256)[:, None] >> np.arange(IN_A_BYTE)) & 1  # (256, 8)
        table = np.empty((self._bytes, 256, IN_A_BYTE), np.float32)
        for place in range(self._bytes):
            eight = weights[:, place * IN_A_BYTE : (place + 1) * IN_A_BYTE]
            table[place] = np.where(bits == 1, eight[1], eight[0])
        return table.reshape(-1, IN_A_BYTE)
