"""The projection that makes a plain encoder's token vectors small: PCA of the collection's own tokens."""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import atomic_write
from ernie_search.errors import IndexStateError, SettingsError

PROJECTION = "projection.npz"
"""Its file, in a folder of shards and in an index."""

DAMAGES = (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise for a file of other bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Takes token vectors from the encoder's dimensions to fewer; rows keep the length one.

    Attributes:
        matrix: ``(d_in, d_out)`` float32 with orthonormal columns.
        model, data: fingerprints of the encoder and the collection that it was fitted to.
    """

    matrix: NDArray[np.float32]
    model: str
    data: str

    @property
    def dim_in(self) -> int:
        """Dimensions of the encoder's token vectors."""
        return int(self.matrix.shape[0])

    @property
    def dim_out(self) -> int:
        """Dimensions that are left."""
        return int(self.matrix.shape[1])

    @property
    def digest(self) -> str:
        """Equal where projections are, bit for bit."""
        return hashlib.sha256(self.matrix.tobytes()).hexdigest()[:16]

    def __call__(self, tokens: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """``(L, d_in)`` token vectors as ``(L, d_out)``, of length one again (a zero row stays zero)."""
        rows: NDArray[np.float32] = np.asarray(tokens, np.float32) @ self.matrix
        length = np.sqrt(np.einsum("ld,ld->l", rows, rows))
        rows /= np.maximum(length, np.finfo(np.float32).tiny)[:, None]
        return rows

    def to_bytes(self) -> bytes:
        """What ``from_bytes`` reads; equal projections give equal bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, matrix=self.matrix, model=np.array(self.model), data=np.array(self.data))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes, place: str) -> "Projection":
        """From what ``to_bytes`` gave; ``place`` is for the message.

        Raises:
            IndexStateError: it is no projection.
        """
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                matrix = np.ascontiguousarray(arrays["matrix"], np.float32)
                model, data = str(arrays["model"]), str(arrays["data"])
            if matrix.ndim != 2 or not 1 <= matrix.shape[1] <= matrix.shape[0]:
                raise ValueError(f"its matrix has shape {matrix.shape}")
            if not np.isfinite(matrix).all():
                raise ValueError("its matrix holds NaN or infinity")
        except DAMAGES as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise IndexStateError(f"{place}: not readable as a projection ({reason}); index again") from error
        return cls(matrix, model, data)

    def write(self, folder: Path) -> None:
        """Keep it in ``folder``, whole or not at all."""
        with atomic_write(folder / PROJECTION, "wb") as handle:
            handle.write(self.to_bytes())

    @classmethod
    def read(cls, folder: Path) -> "Projection | None":
        """The one that ``folder`` holds; None if there is none.

        Raises:
            IndexStateError: the file is damaged.
        """
        path = folder / PROJECTION
        return cls.from_bytes(path.read_bytes(), str(path)) if path.is_file() else None


def pca(moments: NDArray[np.float64], dim: int) -> NDArray[np.float32]:
    """The ``dim`` directions that hold most of the tokens' length: ``(d, dim)``, the largest first.

    Cosines are about the origin, so the rows are not centred: these are the leading eigenvectors of the
    second moments, which keep dot products best in the mean square (Eckart & Young 1936). Each column's
    largest value is positive, as eigenvectors come with either sign.

    Args:
        moments: ``(d, d)``, the sum of ``x x^T`` over token vectors x.
        dim: at most d.

    Raises:
        SettingsError: more dimensions than there are, or none.
    """
    held = len(moments)
    if not 1 <= dim <= held:
        raise SettingsError(f"token_dim={dim}: must be 1 to {held}, which the encoder's token vectors have")
    _, vectors = np.linalg.eigh(moments)
    leading = vectors[:, ::-1][:, :dim]
    signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(dim)])
    return np.ascontiguousarray(leading * np.where(signs == 0, 1.0, signs), np.float32)
