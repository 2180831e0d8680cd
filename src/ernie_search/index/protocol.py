"""What every index offers; a backend is one file that implements it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.types import Hit, Passage


@dataclass(frozen=True, slots=True)
class Ranking:
    """Passage ids with their scores ``(n,)``, best first; equal scores keep the order of insertion."""

    ids: list[str]
    scores: NDArray[np.float32]


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
    """What an index holds. ``memory_bytes`` counts vectors and token matrices."""

    kind: str
    passages: int
    dim: int
    tokens: int
    token_dim: int
    memory_bytes: int
    model_name: str
    model_fingerprint: str


class Index(Protocol):
    """Passages with their vectors. All scores are dot products: higher is better."""

    @property
    def model_name(self) -> str:
        """The model that made the vectors."""

    @property
    def model_fingerprint(self) -> str:
        """That model's fingerprint; no other model's vectors may be compared with these."""

    @property
    def has_tokens(self) -> bool:
        """Whether token matrices are stored, so that late interaction can re-rank."""

    @property
    def has_parents(self) -> bool:
        """Whether any passage is a piece of a longer document (its ``parent``)."""

    def __len__(self) -> int:
        """Passages held."""

    def nearest(self, dense: NDArray[np.float32], k: int) -> list[Ranking]:
        """Ids and scores of the ``k`` best passages (or all) for each of the ``(Q, D)`` vectors."""

    def search(self, dense: NDArray[np.float32], k: int = 10) -> list[list[Hit]]:
        """As ``nearest``, with text, title and fields."""

    def fetch_tokens(self, ids: Sequence[str]) -> TokenMatrices:
        """The token matrices of passages, in the order asked for."""

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Passages by id, in the order asked for."""

    def parents(self, ids: Sequence[str]) -> list[str]:
        """The document that each passage is a piece of; its own id where it stands alone."""

    def stats(self) -> IndexStats:
        """Counts and sizes."""

    def close(self) -> None:
        """Release what the index holds open."""


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
