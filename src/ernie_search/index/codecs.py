"""How token matrices become bytes in an index: fp32, fp16, int8, or compressed to two bits a dimension."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import did_you_mean
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index.buckets import find_buckets, fit_buckets
from ernie_search.index.stored_tokens import StoredTokens, TokenCodec, check_matrix, row_offsets
from ernie_search.index.vocabulary_codec import VocabularyCodec

KMEANS_ROWS = 4096
"""Rows compared with all centroids at a time: bounds memory at KMEANS_ROWS x centroids floats."""

ITERATIONS = 12
"""Lloyd steps. On 23,475 tokens of SQuAD (d = 128, 256 centroids, an untrained head) the mean squared
residual was 0.667, 0.635, 0.615, 0.604, 0.602 and 0.600 after 1, 2, 4, 8, 12 and 16."""


def nearest(rows: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each of ``rows (N, d)`` the place of the nearest of ``centroids (C, d)``: ``(N,)``."""
    # |x - c|^2 is smallest where x.c - |c|^2 / 2 is largest.
    half = 0.5 * np.einsum("cd,cd->c", centroids, centroids)
    found = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), KMEANS_ROWS):
        found[start : start + KMEANS_ROWS] = (rows[start : start + KMEANS_ROWS] @ centroids.T - half).argmax(
            axis=1
        )
    return found


def kmeans(
    rows: NDArray[np.float32], count: int, seed: int, iterations: int = ITERATIONS
) -> NDArray[np.float32]:
    """``count`` centroids ``(count, d)`` of ``rows (N, d)``.

    They begin at rows drawn without replacement. A centroid that loses all its rows moves to the row that
    lies furthest from its own centroid, so none is wasted.

    Args:
        rows: at least ``count`` of them.
        count: C.
        seed: the same rows and seed give the same centroids on the same machine.
        iterations: Lloyd steps.
    """
    random = np.random.default_rng(seed)
    centroids = rows[np.sort(random.choice(len(rows), count, replace=False))].copy()
    for _ in range(iterations):
        owner = nearest(rows, centroids)
        sizes = np.bincount(owner, minlength=count)
        filled = np.flatnonzero(sizes)
        order = np.argsort(owner, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])[filled]
        sums = np.add.reduceat(rows[order], starts, axis=0)
        centroids[filled] = sums / sizes[filled, None]
        empty = np.flatnonzero(sizes == 0)
        if len(empty):
            distance = np.square(rows - centroids[owner]).sum(axis=1)
            centroids[empty] = rows[np.argsort(-distance, kind="stable")[: len(empty)]]
    return centroids


BUCKETS = 4
"""Two bits."""

IN_A_BYTE = 4
"""Dimensions of two bits."""

MOST_CENTROIDS = 1 << 16
"""What two bytes a token can number."""

ROWS_A_CENTROID = 64
"""Sampled tokens for each centroid; fewer and centroids fit single tokens (faiss warns below 39)."""

BLOCK = 1024
"""Tokens that are quantized or read back together: their floats stay in the second cache. Reading 20,000
tokens of 128 dimensions took 4.7 ms of one core, and 8.4 at 16,384."""


