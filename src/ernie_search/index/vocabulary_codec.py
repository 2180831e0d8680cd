"""Token vectors in one bit a dimension: what is left of a vector beside the mean of its vocabulary word's.

A token's id is stored with it anyway, and says much of where its raw state lies: the mean of that id's states
over a sample is a centroid that costs no further byte. The residual's bits follow ColBERTv2 (Santhanam et al.
2022, "Effective and Efficient Retrieval via Lightweight Late Interaction"), with the id in the place of the
centroid's number. They go where the residual is large: dimensions are taken to be in the order of their
variance, as a ``Projection`` leaves them; the first have two bits, most have one, the last have none.

The bundled model untrained, PCA to 128 of 384 dimensions, MRR@10 beside the states as they are, at 16 bytes a
token and two for its id: covidqa 1.3 % less, shifts-amazon 1.4 %. "2bit", twice as large: 0.7 % less, and 1.8
% more.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import DataError, IndexStateError
from ernie_search.index.buckets import find_buckets, fit_buckets
from ernie_search.index.stored_tokens import StoredTokens, check_matrix, row_offsets
from ernie_search.index.token_ids import unpack_many

PRIOR = 1.0
"""Sampled tokens that the mean of all counts for in the mean of one id: a word seen once is half its own."""

BUCKET_SAMPLE = 50_000
"""Residuals that the buckets are fitted to, at most: two or four values a dimension need no more."""

BLOCK = 1024
"""Tokens that are read back together: their floats stay in the second cache. 20,000 tokens of 128 dimensions
took 4.9 ms of one core, and 9.1 at 16,384."""

TWO_BITS = 3 / 64
"""Bytes of four dimensions with two bits, for each dimension: of 128, the first 24 have two bits, 80 one,
and the last 24 none. Of 16 bytes this had the highest mean cosine with the vectors themselves, 0.917, beside
0.896 of one bit each (shifts-amazon, the bundled model)."""


def split(dim: int) -> tuple[int, int]:
    """How many of ``dim`` dimensions have two bits, and how many one: together ``ceil(dim / 8)`` bytes."""
    two = round(TWO_BITS * dim)
    return 4 * two, min(8 * (-(-dim // 8) - two), dim - 4 * two)


class VocabularyCodec:
    """``ceil(d / 8)`` bytes a token: at d = 128, 16. Rows are read back with length one."""

    name: ClassVar[str] = "1bit"
    needs_ids: ClassVar[bool] = True

    def __init__(self, ids: NDArray[np.int32], parts: Mapping[str, NDArray[Any]]) -> None:
        """Join the parts; ``train`` and ``from_state`` are the usual ways here.

        Args:
            ids: ``(V,)`` vocabulary ids, rising.
            parts: ``centroids (V + 1, d)`` of those ids, and of all others; ``cutoffs2 (3, n2)`` and
                ``weights2 (4, n2)`` of the dimensions with two bits: limits of the buckets and what they are
                read back as; ``cutoffs1 (1, n1)`` and ``weights1 (2, n1)`` of those with one.
        """
        self._ids, self._parts = ids, dict(parts)
        self._centroids = np.asarray(parts["centroids"], np.float32)
        self.dim = int(self._centroids.shape[1])
        self._two, self._one = split(self.dim)
        self._bytes = -(-self.dim // 8)
        self._tables = _byte_table(parts["weights2"], 2), _byte_table(parts["weights1"], 1)

    @classmethod
    def train(
        cls, dim: int, sample: NDArray[np.floating[Any]], sample_ids: NDArray[np.int32]
    ) -> "VocabularyCodec":
        """Means and buckets of ``sample (N, dim)`` and its ``(N,)`` ids.

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
        residuals = residuals[:: -(-len(residuals) // BUCKET_SAMPLE)]
        two, one = split(dim)
        cutoffs2, weights2 = fit_buckets(residuals[:, :two], 4)
        cutoffs1, weights1 = fit_buckets(residuals[:, two : two + one], 2)
        parts: dict[str, NDArray[Any]] = {
            "centroids": centroids,
            "cutoffs2": cutoffs2,
            "weights2": weights2,
            "cutoffs1": cutoffs1,
            "weights1": weights1,
        }
        return cls(ids.astype(np.int32), parts)

    @classmethod
    def from_state(cls, dim: int, state: Mapping[str, NDArray[Any]]) -> "VocabularyCodec":
        """From what ``state`` gave.

        Raises:
            IndexStateError: a part is missing, or of another shape.
        """
        two, one = split(dim)
        try:
            ids = np.ascontiguousarray(state["ids"], np.int32)
            shapes = {"centroids": (len(ids) + 1, dim), "cutoffs2": (3, two), "weights2": (4, two)}
            shapes |= {"cutoffs1": (1, one), "weights1": (2, one)}
            found = {name: state[name] for name in shapes}
        except KeyError as error:
            raise IndexStateError(
                f"token codec '1bit': its state has no {error.args[0]!r}; index again"
            ) from None
        strange = [name for name, shape in shapes.items() if found[name].shape != shape]
        if strange or ids.ndim != 1 or not len(ids) or (np.diff(ids) <= 0).any():
            what = f"{strange[0]} of shape {found[strange[0]].shape}" if strange else "ids that do not rise"
            raise IndexStateError(f"token codec '1bit': its state has {what}; index again")
        return cls(ids, found)

    def state(self) -> dict[str, NDArray[Any]]:
        """See ``__init__``; centroids are float16, the others float32."""
        return {"ids": self._ids, **self._parts}

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
        middle = self._two // 4
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            residuals = rows[part] - self._centroids[places[part]]
            two = find_buckets(residuals[:, : self._two], self._parts["cutoffs2"])
            bits = np.stack([two & 1, two >> 1], axis=2).reshape(len(residuals), -1)
            packed[part, :middle] = np.packbits(bits, axis=1, bitorder="little")
            one = find_buckets(residuals[:, self._two : self._two + self._one], self._parts["cutoffs1"])
            packed[part, middle:] = np.packbits(one, axis=1, bitorder="little")
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
        middle, end = self._two // 4, self._two + self._one
        for start in range(0, len(packed), BLOCK):
            part = slice(start, start + BLOCK)
            rows = np.take(self._centroids, places[part], axis=0, out=values[part], mode="clip")
            rows[:, : self._two] += _read(self._tables[0], packed[part, :middle])
            rows[:, self._two : end] += _read(self._tables[1], packed[part, middle:])[:, : self._one]
            length = np.sqrt(np.einsum("nd,nd->n", rows, rows))
            rows /= np.maximum(length, np.finfo(np.float32).tiny)[:, None]
        return StoredTokens(values, offsets)

    def _places(self, ids: NDArray[np.int32]) -> NDArray[np.intp]:
        """The row of ``centroids`` for each id; the last one for an id that the sample lacked."""
        places = np.searchsorted(self._ids, ids)
        known = np.minimum(places, len(self._ids) - 1)
        return np.where(self._ids[known] == ids, known, len(self._ids))


def _byte_table(weights: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """``(bytes * 256, 8 / bits)``: what each value of each byte is read as, of ``weights (2^bits, n)``."""
    held = 8 // bits
    count = -(-weights.shape[1] // held)
    padded = np.zeros((len(weights), count * held), np.float32)
    padded[:, : weights.shape[1]] = weights
    buckets = (np.arange(256)[:, None] >> (bits * np.arange(held))) & (2**bits - 1)  # (256, held)
    columns = np.arange(count * held).reshape(count, 1, held)
    table: NDArray[np.float32] = padded[buckets[None], columns].reshape(-1, held)
    return table


def _read(table: NDArray[np.float32], packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The residuals ``(N, n)`` behind ``(N, bytes)``."""
    places = packed + np.arange(0, 256 * packed.shape[1], 256, dtype=np.intp)
    found: NDArray[np.float32] = np.take(table, places, axis=0, mode="clip").reshape(len(packed), -1)
    return found
