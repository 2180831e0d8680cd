"""Scores of cached passages: each question with passages of its own list, without a gradient for them.

The passages were encoded before the step, by the same model some steps ago. Reading a question against 16 to
64 of them costs products of vectors, and no encoding.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class CachedPassages:
    """Vectors of S cached passages, and which of them are on the list of which question.

    Attributes:
        rows: ``(Q, M)`` the cached passage at each place of each question's list; any at a place that is
            masked.
        cls: ``(S, D)`` single vectors, fp16.
        tokens: ``(T, d)`` token vectors of all passages, one after the other, fp16; ``None`` where no term
            reads them.
        starts, lengths: ``(S,)`` where each passage's token vectors begin, and how many they are.
    """

    rows: Tensor
    cls: Tensor
    tokens: Tensor | None
    starts: Tensor
    lengths: Tensor

    def dense(self, questions: Tensor) -> Tensor:
        """``(Q, M)`` scores of the questions' single vectors ``(Q, D)`` with the passages of their lists."""
        return torch.einsum("qd,qmd->qm", questions, self.cls[self.rows].to(questions.dtype))

    def late(self, queries: Tensor, query_mask: Tensor, query_weights: Tensor | None = None) -> Tensor:
        """Scores of late interaction with the passages of each question's list.

        ``s(q, p) = mean_i max_j <q_i, p_j>``, as :func:`~ernie_search.losses.maxsim` has it. Kept until the
        backward are the places of the maxima, and no product of tokens.

        Args:
            queries: ``(Q, Lq, d)`` token vectors of the questions, which get the gradient.
            query_mask: ``(Q, Lq)`` bool; false tokens are left out of the mean.
            query_weights: ``(Q, Lq)``, not negative: what each token counts in the mean; by default alike.

        Returns:
            ``(Q, M)``.

        Raises:
            ValueError: no token vectors are cached.
        """
        if self.tokens is None:
            raise ValueError("no token vectors are cached; cache them, or read the single vectors alone")
        weights = query_mask.to(queries.dtype)
        if query_weights is not None:
            weights = weights * query_weights.to(queries.dtype)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        arguments = (queries, weights, self.tokens, self.starts[self.rows], self.lengths[self.rows])
        scores: Tensor = _CachedMaxSim.apply(*arguments)  # type: ignore[no-untyped-call]
        return scores


class _CachedMaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, weights: Tensor, tokens: Tensor, starts: Tensor, lengths: Tensor
    ) -> Tensor:
        best = queries.new_empty(*starts.shape, queries.shape[1])  # (Q, M, Lq)
        winners = torch.empty(best.shape, dtype=torch.int64, device=queries.device)
        for one, longest in enumerate(lengths.max(dim=1).values.tolist()):
            place = torch.arange(longest, device=queries.device)
            # Behind a passage's end its first token again, which changes no maximum.
            index = starts[one, :, None] + place.where(place < lengths[one, :, None], 0)  # (M, Lp)
            products = torch.matmul(tokens[index].to(queries.dtype), queries[one].t())  # (M, Lp, Lq)
            best[one], at = products.max(dim=1)
            winners[one] = index.gather(1, at)
        ctx.save_for_backward(weights, tokens, winners)
        ctx.best = best if ctx.needs_input_grad[1] else None
        return torch.einsum("qml,ql->qm", best, weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, tokens, winners = ctx.saved_tensors
        found = [
            torch.einsum("m,mld->ld", grad, tokens[won].to(grad.dtype))
            for grad, won in zip(grads[0], winners, strict=True)
        ]
        to_weights = None if ctx.best is None else torch.einsum("qm,qml->ql", grads[0], ctx.best)
        return torch.stack(found) * weights[:, :, None], to_weights, None, None, None
