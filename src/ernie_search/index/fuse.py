"""Rankings whose scores cannot be compared, joined by their ranks (Cormack et al. 2009)."""

from collections.abc import Sequence

import numpy as np

from ernie_search.index.protocol import Ranking

RANK_CONSTANT = 60
"""``k`` of the paper: how little the first ranks stand out."""


def reciprocal_rank(rankings: Sequence[Ranking], k: int, constant: int = RANK_CONSTANT) -> Ranking:
    """The ``k`` best by the sum of ``1 / (constant + rank)``, ranks from 1; equal sums by id."""
    sums: dict[str, float] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking.ids, start=1):
            sums[one] = sums.get(one, 0.0) + 1.0 / (constant + rank)
    ids = sorted(sums, key=lambda one: (-sums[one], one))[:k]
    return Ranking(ids, np.asarray([sums[one] for one in ids], np.float32))
