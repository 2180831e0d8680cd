"""Dropout whose random bits are drawn eight at a time.

On a processor ``torch.nn.Dropout`` draws one 64-bit number an element, on one core. One such number holds
eight bytes, and a byte is fine enough for a rate. ``benchmarks/step_parts.py`` measures what that saves.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 256


class _ByteDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped_levels: int) -> Tensor:
        count = values.numel()
        bits = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        keep = (bits.view(torch.uint8)[:count] >= dropped_levels).view(values.shape)
        ctx.save_for_backward(keep)
        ctx.scale = LEVELS / (LEVELS - dropped_levels)
        return torch.where(keep, values * ctx.scale, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return torch.where(keep, grads[0] * ctx.scale, 0.0), None


class ByteDropout(nn.Dropout):
    """``nn.Dropout`` at the nearest multiple of 1/256 of its rate (0.1 becomes 26/256 = 0.1016), unbiased.

    On other devices than a processor it is ``nn.Dropout`` itself.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """Drop and rescale while training; the identity otherwise."""
        dropped = round(self.p * LEVELS)
        if not self.training or dropped == 0:
            return input
        if input.device.type != "cpu" or dropped == LEVELS:
            return super().forward(input)
        result: Tensor = _ByteDropout.apply(input, dropped)  # type: ignore[no-untyped-call]
        return result


def use_byte_dropout(model: nn.Module) -> None:
    """Let every ``nn.Dropout`` inside ``model`` draw its bits by the byte, in place."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = ByteDropout


def active_dropouts(model: nn.Module) -> Iterator[nn.Dropout]:
    """The dropout modules that drop anything while training."""
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            yield module


def attention_dropouts(model: nn.Module) -> Iterator[nn.Dropout]:
    """The dropout modules that act on attention weights."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and name.rsplit(".", 2)[-2:-1] == ["self"]:
            yield module
