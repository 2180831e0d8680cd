"""Re-ranking of candidates: by late interaction over stored token matrices, or by a cross-encoder."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ernie_search.index import Index
from ernie_search.search.fusion import EVEN, Fusion, Staged, weighted


def mean_cosines(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """MaxSim ``(n,)`` as what it is, a mean of cosines: rounding, also of stored tokens, takes it above 1."""
    return np.clip(scores.astype(np.float64), -1.0, 1.0)


def rerank(
    index: Index,
    query_tokens: NDArray[np.float32],
    first: Staged,
    candidates: int,
    fusion: Fusion | None = None,
) -> Staged:
    """Re-rank the first ``candidates`` passages by late interaction; the others follow in their old order.

    See ``Staged.reranked`` for the scores.

    Args:
        index: holds the token matrices.
        query_tokens: ``(Lq, d)``.
        first: the first stage's ranking.
        candidates: how many of its first passages to re-rank.
        fusion: with a weight for "late", be it 0, passages are ordered by the weighted sum of all stages.
    """
    count = min(candidates, len(first.ids))
    late = mean_cosines(index.late_scores(query_tokens, first.passages[:count]))
    if fusion is None or not fusion.with_late:
        return first.reranked(late, late=late)
    weights = fusion.weights or EVEN
    held = {name: values[:count] for name, values in first.stages.items() if name in weights}
    combined = weighted({**held, "late": late}, weights)
    return first.reranked(combined, late=late, combined=combined)


PairScorer = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]
"""Question and passage texts to scores ``(N,)``; higher is more relevant."""


def open_cross_encoder(name_or_path: str | Path) -> PairScorer:
    """Load a cross-encoder as the scorer that ``Searcher`` takes.

    Raises:
        ModelError: it cannot be loaded, or gives several scores for a pair.
    """
    from ernie_search.model.cross_encoder import load_cross_encoder, score_pairs  # torch, so not at the top

    return partial(score_pairs, load_cross_encoder(name_or_path))


def rerank_cross(
    index: Index, score: PairScorer, questions: Sequence[str], rankings: Sequence[Staged], candidates: int
) -> list[Staged]:
    """Re-rank the first ``candidates`` passages of each ranking; the others follow in their old order.

    Each question's pairs are scored by themselves: in a batch with others' the padding differs, and with it
    the last bits of the scores.

    Args:
        index: holds the texts.
        score: the cross-encoder.
        questions: Q texts.
        rankings: of the earlier stages, one a question.
        candidates: how many of its first passages to read.
    """
    results = []
    for question, ranking in zip(questions, rankings, strict=True):
        passages = index.get(ranking.passages[:candidates])
        if not passages:
            results.append(ranking)
            continue
        scores = score([(question, passage.full_text) for passage in passages]).astype(np.float64)
        results.append(ranking.reranked(scores, cross=scores))
    return results
