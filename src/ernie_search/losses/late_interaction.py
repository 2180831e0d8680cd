"""MaxSim for training, with memory that does not grow with the number of token pairs.

A plain einsum keeps all ``Q x P x Lq x Lp`` token products until the backward pass. Here only the position
of each maximum is kept, ``Q x P x Lq`` integers, and the products exist for one chunk of passages at a time.
With ``recompute`` not even the positions are kept, as they grow with the square of the batch: the backward
pass finds them again.

On a GPU a fused kernel is used instead if one is installed and agrees with this code; see ``fused.py``.
"""

import math
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ernie_search.losses.fused import fused_maxsim, usable

CHUNK_ELEMENTS = 1 << 21
"""Token products held at once (8 MiB in fp32): few enough for the cache, enough for a fast product."""

_kept = threading.local()
"""Each thread's buffer for token products. Allocating a block of another size for every chunk fragments the
heap, which cost a third of a large step's memory."""


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, passages: Tensor, weights: Tensor, hidden: Tensor, recompute: bool
    ) -> Tensor:
        flat = queries.reshape(-1, queries.shape[-1])  # (Q Lq, d)
        scores = queries.new_empty(len(queries), len(passages))
        kept = 0 if recompute else len(passages)
        winners = torch.empty(len(flat), kept, dtype=torch.int32, device=flat.device)
        for chunk in _chunks(flat, passages):
            best, place = _best(flat, passages[chunk], hidden[chunk])  # (C, Q Lq)
            if not recompute:
                winners[:, chunk] = place.t()
            weighted = best.t().reshape(*queries.shape[:2], -1) * weights[:, :, None]
            scores[:, chunk] = weighted.sum(dim=1)
        ctx.save_for_backward(queries, passages, weights, hidden, winners)
        ctx.recompute = recompute
        return scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, passages, weights, hidden, winners = ctx.saved_tensors
        flat = queries.reshape(-1, queries.shape[-1])
        to_queries = torch.zeros_like(flat)
        to_passages = torch.zeros_like(passages)
        for chunk in _chunks(flat, passages):
            # (Q, Lq, C): the gradient of each token's maximum.
            worth = (weights[:, :, None] * grads[0][:, None, chunk]).reshape(len(flat), -1)
            read, to_read = passages[chunk], to_passages[chunk]
            place = _best(flat, read, hidden[chunk])[1] if ctx.recompute else winners[:, chunk].t()
            for rows in _rows(flat, read):
                # One row per question token, with that gradient at the winning passage token: (C, N, Lp).
                chosen = _buffer(flat, len(read), rows.stop - rows.start, read.shape[1]).zero_()
                chosen.scatter_(2, place[:, rows, None].long(), worth[rows].t()[:, :, None])
                part = flat[rows].expand(len(read), -1, -1)
                torch.baddbmm(to_read, chosen.transpose(1, 2), part, out=to_read)
                for offset in range(len(read)):
                    to_queries[rows].addmm_(chosen[offset], read[offset])
        return to_queries.view_as(queries), to_passages, None, None, None


