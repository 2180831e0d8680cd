"""Exact search in one matrix: a question scores the same alone as among others, ties are by place.

BLAS rounds products of other shapes differently, so its scores only rule out: every passage that rounding
could have kept from the ``k`` best is scored again by itself, in fp64. So a lone question is a product with
one vector, several times as fast as one padded to the shape of a batch, and gets the same list.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_search.index.protocol import Ranking

QUERY_BLOCK = 64
"""Questions a matrix product at most: over 1,000,000 passages their scores take 256 MB."""


def longest(dense: NDArray[np.float32]) -> float:
    """The greatest length of the ``(n, D)`` vectors; 0 where there are none."""
    return float(np.sqrt(np.einsum("nd,nd->n", dense, dense, dtype=np.float64).max(initial=0.0)))


def best_rows(
    dense: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    length: float,
    rows: NDArray[np.int64] | None = None,
    floors: NDArray[np.float32] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The rows of the ``k`` best vectors and their scores, for one question after the other.

    Args:
        dense: ``(n, D)``.
        vectors: ``(Q, D)``, of the questions.
        k: how many; all if there are fewer.
        length: of the longest in ``dense``, see :func:`longest`.
        rows: the only ones to choose from, rising; ``None`` for all.
        floors: ``(Q,)`` scores below which nothing is wanted: what does not come near them costs little.

    Yields:
        ``(min(k, n),)`` rows, or fewer with floors, best first and those that score alike in their order, and
        their scores.
    """
    # An inner product of D terms is off by at most D roundings of both lengths (Higham 2002, 3.1).
    bound = 2 * dense.shape[1] * float(np.finfo(np.float32).eps) * length
    for start in range(0, len(vectors), QUERY_BLOCK):
        block = vectors[start : start + QUERY_BLOCK]
        products = _products(dense, block)
        for number, (vector, rough) in enumerate(zip(block, products, strict=True), start):
            found, slack = rows, bound * float(np.linalg.norm(vector))
            if floors is not None:
                near = np.flatnonzero((rough if found is None else rough[found]) >= floors[number] - slack)
                found = near if found is None else found[near]
            held = rough if found is None else rough[found]
            if k < len(held):
                least = np.partition(held, len(held) - k)[len(held) - k]
                near = np.flatnonzero(held >= least - slack)
                found = near if found is None else found[near]
            elif found is None:
                found = np.arange(len(held))
            order, scores = ranked(dense[found], vector, k)
            yield found[order], scores


def _products(dense: NDArray[np.float32], block: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(Q, n)`` rough scores, by torch where the process has it loaded.

    Encoder and late interaction run on torch's threads. If numpy's BLAS had threads of its own in between,
    both would wait for the same cores: a question after a pause of 3 ms took 61 ms in place of 17.
    """
    torch = sys.modules.get("torch")
    if torch is None or not dense.flags.writeable:  # torch warns of memory that it must not write to
        return (dense @ block[0])[None] if len(block) == 1 else block @ dense.T
    matrix, asked = torch.from_numpy(dense), torch.from_numpy(np.array(block))
    products: NDArray[np.float32] = (
        (matrix @ asked[0])[None].numpy() if len(block) == 1 else (asked @ matrix.T).numpy()
    )
    return products


def ranked(
    candidates: NDArray[np.float32], vector: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places of the ``k`` best of ``(m, D)`` full vectors for one ``(D,)``, and their scores.

    Scores are added up in fp64; those that are alike stay in their order.
    """
    # einsum adds up each row alone: equal vectors get equal scores, whatever stands beside them.
    products = np.einsum("nd,d->n", candidates.astype(np.float64), vector.astype(np.float64))
    scores = products.astype(np.float32)
    order = np.argsort(-scores, kind="stable")[:k]
    return order, scores[order]


def top_rows(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the ``k`` highest of ``scores (N,)``, best first, equal ones in the order they stand."""
    if k < len(scores):
        cut = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > cut)
        # Of those that tie at the cut, the first ones: argpartition alone would take any of them.
        rows = np.concatenate([above, np.flatnonzero(scores == cut)[: k - len(above)]])
    else:
        rows = np.arange(len(scores))
    return rows[np.argsort(-scores[rows], kind="stable")]


class ExactVectors:
    """n vectors in memory, in the order of their ids."""

    def __init__(self, ids: Sequence[str], dense: NDArray[np.float32]) -> None:
        """Take ``ids`` and their ``(n, D)`` vectors in any order."""
        order = sorted(range(len(ids)), key=ids.__getitem__)
        self.ids = [ids[row] for row in order]
        self.dense: NDArray[np.float32] = np.ascontiguousarray(dense[order], dtype=np.float32)
        self.place = {one: row for row, one in enumerate(self.ids)}
        self._longest = longest(self.dense)

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: Sequence[str] | None = None
    ) -> list[Ranking]:
        """The ``k`` best for each of the ``(Q, D)`` vectors, of all or of the ids in ``allowed``."""
        rows: NDArray[np.int64] | None = None
        if allowed is not None:
            rows = np.sort(np.asarray([self.place[one] for one in allowed], dtype=np.int64))
        return [
            Ranking([self.ids[row] for row in places.tolist()], scores)
            for places, scores in best_rows(self.dense, vectors, k, self._longest, rows)
        ]


class Best:
    """The ``k`` best of a stream of scores, ties by id: for collections that do not fit in memory."""

    def __init__(self, k: int) -> None:
        """Keep ``k``."""
        self.k = k
        self.ids: list[str] = []
        self.scores: NDArray[np.float32] = np.zeros(0, np.float32)

    def add(self, ids: Sequence[str], scores: NDArray[np.float32]) -> None:
        """See ``(n,)`` more scores and their ids."""
        if len(self.ids) == self.k:
            # Those that cannot enter need no sorting; equal ones may, by their id.
            kept = np.flatnonzero(scores >= self.scores[-1])
            scores, ids = scores[kept], [ids[row] for row in kept.tolist()]
        joined = [*self.ids, *ids]
        values = np.concatenate([self.scores, scores])
        order = sorted(range(len(joined)), key=lambda row: (-values[row], joined[row]))[: self.k]
        self.ids, self.scores = [joined[row] for row in order], values[order]

    def ranking(self) -> Ranking:
        """What was best."""
        return Ranking(self.ids, self.scores)
