"""Rankings and their ``k`` best: ties are broken by place or by id, the same way for every backend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RANK_CONSTANT = 60
"""``k`` of reciprocal rank fusion (Cormack et al. 2009): how little the first ranks stand out."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Passage ids with their scores ``(n,)``, best first; equal scores are in the order of the ids."""

    ids: list[str]
    scores: NDArray[np.float32]


def top_rows(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Places of the ``k`` highest of ``scores (N,)``, best first, equal ones in the order they stand."""
    if k < len(scores):
        cut = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > cut)
        # Of those that tie at the cut, the first ones: argpartition alone would take any of them.
        rows = np.concatenate([above, np.flatnonzero(scores == cut)[: k - len(above)]])
    else:
        rows = np.arange(len(scores))
    return rows[np.argsort(-scores[rows], kind="stable")]


def top_ids(ids: Sequence[str], scores: Sequence[float] | NDArray[np.floating], k: int) -> Ranking:
    """The ``k`` best of passages in any order; equal scores by id."""
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))[:k]
    return Ranking([ids[row] for row in order], np.asarray([scores[row] for row in order], np.float32))


def until_settled(ask: Callable[[int], tuple[list[str], list[float]]], k: int, total: int) -> Ranking:
    """The ``k`` best of a backend that breaks ties as it likes, with ties broken by id.

    ``ask(limit)`` gives ids and scores, best first. It is asked for more while the last score that came
    equals the k-th: any of those that tie there might be the one to keep.
    """
    limit = min(k + 1, total)
    while True:
        ids, scores = ask(limit) if limit else ([], [])
        if len(ids) < limit or limit >= total or scores[-1] < scores[k - 1]:
            return top_ids(ids, scores, k)
        limit = min(limit * 4, total)


class Best:
    """The ``k`` best of a stream of scores, ties by id: for collections that do not fit in memory."""

    def __init__(self, k: int) -> None:
        """Keep ``k``."""
        self.k = k
        self._best = Ranking([], np.zeros(0, np.float32))

    def add(self, ids: Sequence[str], scores: NDArray[np.float32]) -> None:
        """See ``(n,)`` more scores and their ids."""
        best = self._best
        if len(best.ids) == self.k:
            # Those that cannot enter need no sorting; equal ones may, by their id.
            kept = np.flatnonzero(scores >= best.scores[-1])
            scores, ids = scores[kept], [ids[row] for row in kept.tolist()]
        self._best = top_ids([*best.ids, *ids], np.concatenate([best.scores, scores]), self.k)

    def ranking(self) -> Ranking:
        """The best so far."""
        return self._best


def reciprocal_rank(rankings: Sequence[Ranking], k: int, constant: int = RANK_CONSTANT) -> Ranking:
    """The ``k`` best by the sum of ``1 / (constant + rank)``, ranks from 1; equal sums by id."""
    sums: dict[str, float] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking.ids, start=1):
            sums[one] = sums.get(one, 0.0) + 1.0 / (constant + rank)
    return top_ids(list(sums), list(sums.values()), k)