def _chunks(flat: Tensor, passages: Tensor) -> Iterator[slice]:
    """Passages whose products with all question tokens are held together; at least one passage a chunk."""
    size = max(1, CHUNK_ELEMENTS // max(1, len(flat) * passages.shape[1]))
    for start in range(0, len(passages), size):
        yield slice(start, min(start + size, len(passages)))


def _rows(flat: Tensor, passages: Tensor) -> Iterator[slice]:
    """Question tokens whose products with the tokens of a chunk are held together."""
    size = max(1, CHUNK_ELEMENTS // max(1, len(passages) * passages.shape[1]))
    for start in range(0, len(flat), size):
        yield slice(start, min(start + size, len(flat)))


def _buffer(like: Tensor, *shape: int) -> Tensor:
    """This thread's buffer as a tensor of ``shape``; the next call overwrites it."""
    size = math.prod(shape)
    kept: Tensor | None = getattr(_kept, "buffer", None)
    if kept is None or kept.dtype != like.dtype or kept.device != like.device or len(kept) < size:
        kept = _kept.buffer = torch.empty(max(size, CHUNK_ELEMENTS), dtype=like.dtype, device=like.device)
    return kept[:size].view(shape)


def _best(flat: Tensor, passages: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """``(C, N)`` largest product of N question tokens with the tokens of C passages, and its position."""
    best = flat.new_empty(len(passages), len(flat))
    place = torch.empty(best.shape, dtype=torch.int32, device=flat.device)
    for rows in _rows(flat, passages):
        products = _buffer(flat, len(passages), rows.stop - rows.start, passages.shape[1])
        part = flat[rows].expand(len(passages), -1, -1)
        torch.bmm(part, passages.transpose(1, 2), out=products)  # (C, N, Lp)
        products.masked_fill_(hidden[:, None, :], float("-inf"))
        best[:, rows], place[:, rows] = products.max(dim=-1)
    return best, place


def maxsim(
    queries: Tensor,
    query_mask: Tensor,
    passages: Tensor,
    passage_mask: Tensor,
    *,
    query_weights: Tensor | None = None,
    recompute: bool = False,
) -> Tensor:
    """Late-interaction scores of every question with every passage, differentiable in both.

    ``s(q, p) = mean_i max_j <q_i, p_j>``: each question token is scored by its best passage token. The mean
    over question tokens, in place of ColBERT's sum, makes scale and temperature independent of the question's
    length.

    Args:
        queries: token vectors of the questions.
        query_mask: false tokens are left out of the mean.
        passages: token vectors of the passages.
        passage_mask: false tokens are never the maximum; each passage needs at least one true token.
        query_weights: what each token of a question counts, above zero, in a weighted mean over tokens; by
            default all count alike.
        recompute: keep nothing for the backward pass, which then computes the token products again.

    Returns:
        The scores.

    Shapes:
        - ``queries``: ``(Q, Lq, d)``, ``query_mask`` (bool) and ``query_weights``: ``(Q, Lq)``
        - ``passages``: ``(P, Lp, d)``, ``passage_mask`` (bool): ``(P, Lp)``
        - returns: ``(Q, P)``

    Source: ColBERT (Khattab and Zaharia 2020, arXiv 2004.12832).

    Example:
        >>> import torch
        >>> from ernie_search.losses import maxsim
        >>> queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> passages = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [9.0, 9.0]]])
        >>> passage_mask = torch.tensor([[True, True], [True, False]])  # the last token is padding
        >>> maxsim(queries, torch.ones(1, 2, dtype=torch.bool), passages, passage_mask)
        tensor([[0.9000, 0.5000]])
    """
    if query_weights is not None:
        # A token's maximum grows with its vector, so a weight may as well scale the vector.
        kept = query_mask.to(queries.dtype)
        share = query_weights.to(queries.dtype) * kept
        mean = share.sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
        queries = queries * (share / mean.clamp(min=1e-9))[:, :, None]
    if queries.is_cuda and usable(queries.device, own_maxsim):
        return fused_maxsim(queries, query_mask, passages, passage_mask)
    return own_maxsim(queries, query_mask, passages, passage_mask, recompute=recompute)


def own_maxsim(
    queries: Tensor,
    query_mask: Tensor,
    passages: Tensor,
    passage_mask: Tensor,
    *,
    recompute: bool = False,
) -> Tensor:
    """:func:`maxsim` in plain torch operations, on any device."""
    kept = query_mask.to(queries.dtype)
    weights = kept / kept.sum(dim=1, keepdim=True).clamp(min=1)
    arguments = (queries, passages, weights, ~passage_mask, recompute)
    scores: Tensor = _MaxSim.apply(*arguments)  # type: ignore[no-untyped-call]
    return scores
