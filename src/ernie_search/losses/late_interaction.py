"""MaxSim for training: chunked, with a backward that keeps the winners only, or not even them.

``s(q, p) = mean_i max_j <q_i, p_j>`` (Khattab & Zaharia 2020; the mean over question tokens instead of their
sum makes scale and temperature independent of the question's length).

The plain form holds all ``Q x P x Lq x Lp`` token products until the backward. Here only the place of each
maximum is kept, ``Q x P x Lq`` numbers, and products exist for a chunk of passages at a time. Where even that
is too much, as it grows with the square of the batch, the backward finds the places again.

On a GPU a fused kernel takes its place where one is installed and agrees; see ``fused.py``.
"""

from typing import Any

import torch
from torch import Tensor

from ernie_search.losses.fused import fused_maxsim, usable

CHUNK_ELEMENTS = 1 << 21
"""Token products held at once (8 MiB in fp32): small enough for the cache, large enough for the product."""


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        passages: Tensor,
        weights: Tensor,
        hidden: Tensor,
        chunk: int,
        recompute: bool,
    ) -> Tensor:
        flat = queries.reshape(-1, queries.shape[-1])  # (Q Lq, d)
        scores = queries.new_empty(len(queries), len(passages))
        kept = 0 if recompute else len(passages)
        winners = torch.empty(len(flat), kept, dtype=torch.int32, device=flat.device)
        for start in range(0, len(passages), chunk):
            stop = min(start + chunk, len(passages))
            best, place = _best(flat, passages[start:stop], hidden[start:stop])  # (C, Q Lq)
            if not recompute:
                winners[:, start:stop] = place.t()
            weighted = best.t().reshape(*queries.shape[:2], -1) * weights[:, :, None]
            scores[:, start:stop] = weighted.sum(dim=1)
        ctx.save_for_backward(queries, passages, weights, hidden, winners)
        ctx.chunk, ctx.recompute = chunk, recompute
        return scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, passages, weights, hidden, winners = ctx.saved_tensors
        flat = queries.reshape(-1, queries.shape[-1])
        to_queries = torch.zeros_like(flat)
        to_passages = torch.zeros_like(passages)
        for start in range(0, len(passages), ctx.chunk):
            stop = min(start + ctx.chunk, len(passages))
            # (Q, Lq, C): what one unit of each token's maximum is worth to the loss.
            worth = (weights[:, :, None] * grads[0][:, None, start:stop]).reshape(len(flat), -1)
            if ctx.recompute:
                place = _best(flat, passages[start:stop], hidden[start:stop])[1]
            else:
                place = winners[:, start:stop].t().long()
            # One row a question token, with its worth at the winning passage token: (C, Q Lq, Lp).
            chosen = flat.new_zeros(stop - start, len(flat), passages.shape[1])
            chosen.scatter_(2, place[:, :, None], worth.t()[:, :, None])
            to_passages[start:stop] = torch.matmul(chosen.transpose(1, 2), flat)
            for offset in range(stop - start):
                to_queries.addmm_(chosen[offset], passages[start + offset])
        return to_queries.view_as(queries), to_passages, None, None, None, None


def _best(flat: Tensor, passages: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """``(C, N)`` largest product of N question tokens with the tokens of C passages, and where it is."""
    products = torch.matmul(flat, passages.transpose(1, 2))  # (C, N, Lp)
    products.masked_fill_(hidden[:, None, :], float("-inf"))
    found = products.max(dim=-1)
    return found.values, found.indices


def maxsim(
    queries: Tensor,
    query_mask: Tensor,
    passages: Tensor,
    passage_mask: Tensor,
    *,
    recompute: bool = False,
) -> Tensor:
    """Late-interaction scores of every question with every passage.

    Args:
        queries: ``(Q, Lq, d)`` token vectors.
        query_mask: ``(Q, Lq)`` bool; false tokens count for nothing.
        passages: ``(P, Lp, d)`` token vectors.
        passage_mask: ``(P, Lp)`` bool; false tokens are never the maximum. Each row needs one true.
        recompute: keep nothing for the backward but the arguments; it then takes the products once more.

    Returns:
        ``(Q, P)``: the mean over question tokens of the best product with a passage token.
    """
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
    """:func:`maxsim` in torch's own operations, on any device."""
    kept = query_mask.to(queries.dtype)
    weights = kept / kept.sum(dim=1, keepdim=True).clamp(min=1)
    chunk = max(1, CHUNK_ELEMENTS // (queries.shape[0] * queries.shape[1] * passages.shape[1]))
    arguments = (queries, passages, weights, ~passage_mask, chunk, recompute)
    scores: Tensor = _MaxSim.apply(*arguments)  # type: ignore[no-untyped-call]
    return scores
