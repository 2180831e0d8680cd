"""Late interaction over stored token matrices (ColBERT's MaxSim, as a mean over the question's tokens)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import ModelError
from ernie_search.index import Index
from ernie_search.search.staged import Staged

EMPTY_SCORE = -1.0
"""Score of a passage without tokens: the lowest that normalised rows can reach."""

SEAM = 1.0
"""How far below the last re-ranked passage the rest begins: wide enough to see in a run file."""


def maxsim_scores(
    query_tokens: NDArray[np.floating[Any]], tokens: NDArray[np.floating[Any]], offsets: NDArray[np.int64]
) -> NDArray[np.float32]:
    """``mean_i max_j <q_i, p_j>`` for n passages whose tokens lie one after the other.

    Args:
        query_tokens: ``(Lq, d)``, rows of length one.
        tokens: ``(T, d)``, rows of length one; fp16 is computed in fp32.
        offsets: ``(n + 1,)``; passage i owns rows ``offsets[i]:offsets[i + 1]``.

    Returns:
        ``(n,)`` float32. A passage without tokens gets ``EMPTY_SCORE``; a question without any gives all 0.

    Raises:
        ModelError: question and passages have another ``d``.
    """
    scores = np.full(len(offsets) - 1, EMPTY_SCORE, dtype=np.float32)
    if len(query_tokens) == 0:
        scores[:] = 0.0
        return scores
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled) == 0:
        return scores
    if query_tokens.shape[1] != tokens.shape[1]:
        raise ModelError(
            f"question tokens have {query_tokens.shape[1]} dimensions, passage tokens {tokens.shape[1]}; "
            "use the model that made the index"
        )
    # One product for all candidates: (Lq, T); the maxima then run along contiguous memory.
    similarity = np.asarray(query_tokens, np.float32) @ np.asarray(tokens, np.float32).T
    scores[filled] = np.maximum.reduceat(similarity, offsets[filled], axis=1).mean(axis=0)
    return scores


def maxsim(
    query_tokens: NDArray[np.floating[Any]], passages: Sequence[NDArray[np.floating[Any]]]
) -> NDArray[np.float32]:
    """``maxsim_scores`` for a list of ``(L_i, d)`` matrices; ``(n,)`` float32."""
    offsets = np.zeros(len(passages) + 1, dtype=np.int64)
    np.cumsum([len(matrix) for matrix in passages], out=offsets[1:])
    filled = [matrix for matrix in passages if len(matrix)]
    empty = np.zeros((0, query_tokens.shape[-1]), dtype=np.float32)
    return maxsim_scores(query_tokens, np.concatenate(filled) if filled else empty, offsets)


def rerank(index: Index, query_tokens: NDArray[np.float32], dense: Staged, candidates: int) -> Staged:
    """Re-rank the first ``candidates`` passages by late interaction; the others follow in their dense order.

    Scores fall along the list: the rest keeps its distances from one another, ``SEAM`` below the last
    re-ranked one, so that recall at any depth can be measured. Equal late scores keep their dense order.

    Args:
        index: holds the token matrices.
        query_tokens: ``(Lq, d)``.
        dense: the first stage's ranking.
        candidates: how many of its first passages to re-rank.
    """
    count = min(candidates, len(dense.ids))
    matrices = index.fetch_tokens(dense.passages[:count])
    late = maxsim_scores(query_tokens, matrices.values, matrices.offsets).astype(np.float64)
    order = np.concatenate([np.argsort(-late, kind="stable"), np.arange(count, len(dense.ids))])
    scores = dense.scores.copy()
    scores[:count] = late
    if count < len(scores):
        scores[count:] += late.min() - SEAM - scores[count]
    stages = {**dense.stages, "late": np.concatenate([late, np.full(len(scores) - count, np.nan)])}
    return Staged(dense.ids, dense.passages, scores, stages).take(order)
