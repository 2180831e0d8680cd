"""What each reading says of a passage, on a scale that means the same in every collection, and their sum."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ernie_search.index import Index, Ranking, reciprocal_rank
from ernie_search.search.fusion import DEFAULTS, Situation, Staged
from ernie_search.search.rerank import mean_cosines

PROBED = 32
"""Passages whose vectors say whether a model gives vectors of length one."""

SHARE_POWER = 2
"""BM25's share enters the sum as its square: half of the question's words say less than half of what all say.
Measured beside the share itself in ``benchmarks/fusion_weights.py``."""

UNIT = 0.01
"""How far from one a length may be: vectors encoded in bf16 and normalised there have three digits."""


def situation(index: Index, *, late: bool) -> Situation:
    """Which row of ``DEFAULTS`` a search belongs to.

    Args:
        index: to be searched.
        late: whether late interaction takes part.
    """
    if not late:
        return "dense_only"
    return "late_only" if index.spec.encoder_kind == "late" else index.spec.encoder_kind


def absolute_weights(index: Index, weights: Mapping[str, float] | None, *, late: bool) -> Mapping[str, float]:
    """The weights of an absolute fusion: the given ones, or those of the index's situation."""
    return DEFAULTS[situation(index, late=late)].weights if weights is None else weights


def has_unit_vectors(index: Index) -> bool:
    """Whether the index's model gives vectors of length one (or zero), so that a dot product is a cosine.

    The passages nearest to one fixed vector are looked at: a model normalises all vectors or none.
    """
    if not len(index):
        return True
    probe = np.full((1, index.spec.dim), index.spec.dim**-0.5, np.float32)
    lengths = _lengths(index, index.nearest(probe, PROBED)[0].ids)
    return bool(np.all((lengths == 0) | (np.abs(lengths - 1) <= UNIT)))


def cosines(
    index: Index, vector: NDArray[np.float32], ids: list[str], *, unit_vectors: bool
) -> NDArray[np.float64]:
    """Cosines ``(n,)`` of a question's vector with passages'; 0 where one of the two is a zero vector.

    A model that scores by dot products of any length (DPR, say) would drown the other readings in the sum.
    Its dot products are divided by both lengths, as only the cosine has a scale that is known beforehand; the
    candidates are still those of the dot product, which the model was trained for.

    Args:
        index: holds the passages.
        vector: ``(D,)``.
        ids: n passages.
        unit_vectors: see ``has_unit_vectors``; saves reading the vectors.
    """
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if length == 0 or not ids:
        return np.zeros(len(ids))
    scores = index.dense_scores(vector, ids).astype(np.float64) / length
    if not unit_vectors:
        lengths = _lengths(index, ids)
        scores /= np.where(lengths > 0, lengths, 1.0)
    return np.clip(scores, -1.0, 1.0)


def word_shares(
    index: Index, text: str, ids: list[str], ranking: Ranking | None = None
) -> NDArray[np.float64] | None:
    """BM25 ``(n,)`` of passages as a share, 0 to 1, of the most that the question could get; squared.

    The most is the sum of its words' idf: what a passage would score that repeats every one of them without
    end. So a question whose words say little about the passages has small shares everywhere.

    Args:
        index: holds the passages.
        text: the question.
        ids: n passages.
        ranking: by words, of the same question: what it scored is not scored again.

    Returns:
        None where there is nothing to divide by: no statistics, or no word in the question.
    """
    statistics = index.statistics()
    most = 0.0 if statistics is None else statistics.most(text)
    if most <= 0 or not ids:
        return None
    known = {} if ranking is None else dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))
    others = [one for one in ids if one not in known]
    if others:
        known |= dict(zip(others, index.word_scores(text, others).tolist(), strict=True))
    shares = np.clip(np.array([known[one] for one in ids], np.float64) / most, 0.0, 1.0)
    return np.asarray(shares**SHARE_POWER, np.float64)


def absolute(
    index: Index,
    text: str,
    vector: NDArray[np.float32],
    tokens: NDArray[np.float32] | None,
    rankings: Mapping[str, Ranking],
    candidates: int,
    weights: Mapping[str, float],
    *,
    unit_vectors: bool,
) -> Staged:
    """The candidates of both rankings by the weighted sum of all readings; the others follow by their ranks.

    Every candidate gets every reading, whichever ranking it comes from. Equal sums are in the order of ids.

    Args:
        index: holds the passages.
        text, vector, tokens: the question, ``(D,)`` and ``(Lq, d)``; None leaves late interaction out.
        rankings: "dense" and "bm25", each ``candidates`` deep or more.
        candidates: how many of each are read.
        weights: by reading; one without a weight is left out.
        unit_vectors: see ``has_unit_vectors``.
    """
    head = sorted({one for ranking in rankings.values() for one in ranking.ids[:candidates]})
    following = reciprocal_rank(list(rankings.values()), sum(len(one.ids) for one in rankings.values()))
    chosen = set(head)
    rest = [row for row, one in enumerate(following.ids) if one not in chosen]
    stages = {"dense": cosines(index, vector, head, unit_vectors=unit_vectors)}
    shares = word_shares(index, text, head, rankings.get("bm25"))
    if shares is not None:
        stages["bm25"] = shares
    if tokens is not None and head:
        stages["late"] = mean_cosines(index.late_scores(tokens, head))
    if not any(weights.get(name, 0.0) > 0 for name in stages):  # words alone count, and there are none
        return Staged([], [], np.zeros(0), {})
    total = absolute_sum(stages, weights)
    ids = head + [following.ids[row] for row in rest]
    scores = np.concatenate([total, following.scores[rest].astype(np.float64)])
    return Staged(ids, ids, scores).reranked(total, **stages, fused=total)


def absolute_sum(
    stages: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """The weighted sum ``(n,)`` of readings; one that is missing, or has no weight, is left out."""
    total = np.zeros(len(next(iter(stages.values()))))
    for name, weight in weights.items():
        if name in stages:
            total += weight * np.nan_to_num(stages[name], nan=0.0)
    return total


def _lengths(index: Index, ids: list[str]) -> NDArray[np.float64]:
    column = index.fetch(ids, ["dense"])["dense"].combine_chunks()
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(ids), -1).astype(np.float64)
    return np.asarray(np.linalg.norm(matrix, axis=1), np.float64)
