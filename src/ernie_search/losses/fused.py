"""MaxSim as one fused GPU kernel, from the optional package ``late-interaction-kernels``.

Before its first use on a device, the kernel's scores and gradients are compared there with our own code. A
kernel that is missing, fails or differs is not used, and training continues with our own code.
"""

import functools
import importlib
import importlib.util
import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PACKAGES = ("late_interaction_kernels", "triton")
TOLERANCE = 5e-3
"""Largest accepted difference of scores and gradients, relative to the largest entry: a GPU may multiply fp32
numbers in tf32, which keeps 10 bits."""
CHECKED = (3, 33, 5, 70, 64)
"""Sizes of the comparison: questions, their tokens, passages, their tokens, width; few are powers of two."""

Scores = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A MaxSim: ``(queries, query_mask, passages, passage_mask)`` to ``(Q, P)`` mean scores."""

_log = logging.getLogger(__name__)


def installed() -> bool:
    """Whether the kernel's packages are installed; :func:`usable` says whether they work."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def fused_maxsim(queries: Tensor, query_mask: Tensor, passages: Tensor, passage_mask: Tensor) -> Tensor:
    """:func:`ernie_search.losses.maxsim` computed by the kernel.

    Args:
        queries: ``(Q, Lq, d)`` token vectors.
        query_mask: ``(Q, Lq)`` bool.
        passages: ``(P, Lp, d)`` token vectors.
        passage_mask: ``(P, Lp)`` bool.

    Returns:
        ``(Q, P)`` mean scores.
    """
    kernel: Any = importlib.import_module(PACKAGES[0])  # it gives sums over question tokens
    # "unified" sums gradients in fp32; the package's own choice may halve their precision.
    masks = {"q_mask": query_mask, "d_mask": passage_mask}
    sums: Tensor = kernel.maxsim(queries, passages, **masks, backward="unified")
    return sums / query_mask.sum(dim=1, keepdim=True).clamp(min=1)


@functools.cache
def usable(device: torch.device, own: Scores, fused: Scores = fused_maxsim) -> bool:
    """Whether the kernel agrees with ``own`` on ``device``; checked once per device.

    Args:
        device: of the tensors.
        own: the implementation to compare with.
        fused: the kernel.
    """
    if device.type != "cuda" or not installed():
        return False
    try:
        worst = difference(device, own, fused)
    except Exception as error:  # whatever a compiler of kernels raises, training continues without it
        _log.warning("late-interaction-kernels fails on %s (%s), so it is not used", device, _line(error))
        return False
    if not worst <= TOLERANCE:  # so that NaN fails too
        _log.warning("late-interaction-kernels is off by %.2g on %s, so it is not used", worst, device)
        return False
    return True


def difference(device: torch.device, own: Scores, fused: Scores) -> float:
    """Largest difference in scores and both gradients of two MaxSims, relative to the largest entry."""
    questions, asked, count, length, width = CHECKED
    generator = torch.Generator().manual_seed(0)

    def vectors(*shape: int) -> Tensor:
        values = torch.randn(*shape, width, generator=generator)
        return torch.nn.functional.normalize(values, dim=-1).to(device).requires_grad_()

    def mask(rows: int, longest: int) -> Tensor:
        lengths = torch.arange(rows) % longest + longest // 2
        return (torch.arange(longest) < lengths[:, None]).to(device)

    queries, passages = vectors(questions, asked), vectors(count, length)
    masks = mask(questions, asked), mask(count, length)
    worth = torch.randn(questions, count, generator=generator).to(device)
    found = []
    for form in (own, fused):
        # Whatever the training around it computes in, the two are compared in fp32.
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            scores = form(queries, masks[0], passages, masks[1])
            grads = torch.autograd.grad((scores * worth).sum(), [queries, passages])
        found.append([scores.detach(), *grads])
    shares = [
        float((theirs.float() - ours).abs().max() / ours.abs().max())
        for ours, theirs in zip(*found, strict=True)
    ]
    return max(shares, key=lambda share: math.inf if math.isnan(share) else share)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