def default_centroids(sample: int) -> int:
    """The largest power of two that leaves each centroid ``ROWS_A_CENTROID`` of the sample's tokens, or 1."""
    return int(min(1 << max(0, (sample // ROWS_A_CENTROID).bit_length() - 1), MOST_CENTROIDS))


class ResidualCodec:
    """``2 + ceil(d / 4)`` bytes a token: at d = 128, 34. Rows are read back with length one."""

    name: ClassVar[str] = "2bit"
    needs_ids: ClassVar[bool] = False

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
        cutoffs, weights = fit_buckets(residuals, BUCKETS)
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

    def encode(self, matrices: Sequence[NDArray[np.floating[Any]]], ids: Sequence[bytes] = ()) -> list[bytes]:
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

    def decode(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> list[NDArray[np.float32]]:
        """See ``TokenCodec``."""
        return self.join(blobs).matrices()

    def join(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> StoredTokens:
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
        buckets[:, : self.dim] = find_buckets(rows - self._centroids[owner], self._cutoffs)
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


CodecName = Literal["fp32", "fp16", "int8", "2bit", "1bit"]
"""What ``codec`` knows, from the largest to the smallest."""

TRAINED = ("2bit", "1bit")
"""Of these, those that must be trained on a sample of the tokens to be stored."""

INT8_MAX = 127
"""-128 is left out, so that a matrix and its negative are stored alike."""


class FloatCodec:
    """Rows as they are, little-endian: fp32 exactly, fp16 rounded to 11 bits."""

    needs_ids: ClassVar[bool] = False

    def __init__(self, name: Literal["fp32", "fp16"], dim: int) -> None:
        self.name = name
        self.dim = dim
        self._type = np.dtype("<f4" if name == "fp32" else "<f2")

    def encode(self, matrices: Sequence[NDArray[np.floating[Any]]], ids: Sequence[bytes] = ()) -> list[bytes]:
        """See ``TokenCodec``."""
        blobs = []
        for place, matrix in enumerate(matrices):
            check_matrix(matrix, self.dim, place)
            with np.errstate(over="ignore"):  # said below, with the place
                rows = np.asarray(matrix).astype(self._type)
            if not np.isfinite(rows).all():
                raise DataError(
                    f"token matrix {place} has values that {self.name} cannot hold; rows of length one can"
                )
            blobs.append(rows.tobytes())
        return blobs

    def decode(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> list[NDArray[np.float32]]:
        """See ``TokenCodec``."""
        return self.join(blobs).matrices()

    def join(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> StoredTokens:
        """See ``TokenCodec``."""
        offsets = row_offsets(blobs, self._type.itemsize * self.dim, 0, self.name)
        values = np.frombuffer(bytearray().join(blobs), self._type).reshape(-1, self.dim)
        return StoredTokens(values, offsets)

    def state(self) -> dict[str, NDArray[Any]]:
        """Nothing."""
        return {}


class Int8Codec:
    """A scale a matrix (fp32, first in the blob), then the rows in steps of it.

    One scale for the whole matrix, so that MaxSim takes its maxima over whole numbers and multiplies after.
    """

    name: ClassVar[str] = "int8"
    needs_ids: ClassVar[bool] = False
    header: ClassVar[int] = 4

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def encode(self, matrices: Sequence[NDArray[np.floating[Any]]], ids: Sequence[bytes] = ()) -> list[bytes]:
        """See ``TokenCodec``."""
        blobs = []
        for place, matrix in enumerate(matrices):
            check_matrix(matrix, self.dim, place)
            rows = np.asarray(matrix, np.float32)
            scale = int8_scale(np.abs(rows).max(initial=0.0))
            steps = np.rint(rows / scale).astype(np.int8)
            blobs.append(np.array(scale, "<f4").tobytes() + steps.tobytes())
        return blobs

    def decode(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> list[NDArray[np.float32]]:
        """See ``TokenCodec``."""
        return self.join(blobs).matrices()

    def join(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> StoredTokens:
        """See ``TokenCodec``."""
        offsets = row_offsets(blobs, self.dim, self.header, self.name)
        views = [memoryview(blob) for blob in blobs]
        scales = np.frombuffer(b"".join(view[: self.header] for view in views), "<f4").astype(np.float32)
        if not (np.isfinite(scales) & (scales > 0)).all():
            place = int(np.flatnonzero(~(np.isfinite(scales) & (scales > 0)))[0])
            raise IndexStateError(f"int8 tokens {place}: their scale is {scales[place]}; verify the index")
        joined = bytearray().join(view[self.header :] for view in views)
        return StoredTokens(np.frombuffer(joined, np.int8).reshape(-1, self.dim), offsets, scales)

    def state(self) -> dict[str, NDArray[Any]]:
        """Nothing."""
        return {}


def codec(name: str, dim: int, state: Mapping[str, NDArray[Any]] | None = None) -> TokenCodec:
    """The codec of that name, ready for use.

    Args:
        name: "fp32", "fp16", "int8", "2bit" or "1bit".
        dim: ``d`` of the token vectors.
        state: what ``TokenCodec.state`` gave; only those in ``TRAINED`` need it.

    Raises:
        SettingsError: unknown name, ``dim`` below 1, or no state of one that must be trained.
        IndexStateError: a state that does not fit.
    """
    _check_choice(name, dim)
    if name in TRAINED:
        if not state:
            raise SettingsError(f"token codec {name!r} needs centroids; make it with train_codec on a sample")
        trained = ResidualCodec if name == "2bit" else VocabularyCodec
        return trained.from_state(dim, state)
    return Int8Codec(dim) if name == "int8" else FloatCodec("fp32" if name == "fp32" else "fp16", dim)


def train_codec(
    name: str,
    dim: int,
    sample: NDArray[np.floating[Any]],
    seed: int,
    *,
    centroids: int | None = None,
    sample_ids: NDArray[np.int32] | None = None,
) -> TokenCodec:
    """A codec that suits the tokens to be stored; the simple ones need no sample and ignore it.

    Args:
        name: as for ``codec``.
        dim: ``d``.
        sample: ``(N, d)`` token vectors drawn from all passages; the same sample and seed give the same
            codec.
        seed: of the choice of the first centroids.
        centroids: of "2bit", how many; by default as many as the sample can tell apart
            (``default_centroids``).
        sample_ids: ``(N,)`` the vocabulary ids of the sample; "1bit" needs them.

    Raises:
        SettingsError: as ``codec``, or more centroids than sampled tokens.
        DataError: a sample of another ``d``, with NaN, or with no row.
    """
    _check_choice(name, dim)
    if name == "1bit":
        return VocabularyCodec.train(dim, sample, np.zeros(0, np.int32) if sample_ids is None else sample_ids)
    if name != "2bit":
        return codec(name, dim)
    return ResidualCodec.train(dim, sample, seed, centroids)


def _check_choice(name: str, dim: int) -> None:
    if name not in get_args(CodecName):
        raise SettingsError(f"token codec {name!r}: unknown{did_you_mean(name, get_args(CodecName))}")
    if dim < 1:
        raise SettingsError(f"token codec {name!r}: dim={dim}; token vectors have at least 1 dimension")


def int8_scale(largest: float | np.floating[Any]) -> np.float32:
    """The step with which ``largest`` becomes 127; 1 where there is nothing to scale."""
    step = np.float32(largest) / np.float32(INT8_MAX)
    return step if step > 0 else np.float32(1.0)
