"""Attention for training in bf16 on a processor, with a backward pass of plain matrix products.

The forward pass of torch's fused attention (2.13) is fast, but its backward pass does not use the matrix
instructions for bf16: it takes eight times as long as forward, a third of a whole training step. The gradient
is five products and a softmax, which take at most half of that. The forward pass stays torch's own. What it
saves is in ``benchmarks/RESULTS.md``.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "ernie_search_cpu"
"""Name of :func:`cpu_attention` in transformers."""
UNUSUAL = ("sliding_window", "softcap", "position_bias", "s_aux")
"""Arguments by which a layer asks for more than plain attention."""
BLOCK_BYTES = 1 << 20
"""Bytes of fp32 attention weights held at a time: half of a core's second-level cache."""


class _PlainBackward(torch.autograd.Function):
    """``softmax(scale q k^T + mask) v``; the mask gets no gradient."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, mask)
        ctx.scale = scale
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, mask = ctx.saved_tensors
        found = [torch.empty_like(one) for one in (query, key, value)]
        rows = max(1, BLOCK_BYTES // (4 * query.shape[1] * query.shape[2] * key.shape[2]))
        for start in range(0, len(query), rows):
            block = slice(start, start + rows)
            hidden = mask if mask is None or len(mask) == 1 else mask[block]
            parts = _gradients(query[block], key[block], value[block], grads[0][block], hidden, ctx.scale)
            for whole, part in zip(found, parts, strict=True):
                whole[block] = part
        return found[0], found[1], found[2], None, None


def _gradients(
    query: Tensor, key: Tensor, value: Tensor, given: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, ``(B, heads, L, d)`` each; softmax and its gradient in fp32."""
    logits = torch.matmul(query, key.transpose(-1, -2)).float().mul_(scale)
    if mask is not None:
        logits = logits.masked_fill_(~mask, float("-inf")) if mask.dtype == torch.bool else logits.add_(mask)
    weights = logits.softmax(dim=-1)
    if mask is not None and mask.dtype == torch.bool:
        weights = weights.masked_fill_(~mask, 0.0)  # a text without any token has no weights, not NaN
    wanted = torch.matmul(given, value.transpose(-1, -2)).float()
    change = torch._softmax_backward_data(wanted, weights, -1, torch.float32).mul_(scale).to(given.dtype)
    return (
        torch.matmul(change, key),
        torch.matmul(change.transpose(-1, -2), query),
        torch.matmul(weights.to(given.dtype).transpose(-1, -2), given),
    )


def cpu_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' scaled-dot-product attention, with a backward of our own where that is faster.

    It is used where a gradient is needed in bf16 and attention is plain: no dropout of its weights, no causal
    mask, no window. Everything else goes to torch unchanged.

    Args:
        module: the layer.
        query, key, value: ``(B, heads, L, d)``.
        attention_mask: ``(B or 1, 1, L, L)`` bool (true: seen) or added to the products; ``None`` where all
            is seen.
        dropout: of attention weights.
        scaling: of products; ``None`` for ``1 / sqrt(d)``.
        **kwargs: what the model hands on.

    Returns:
        ``(B, L, heads, d)``, and no weights.
    """
    learns = torch.is_grad_enabled() and query.requires_grad and query.dtype == torch.bfloat16
    plain = not (
        dropout
        or kwargs.get("is_causal")
        or getattr(module, "is_causal", True)  # as transformers takes a layer that does not say
        or key.shape[1] != query.shape[1]
        or (attention_mask is not None and attention_mask.requires_grad)
        or any(kwargs.get(name) is not None for name in UNUSUAL)
    )
    if not (learns and plain and query.device.type == "cpu"):
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mixed: Tensor = _PlainBackward.apply(  # type: ignore[no-untyped-call]
        query, key, value, attention_mask, scale
    )
    return mixed.transpose(1, 2).contiguous(), None


def use_cpu_attention(model: nn.Module) -> None:
    """Use this attention in every Transformer inside ``model`` that is on a processor and uses torch's own.

    What is saved of it stays the same. transformers learns of this attention here, not on import.
    """
    AttentionInterface.register(ATTENTION, cpu_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    for module in model.modules():
        if not isinstance(module, PreTrainedModel) or module.device.type != "cpu":
            continue
        if module.config._attn_implementation == "sdpa":
            module.set_attn_implementation(ATTENTION)
