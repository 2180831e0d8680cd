"""Token vectors in two bits a dimension: the nearest centroid, and the quantized rest.

As ColBERTv2 describes (Santhanam et al. 2022, section 3.3): a token is stored as the number of its nearest
centroid and its residual with every dimension in one of four buckets. The paper leaves open where the
buckets lie; here those with the least squared error are taken for each dimension (Lloyd 1982, Max 1960),
fitted to the sample: limits halfway between the buckets' values, and values that are the means of what fell
into them.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index.kmeans import kmeans, nearest
from ernie_search.index.stored_tokens import StoredTokens, check_matrix, row_offsets

BUCKETS = 4
"""Two bits."""

IN_A_BYTE = 4
"""Dimensions of two bits."""

MOST_CENTROIDS = 1 << 16
"""What two bytes a token can number."""

ROWS_A_CENTROID = 64
"""Sampled tokens for each centroid; fewer and centroids fit single tokens (faiss warns below 39)."""

FIT_STEPS = 10
"""Lloyd steps from the quartiles. For a normal distribution they lower the squared error by a sixth."""

BLOCK = 16_384
"""Tokens that are quantized or read back together: bounds memory."""


def default_centroids(sample: int) -> int:
    """The largest power of two that leaves each centroid ``ROWS_A_CENTROID`` of the sample's tokens, or 1."""
    return int(min(1 << max(0, (sample // ROWS_A_CENTROID).bit_length() - 1), MOST_CENTROIDS))


class ResidualCodec:
    """``2 + ceil(d / 4)`` bytes a token: at d = 128, 34. Rows are read back with length one."""

    name: ClassVar[str] = "2bit"

    def __init__(
        self,
        centroids: NDArray[np.float32],
        cutoffs: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> None:
        """Join the parts; ``train`` and ``from_state`` are the usual ways here.

        Args:
            centroids: ``(C, d)``.
            cutoffs: ``(3, d)``, rising: the limits between a dimension's buckets.
            weights: ``(4, d)``: what each bucket is read back as.
        """
        self.dim = int(centroids.shape[1])
        self._centroids, self._cutoffs, self._weights = centroids, cutoffs, weights
        self._bytes = -(-self.dim // IN_A_BYTE)
        self._table = self._byte_table()

    @classmethod
    def train(
        cls, dim: int, sample: NDArray[np.floating[Any]], seed: int, centroids: int | None = None
    ) -> "ResidualCodec":
        """Centroids and buckets of ``sample (N, dim)``; see ``train_codec`` for arguments and errors."""
        rows = np.ascontiguousarray(sample, np.float32)
        check_matrix(rows, dim, 0)
        if len(rows) == 0:
            raise DataError("token codec '2bit': the sample holds no token; draw some from the passages")
        count = default_centroids(len(rows)) if centroids is None else centroids
        if not 1 <= count <= min(len(rows), MOST_CENTROIDS):
            raise SettingsError(
                f"token codec '2bit': centroids={count}; choose 1 to {min(len(rows), MOST_CENTROIDS)} "
                f"for a sample of {len(rows)} tokens"
            )
        centres = kmeans(rows, count, seed)
        residuals = rows - centres[nearest(rows, centres)]
        cutoffs, weights = _fit_buckets(residuals)
        return cls(centres, cutoffs, weights)

    @classmethod
    def from_state(cls, dim: int, state: Mapping[str, NDArray[Any]]) -> "ResidualCodec":
        """From what ``state`` gave.

        Raises:
            IndexStateError: a part is missing, or of another shape.
        """
        try:
            parts = [
                np.ascontiguousarray(state[key], np.float32) for key in ("centroids", "cutoffs", "weights")
            ]
        except KeyError as error:
            raise IndexStateError(
                f"token codec '2bit': its state has no {error.args[0]!r}; index again"
            ) from None
        wanted = [(len(parts[0]), dim), (BUCKETS - 1, dim), (BUCKETS, dim)]
        shapes = [part.shape for part in parts]
        if shapes != wanted or not 1 <= len(parts[0]) <= MOST_CENTROIDS:
            raise IndexStateError(
                f"token codec '2bit': its state has shapes {shapes}, not {wanted}; index again"
            )
        return cls(*parts)

    def state(self) -> dict[str, NDArray[Any]]:
        """Centroids, cutoffs and weights, float32."""
        return {"centroids": self._centroids, "cutoffs": self._cutoffs, "weights": self._weights}

    def encode(self, matrices: Sequence[NDArray[np.floating[Any]]]) -> list[bytes]:
        """See ``TokenCodec``."""
        for place, matrix in enumerate(matrices):
            check_matrix(matrix, self.dim, place)
        if not matrices:
            return []
        rows = np.concatenate([np.asarray(matrix, np.float32) for matrix in matrices])
        packed = np.empty((len(rows), 2 + self._bytes), np.uint8)
        for start in range(0, len(rows), BLOCK):
            self._quantize(rows[start : start + BLOCK], packed[start : start + BLOCK])
        bounds = np.cumsum([0, *(len(matrix) for matrix in matrices)]).tolist()
        return [packed[a:b].tobytes() for a, b in pairwise(bounds)]

    def decode(self, blobs: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """See ``TokenCodec``."""
        return self.join(blobs).matrices()

    def join(self, blobs: Sequence[bytes]) -> StoredTokens:
        """See ``TokenCodec``; the values are float32."""
        width = 2 + self._bytes
        offsets = row_offsets(blobs, width, 0, self.name)
        packed = np.frombuffer(b"".join(blobs), np.uint8).reshape(-1, width)
        values = np.empty((len(packed), self.dim), np.float32)
        for start in range(0, len(packed), BLOCK):
            values[start : start + BLOCK] = self._read(packed[start : start + BLOCK])
        return StoredTokens(values, offsets)

    def _quantize(self, rows: NDArray[np.float32], packed: NDArray[np.uint8]) -> None:
        """``rows (N, d)`` into ``packed (N, 2 + bytes)``."""
        owner = nearest(rows, self._centroids)
        packed[:, :2] = owner.astype("<u2").view(np.uint8).reshape(-1, 2)
        buckets = np.zeros((len(rows), self._bytes * IN_A_BYTE), np.uint8)
        buckets[:, : self.dim] = _buckets(rows - self._centroids[owner], self._cutoffs)
        shifted = buckets.reshape(len(rows), self._bytes, IN_A_BYTE) << np.array([0, 2, 4, 6], np.uint8)
        packed[:, 2:] = np.bitwise_or.reduce(shifted, axis=2)

    def _read(self, packed: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The rows ``(N, d)`` again, of length one."""
        owner = np.ascontiguousarray(packed[:, :2]).view("<u2")[:, 0]
        if len(owner) and int(owner.max()) >= len(self._centroids):
            raise IndexStateError(
                f"2bit tokens name centroid {int(owner.max())} of {len(self._centroids)}; verify the index"
            )
        places = packed[:, 2:] + np.arange(0, 256 * self._bytes, 256, dtype=np.intp)
        rows: NDArray[np.float32] = np.take(self._table, places, axis=0, mode="clip").reshape(
            len(packed), self._bytes * IN_A_BYTE
        )[:, : self.dim]
        rows = rows + self._centroids[owner]
        length = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        rows /= np.maximum(length, np.finfo(np.float32).tiny)[:, None]
        return rows

    def _byte_table(self) -> NDArray[np.float32]:
        """``(bytes * 256, 4)``: the four residuals behind each value of each byte; reading is one look-up."""
        weights = np.zeros((BUCKETS, self._bytes * IN_A_BYTE), np.float32)
        weights[:, : self.dim] = self._weights
        values = np.arange(256)
        table = np.empty((self._bytes, 256, IN_A_BYTE), np.float32)
        for place in range(IN_A_BYTE):
            table[:, :, place] = weights[(values >> (2 * place)) & 3, place::IN_A_BYTE].T
        return table.reshape(-1, IN_A_BYTE)


def _fit_buckets(residuals: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Limits ``(3, d)`` and values ``(4, d)`` of the buckets for ``residuals (N, d)``."""
    cutoffs = np.quantile(residuals, [0.25, 0.5, 0.75], axis=0).astype(np.float32)
    weights = _bucket_means(residuals, cutoffs)
    for _ in range(FIT_STEPS):
        cutoffs = np.float32(0.5) * (weights[1:] + weights[:-1])
        weights = _bucket_means(residuals, cutoffs)
    return cutoffs, weights


def _bucket_means(residuals: NDArray[np.float32], cutoffs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean ``(4, d)`` of what falls into each bucket; of an empty one, its lower limit."""
    buckets = _buckets(residuals, cutoffs)
    means = np.empty((BUCKETS, residuals.shape[1]), np.float32)
    for bucket in range(BUCKETS):
        inside = buckets == bucket
        count, empty = inside.sum(axis=0), cutoffs[max(bucket - 1, 0)]
        sums = np.where(inside, residuals, 0).sum(axis=0, dtype=np.float64)
        means[bucket] = np.where(count > 0, sums / np.maximum(count, 1), empty)
    return means


def _buckets(residuals: NDArray[np.float32], cutoffs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0 to 3 for each value of ``(N, d)``: how many of its dimension's three cutoffs it passes."""
    found = np.zeros(residuals.shape, np.uint8)
    for cutoff in cutoffs:
        found += residuals > cutoff
    return found
