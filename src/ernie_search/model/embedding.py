"""Embeddings whose gradient is added where it belongs, not written out for the whole vocabulary.

Each backward of ``torch.nn.Embedding`` makes a gradient as large as its weights, nearly all of it zeros, and
adds that to what is there: 47 MB twice for a micro-batch of all-MiniLM-L6-v2, a sixth of a training step. The
rows that a micro-batch named are some hundreds. ``benchmarks/step_parts.py`` measures what that saves.
"""

from typing import Any

import torch
from torch import Tensor, nn

LARGE = 4096
"""Rows from which it is worth it: vocabularies, not positions or segments."""


class _Lookup(torch.autograd.Function):
    """Rows of ``weight``, whose gradient goes into ``weight.grad`` itself, by the same sums as torch's
    own."""

    @staticmethod
    def forward(ctx: Any, weight: nn.Parameter, ids: Tensor, padding: int) -> Tensor:
        ctx.weight, ctx.padding = weight, padding
        ctx.save_for_backward(ids)
        return weight[ids]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        named, place = ids.unique(return_inverse=True)
        rows = torch.ops.aten.embedding_dense_backward(grads[0], place, len(named), -1, False)
        rows[named == ctx.padding] = 0.0
        if ctx.weight.grad is None:
            ctx.weight.grad = torch.zeros_like(ctx.weight)
        ctx.weight.grad.index_add_(0, named, rows)
        return None, None, None


class AddingEmbedding(nn.Embedding):
    """``nn.Embedding`` for ``loss.backward()`` on a processor; elsewhere it is ``nn.Embedding`` itself.

    ``torch.autograd.grad`` and hooks of the weight's gradient see nothing of it.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """``(...)`` ids to ``(..., dimensions)``."""
        if input.device.type != "cpu" or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(input)
        padding = -1 if self.padding_idx is None else self.padding_idx
        found: Tensor = _Lookup.apply(self.weight, input, padding)  # type: ignore[no-untyped-call]
        return found


def use_adding_embeddings(model: nn.Module) -> None:
    """Let every large ``nn.Embedding`` inside ``model`` add its gradient in place.

    Not for a model that several processes train: their wrapper waits for each weight's gradient by a hook.
    """
    for module in model.modules():
        if type(module) is not nn.Embedding or module.num_embeddings < LARGE:
            continue
        if module.max_norm is None and not module.scale_grad_by_freq and not module.sparse:
            module.__class__ = AddingEmbedding
