"""Tensors of all ranks, with the gradients that one process on the joined batch would have.

Each rank encodes its own texts, scores its own questions against the passages of all, and gathers the rows of
scores of all. The terms of the loss are then computed by every rank over the same whole matrix, so that their
means have the right denominators, whatever is masked where. Going back, each rank takes the gradient of its
own rows; what those rows say of others' passages is sent to who encoded them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ernie_search.model import EncoderOutput
from ernie_search.training.world import World


class _Rows(torch.autograd.Function):
    """Own rows to the rows of all. Every rank computes the same loss of them, so that the gradient of the own
    ones is whole already; the wrapper's mean over ranks divides it, hence the factor."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, world: World, total: int) -> Tensor:
        counts = world.counts(total)
        ctx.mine, ctx.size = world.share(total), world.size
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([one[:count] for one, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0][ctx.mine] * ctx.size, None, None


def gather_rows(rows: Tensor, world: World, total: int) -> Tensor:
    """``(own, ...)`` rows of each rank to the ``(total, ...)`` of all, in the order of ranks.

    Every rank must go on to the same loss of them.

    Args:
        rows: of this rank, as many as :meth:`World.counts` says.
        world: of the run.
        total: rows of all ranks together.
    """
    if world.size == 1:
        return rows
    found: Tensor = _Rows.apply(rows, world, total)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True, slots=True)
class _Shape:
    """Of a block of passages: rows, tokens; whether it has a token matrix."""

    rows: int
    length: int
    tokens: bool


class _Shared(torch.autograd.Function):
    """Own blocks to the blocks of all. Ranks use them for other questions each, so gradients are added up."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, plan: list[tuple[int, tuple[int, ...]]], *own: Tensor) -> Any:
        ctx.plan = plan
        rank, mine = dist.get_rank(), iter(own)
        found = []
        for owner, shape in plan:
            block = next(mine).contiguous() if owner == rank else anchor.new_empty(shape)
            dist.broadcast(block, src=owner)
            found.append(block.view_as(block))
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        rank, back = dist.get_rank(), []
        for (owner, _), grad in zip(ctx.plan, grads, strict=True):
            summed = grad.clone(memory_format=torch.contiguous_format)
            dist.reduce(summed, dst=owner)
            if owner == rank:
                back.append(summed)
        return None, None, *back


def share_blocks(
    blocks: Sequence[EncoderOutput], order: Tensor, anchor: Tensor, world: World
) -> tuple[list[EncoderOutput], Tensor]:
    """Every rank's blocks of passages, on every rank.

    Args:
        blocks: of this rank, may be none; what they hold together has the rows that ``order`` tells.
        order: ``(b,)`` place of each row of the blocks among this rank's passages.
        anchor: any one-element tensor of the blocks' kind and device, with a gradient where they have one.
        world: of the run.

    Returns:
        All blocks, and ``(B,)``: the row, among all blocks' rows, of each passage of the step.
    """
    if world.size == 1:
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        return list(blocks), place
    shapes = [
        _Shape(len(one.cls), 0 if one.mask is None else one.mask.shape[1], one.tokens is not None)
        for one in blocks
    ]
    widths = [(one.cls.shape[1], 0 if one.tokens is None else one.tokens.shape[2]) for one in blocks]
    brought = world.everybody((shapes, order.tolist(), widths[0] if widths else None))
    cls_width, token_width = next(widths for _, _, widths in brought if widths is not None)
    plan: list[tuple[int, tuple[int, ...]]] = []
    for owner, (theirs, _, _) in enumerate(brought):
        for shape in theirs:
            plan.append((owner, (shape.rows, cls_width)))
            if shape.tokens:
                plan.append((owner, (shape.rows, shape.length, token_width)))
    own = [tensor for one in blocks for tensor in (one.cls, one.tokens) if tensor is not None]
    tensors = iter(_Shared.apply(anchor, plan, *own))  # type: ignore[no-untyped-call]
    own_masks = iter(one.mask for one in blocks if one.mask is not None)
    found, rows, start = [], [], 0
    for owner, (theirs, their_order, _) in enumerate(brought):
        for shape in theirs:
            single = next(tensors)
            if not shape.tokens:
                found.append(EncoderOutput(single))
                continue
            mine = next(own_masks) if owner == world.rank else None
            found.append(EncoderOutput(single, next(tensors), _mask(mine, shape, owner, order)))
        inverse = torch.empty(len(their_order), dtype=torch.long)
        inverse[torch.tensor(their_order, dtype=torch.long)] = torch.arange(len(their_order))
        rows.append(inverse + start)
        start += len(their_order)
    return found, torch.cat(rows).to(order.device)


def _mask(mine: Tensor | None, shape: _Shape, owner: int, like: Tensor) -> Tensor:
    """The mask of a block, from who has it; as bytes, which every backend can send."""
    size = (shape.rows, shape.length)
    mask = torch.empty(size, dtype=torch.uint8, device=like.device) if mine is None else mine.to(torch.uint8)
    dist.broadcast(mask, src=owner)
    return mask.bool()
