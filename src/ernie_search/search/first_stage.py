"""The first stage: candidates by vector, or by vector and words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.index import Index, Ranking
from ernie_search.search.fusion import fuse
from ernie_search.search.settings import SearchSettings
from ernie_search.search.staged import Staged

GROWTH = 4
"""How much deeper to look when a ranking of passages held too few different documents."""


def first_stage(
    index: Index, texts: Sequence[str], dense: NDArray[np.float32], depth: int, settings: SearchSettings
) -> list[Staged]:
    """For each question ``depth`` candidates or more (fused rankings overlap only in part), best first.

    Args:
        index: to search.
        texts: Q questions.
        dense: their vectors ``(Q, D)``.
        depth: how deep to go into each ranking.
        settings: mode, fusion and filter.
    """
    near = _nearest(index, dense, depth, settings)
    if settings.mode != "hybrid":
        return [Staged.of_dense(ranking) for ranking in near]
    words: Any = index  # its capabilities were checked; the protocol asks only for search by vector
    options = {} if settings.where is None else {"where": settings.where}
    found: list[Ranking] = words.bm25(texts, depth, **options)
    return [fuse({"dense": a, "bm25": b}, settings.fusion) for a, b in zip(near, found, strict=True)]


def by_documents(
    index: Index,
    texts: Sequence[str],
    dense: NDArray[np.float32],
    k: int,
    depth: int,
    settings: SearchSettings,
) -> list[Staged]:
    """As ``first_stage``, as deep as it takes to hold ``k`` different documents for each question."""
    found = first_stage(index, texts, dense, depth, settings)
    while depth < len(index) and any(
        len(one.ids) >= depth and len(set(index.parents(one.ids))) < k for one in found
    ):
        depth *= GROWTH
        found = first_stage(index, texts, dense, depth, settings)
    return found


def _nearest(index: Any, dense: NDArray[np.float32], depth: int, settings: SearchSettings) -> list[Ranking]:
    options: dict[str, Any] = {}
    if settings.where is not None:
        options["where"] = settings.where
    if settings.exact and "filters" in getattr(index, "capabilities", frozenset()):
        options["exact"] = True  # an index without capabilities is exact anyway
    found: list[Ranking] = index.nearest(dense, depth, **options)
    return found
