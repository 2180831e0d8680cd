"""How token matrices become bytes in a store: fp32, fp16, int8, or compressed to two bits a dimension."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.files import did_you_mean
from ernie_search.index.residual import ResidualCodec
from ernie_search.index.stored_tokens import StoredTokens, TokenCodec, check_matrix, row_offsets

CodecName = Literal["fp32", "fp16", "int8", "2bit"]
"""What ``codec`` knows, from the largest to the smallest."""

INT8_MAX = 127
"""-128 is left out, so that a matrix and its negative are stored alike."""


class FloatCodec:
    """Rows as they are, little-endian: fp32 exactly, fp16 rounded to 11 bits."""

    def __init__(self, name: Literal["fp32", "fp16"], dim: int) -> None:
        self.name = name
        self.dim = dim
        self._type = np.dtype("<f4" if name == "fp32" else "<f2")

    def encode(self, matrices: Sequence[NDArray[np.floating[Any]]]) -> list[bytes]:
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

    def decode(self, blobs: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """See ``TokenCodec``."""
        return self.join(blobs).matrices()

    def join(self, blobs: Sequence[bytes]) -> StoredTokens:
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
    header: ClassVar[int] = 4

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def encode(self, matrices: Sequence[NDArray[np.floating[Any]]]) -> list[bytes]:
        """See ``TokenCodec``."""
        blobs = []
        for place, matrix in enumerate(matrices):
            check_matrix(matrix, self.dim, place)
            rows = np.asarray(matrix, np.float32)
            scale = int8_scale(np.abs(rows).max(initial=0.0))
            steps = np.rint(rows / scale).astype(np.int8)
            blobs.append(np.array(scale, "<f4").tobytes() + steps.tobytes())
        return blobs

    def decode(self, blobs: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """See ``TokenCodec``."""
        return self.join(blobs).matrices()

    def join(self, blobs: Sequence[bytes]) -> StoredTokens:
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
        name: "fp32", "fp16", "int8" or "2bit".
        dim: ``d`` of the token vectors.
        state: what ``TokenCodec.state`` gave; only "2bit" needs it.

    Raises:
        SettingsError: unknown name, ``dim`` below 1, or "2bit" without the state that it was trained to.
        IndexStateError: a state that does not fit.
    """
    _check_choice(name, dim)
    if name == "2bit":
        if not state:
            raise SettingsError("token codec '2bit' needs centroids; make it with train_codec on a sample")
        return ResidualCodec.from_state(dim, state)
    return Int8Codec(dim) if name == "int8" else FloatCodec("fp32" if name == "fp32" else "fp16", dim)


def train_codec(
    name: str, dim: int, sample: NDArray[np.floating[Any]], seed: int, *, centroids: int | None = None
) -> TokenCodec:
    """A codec that suits the tokens to be stored; the simple ones need no sample and ignore it.

    Args:
        name: as for ``codec``.
        dim: ``d``.
        sample: ``(N, d)`` token vectors drawn from all passages; the same sample and seed give the same
            codec.
        seed: of the choice of the first centroids.
        centroids: how many; by default as many as the sample can tell apart (``default_centroids``).

    Raises:
        SettingsError: as ``codec``, or more centroids than sampled tokens.
        DataError: a sample of another ``d``, with NaN, or with no row.
    """
    _check_choice(name, dim)
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
