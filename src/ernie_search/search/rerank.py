"""Late interaction over stored token matrices (ColBERT's MaxSim, as a mean over the question's tokens)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.index import Index, Store
from ernie_search.index.codecs import StoredTokens
from ernie_search.search.fusion import Fusion, Staged, weighted
from ernie_search.search.kernels import Kernel, score_stored


def maxsim_scores(
    query_tokens: NDArray[np.floating[Any]],
    tokens: NDArray[np.floating[Any]],
    offsets: NDArray[np.int64],
    *,
    kernel: Kernel = "auto",
) -> NDArray[np.float32]:
    """``mean_i max_j <q_i, p_j>`` for n passages whose tokens lie one after the other.

    Args:
        query_tokens: ``(Lq, d)``, rows of length one; rounded to the type of ``tokens``.
        tokens: ``(T, d)`` float32 or float16, rows of length one; products are summed in fp32.
        offsets: ``(n + 1,)``; passage i owns rows ``offsets[i]:offsets[i + 1]``.
        kernel: who multiplies; see ``kernels``.

    Returns:
        ``(n,)`` float32. A passage without tokens gets ``EMPTY_SCORE``; a question without any gives all 0.

    Raises:
        ModelError: question and passages have another ``d``.
    """
    values = tokens if tokens.dtype in (np.float32, np.float16) else tokens.astype(np.float32)
    return score_stored(query_tokens, StoredTokens(np.ascontiguousarray(values), offsets), kernel=kernel)


def maxsim(
    query_tokens: NDArray[np.floating[Any]], passages: Sequence[NDArray[np.floating[Any]]]
) -> NDArray[np.float32]:
    """``maxsim_scores`` for a list of ``(L_i, d)`` matrices; ``(n,)`` float32."""
    offsets = np.zeros(len(passages) + 1, dtype=np.int64)
    np.cumsum([len(matrix) for matrix in passages], out=offsets[1:])
    filled = [matrix for matrix in passages if len(matrix)]
    empty = np.zeros((0, query_tokens.shape[-1]), dtype=np.float32)
    return maxsim_scores(query_tokens, np.concatenate(filled) if filled else empty, offsets)


def mean_cosines(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """MaxSim ``(n,)`` as what it is, a mean of cosines: rounding, also of stored tokens, takes it above 1."""
    return np.clip(scores.astype(np.float64), -1.0, 1.0)


def stored_tokens(index: Index, ids: Sequence[str]) -> StoredTokens:
    """The token matrices of passages in the type they are stored in, in the order asked for.

    Raises:
        IndexStateError: an id is unknown, or no token matrices were stored.
    """
    if isinstance(index, Store) and index.codec is not None:
        return index.codec.join(index.fetch(ids, ["tokens"])["tokens"].to_pylist())
    matrices = index.fetch_tokens(ids)
    return StoredTokens(matrices.values, matrices.offsets)


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
    late = mean_cosines(score_stored(query_tokens, stored_tokens(index, first.passages[:count])))
    if fusion is None or not fusion.with_late:
        return first.reranked(late, late=late)
    held = {name: values[:count] for name, values in first.stages.items() if name in fusion.weights}
    combined = weighted({**held, "late": late}, fusion.weights)
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
