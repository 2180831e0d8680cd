"""MaxSim for training: chunked, with a backward that keeps the winners only.

``s(q, p) = mean_i max_j <q_i, p_j>`` (Khattab & Zaharia 2020; the mean over question tokens instead of their
sum makes scale and temperature independent of the question's length).

The plain form holds all ``Q x P x Lq x Lp`` token products until the backward. Here only the place of each
maximum is kept, ``Q x P x Lq`` numbers, and products exist for a chunk of passages at a time.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 21
"""Token products held at once (8 MiB in fp32): small enough for the cache, large enough for the product."""


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, passages: Tensor, weights: Tensor, hidden: Tensor, chunk: int
    ) -> Tensor:
        flat = queries.reshape(-1, queries.shape[-1])  # (Q Lq, d)
        scores = queries.new_empty(len(queries), len(passages))
        winners = torch.empty(len(flat), len(passages), dtype=torch.int32, device=flat.device)
        for start in range(0, len(passages), chunk):
            part = passages[start : start + chunk]  # (C, Lp, d)
            products = torch.matmul(flat, part.transpose(1, 2))  # (C, Q Lq, Lp)
            products.masked_fill_(hidden[start : start + chunk, None, :], float("-inf"))
            best, place = products.max(dim=-1)  # (C, Q Lq)
            winners[:, start : start + chunk] = place.t()
            weighted = best.t().reshape(*queries.shape[:2], -1) * weights[:, :, None]
            scores[:, start : start + chunk] = weighted.sum(dim=1)
        ctx.save_for_backward(queries, passages, weights, winners)
        ctx.chunk = chunk
        return scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, passages, weights, winners = ctx.saved_tensors
        flat = queries.reshape(-1, queries.shape[-1])
        # (Q, Lq, P): what one unit of each token's maximum is worth to the loss.
        worth = (weights[:, :, None] * grads[0][:, None, :]).reshape(len(flat), -1)
        to_queries = torch.zeros_like(flat)
        to_passages = torch.zeros_like(passages)
        for start in range(0, len(passages), ctx.chunk):
            stop = min(start + ctx.chunk, len(passages))
            # One row a question token, with its worth at the winning passage token: (C, Q Lq, Lp).
            chosen = flat.new_zeros(stop - start, len(flat), passages.shape[1])
            chosen.scatter_(
                2, winners[:, start:stop].t().long()[:, :, None], worth[:, start:stop].t()[:, :, None]
            )
            to_passages[start:stop] = torch.matmul(chosen.transpose(1, 2), flat)
            for offset in range(stop - start):
                to_queries.addmm_(chosen[offset], passages[start + offset])
        return to_queries.view_as(queries), to_passages, None, None, None


def maxsim(queries: Tensor, query_mask: Tensor, passages: Tensor, passage_mask: Tensor) -> Tensor:
    """Late-interaction scores of every question with every passage.

    Args:
        queries: ``(Q, Lq, d)`` token vectors.
        query_mask: ``(Q, Lq)`` bool; false tokens count for nothing.
        passages: ``(P, Lp, d)`` token vectors.
        passage_mask: ``(P, Lp)`` bool; false tokens are never the maximum. Each row needs one true.

    Returns:
        ``(Q, P)``: the mean over question tokens of the best product with a passage token.
    """
    kept = query_mask.to(queries.dtype)
    weights = kept / kept.sum(dim=1, keepdim=True).clamp(min=1)
    chunk = max(1, CHUNK_ELEMENTS // (queries.shape[0] * queries.shape[1] * passages.shape[1]))
    scores: Tensor = _MaxSim.apply(queries, passages, weights, ~passage_mask, chunk)  # type: ignore[no-untyped-call]
    return scores
