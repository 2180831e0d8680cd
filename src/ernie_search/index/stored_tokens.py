"""The token matrices of an index: what every codec offers, and what they give back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import DataError, IndexStateError


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """The token matrices of n passages one after the other, as they are stored.

    Attributes:
        values: ``(T, d)`` float32, float16 or int8, contiguous and writable.
        offsets: ``(n + 1,)`` int64; passage i owns rows ``offsets[i]:offsets[i + 1]``.
        scales: ``(n,)`` float32 that a passage's values are multiplied by; None stands for ones.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    scales: NDArray[np.float32] | None = None

    def matrices(self) -> list[NDArray[np.float32]]:
        """Each passage's ``(L, d)`` float32."""
        found = []
        for place, (start, stop) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            matrix = self.values[start:stop].astype(np.float32)
            found.append(matrix if self.scales is None else matrix * self.scales[place])
        return found


class TokenCodec(Protocol):
    """Turns token matrices into one blob a passage and back; rows may come back changed a little."""

    @property
    def name(self) -> str:
        """One of ``CodecName``."""

    @property
    def dim(self) -> int:
        """``d``."""

    @property
    def needs_ids(self) -> bool:
        """Whether blobs are written and read with the tokens' vocabulary ids, as ``pack_ids`` gives them."""

    def encode(self, matrices: Sequence[NDArray[np.floating[Any]]], ids: Sequence[bytes] = ()) -> list[bytes]:
        """One blob for each ``(L, d)`` matrix; ``L`` may be 0, and is recoverable from the blob's length.

        Raises:
            DataError: a matrix of another ``d``, or one that holds NaN or what the type cannot hold.
        """

    def decode(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> list[NDArray[np.float32]]:
        """The ``(L, d)`` matrices.

        Raises:
            IndexStateError: a blob of an impossible length.
        """

    def join(self, blobs: Sequence[bytes], ids: Sequence[bytes] = ()) -> StoredTokens:
        """All of them one after the other, for MaxSim; raises as ``decode``."""

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays that must be kept beside the index to read its blobs again; {} for most."""


def check_matrix(matrix: NDArray[np.floating[Any]], dim: int, place: int) -> None:
    """Refuse what is no finite ``(L, dim)`` matrix; ``place`` is for the message.

    Raises:
        DataError: see above.
    """
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise DataError(f"token matrix {place} has shape {matrix.shape}; this index takes (tokens, {dim})")
    if not np.isfinite(matrix).all():
        raise DataError(f"token matrix {place} holds NaN or infinity; check the model that made it")


def row_offsets(blobs: Sequence[bytes], width: int, header: int, name: str) -> NDArray[np.int64]:
    """Where each blob's rows begin when they stand one after the other: ``(n + 1,)``.

    Args:
        blobs: n of them.
        width: bytes a row.
        header: bytes before the first row.
        name: of the codec, for the message.

    Raises:
        IndexStateError: a blob that is no whole number of rows.
    """
    sizes = np.fromiter(map(len, blobs), np.int64, len(blobs)) - header
    if ((sizes < 0) | (sizes % width != 0)).any():
        place = int(np.flatnonzero((sizes < 0) | (sizes % width != 0))[0])
        raise IndexStateError(
            f"{name} tokens {place}: {len(blobs[place])} bytes are no whole number of rows of {width}; "
            "verify the index"
        )
    offsets = np.zeros(len(blobs) + 1, dtype=np.int64)
    np.cumsum(sizes // width, out=offsets[1:])
    return offsets
