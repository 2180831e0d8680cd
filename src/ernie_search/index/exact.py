"""Exact search in one matrix: a question scores the same alone as among others, ties are by id."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_search.index.memory import QUERY_BLOCK, top_rows
from ernie_search.index.protocol import Ranking


class ExactVectors:
    """n vectors in memory, in the order of their ids."""

    def __init__(self, ids: Sequence[str], dense: NDArray[np.float32]) -> None:
        """Take ``ids`` and their ``(n, D)`` vectors in any order."""
        order = sorted(range(len(ids)), key=ids.__getitem__)
        self.ids = [ids[row] for row in order]
        self.dense: NDArray[np.float32] = np.ascontiguousarray(dense[order], dtype=np.float32)
        self.place = {one: row for row, one in enumerate(self.ids)}

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: Sequence[str] | None = None
    ) -> list[Ranking]:
        """The ``k`` best for each of the ``(Q, D)`` vectors, of all or of the ids in ``allowed``."""
        rows: NDArray[np.int64] | None = None
        if allowed is not None:
            rows = np.sort(np.asarray([self.place[one] for one in allowed], dtype=np.int64))
        block = np.zeros((QUERY_BLOCK, self.dense.shape[1]), dtype=np.float32)
        rankings = []
        for start in range(0, len(vectors), QUERY_BLOCK):
            part = vectors[start : start + QUERY_BLOCK]
            block[: len(part)] = part
            for scores in (block @ self.dense.T)[: len(part)]:
                held = scores if rows is None else scores[rows]
                best = top_rows(held, k)
                places = best if rows is None else rows[best]
                rankings.append(Ranking([self.ids[row] for row in places.tolist()], scores[places]))
        return rankings


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
