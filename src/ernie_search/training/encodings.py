"""What a step encodes, and how its gradient comes back into the encoder.

Three ways, with the same loss and the same gradients:

- ``whole``: one graph from the weights to the loss (one process, a batch that fits into memory);
- ``cut``: the graph is cut at the encoder's outputs, so that all that ranks tell each other is told before
  the encoder's backward begins (several processes);
- ``again``: gradient caching. The outputs are computed without a graph; once their gradients are known, each
  micro-batch is encoded again, with the same dropout, and gets its share. Memory then grows by the outputs
  and their gradients alone.

Source of the last: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", arXiv 2101.06983.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ernie_search.errors import TrainingError
from ernie_search.model import EncoderOutput

Way = Literal["whole", "cut", "again"]


@dataclass(frozen=True, slots=True)
class RandomState:
    """Where the random numbers of the processor, and of the device where it is another, stand."""

    processor: Tensor
    device: Tensor | None
    kind: torch.device

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """As they stand; small, and no copy of anything else."""
        own = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)
        return cls(torch.get_rng_state(), own, device)

    def restore(self) -> None:
        """Put them back there."""
        torch.set_rng_state(self.processor)
        if self.device is not None:
            torch.get_device_module(self.kind).set_rng_state(self.device, self.kind)


@dataclass(slots=True)
class _MicroBatch:
    """One pass of the encoder: what went in, what came out, and the leaves that stand for it."""

    features: dict[str, Tensor]
    state: RandomState | None
    outputs: list[Tensor]
    leaves: list[Tensor]


@dataclass(slots=True)
class Encodings:
    """All passes of one step.

    Attributes:
        model: the student, in the trainer's wrapper where it has one.
        normalise: whether its single vectors are.
        way: see above.
        device: of the model.
    """

    model: Any
    normalise: bool
    way: Way
    device: torch.device
    _passes: list[_MicroBatch] = field(default_factory=list)

    def encode(self, parts: Sequence[dict[str, Tensor]]) -> list[EncoderOutput]:
        """Micro-batches through the model; what comes out is where the terms' gradient arrives."""
        return [self._encode(part) for part in parts]

    def _encode(self, features: dict[str, Tensor]) -> EncoderOutput:
        if self.way == "whole":
            return self._read(features)
        state = RandomState.now(self.device) if self.way == "again" else None
        with torch.set_grad_enabled(self.way == "cut"):
            output = self._read(features)
        outputs = _tensors(output)
        leaves = [tensor.detach().requires_grad_() for tensor in outputs]
        kept = outputs if self.way == "cut" else []
        self._passes.append(_MicroBatch(features, state, kept, leaves))
        return EncoderOutput(leaves[0], leaves[1] if len(leaves) > 1 else None, output.mask)

    def _read(self, features: dict[str, Tensor]) -> EncoderOutput:
        return EncoderOutput.from_features(self.model(dict(features)), normalise=self.normalise)

    def carry_back(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The same values; the backward of their sum carries the gradients of the leaves into the encoder.

        Call it when the leaves have their gradients. The backward can be run once.
        """
        if self.way == "cut":
            pairs = [
                (output, leaf.grad)
                for one in self._passes
                for output, leaf in zip(one.outputs, one.leaves, strict=True)
                if leaf.grad is not None
            ]
            outputs, grads = [output for output, _ in pairs], [grad for _, grad in pairs]
            carried = _Cut.apply(len(values), grads, *values, *outputs)  # type: ignore[no-untyped-call]
        else:
            anchor = torch.zeros(1, device=self.device, requires_grad=True)
            carried = _Again.apply(self, anchor, *values)  # type: ignore[no-untyped-call]
        return list(carried)

    def encode_again(self, scale: Tensor) -> None:
        """Encode each micro-batch with a graph, under the dropout that it had, and give it its gradient.

        Args:
            scale: what the cached gradients are multiplied by.
        """
        passes, self._passes = self._passes, []
        after = RandomState.now(self.device)
        while passes:
            one = passes.pop(0)
            if one.state is not None:
                one.state.restore()
            # Ranks add up their gradients once a step, with the last micro-batch of each.
            alone = (
                self.model.no_sync if passes and hasattr(self.model, "no_sync") else contextlib.nullcontext
            )
            with torch.enable_grad(), alone():
                outputs = _tensors(self._read(one.features))
                grads = [leaf.grad for leaf in one.leaves]
                if all(grad is None for grad in grads):
                    grads[0] = torch.zeros_like(one.leaves[0])
                reached = [
                    (out, grad * scale) for out, grad in zip(outputs, grads, strict=True) if grad is not None
                ]
                torch.autograd.backward([out for out, _ in reached], [grad for _, grad in reached])
        after.restore()


class _Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, grads: list[Tensor], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.grads = grads
        return tuple(value.clone() for value in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale, cached = _scale(grads), ctx.grads
        ctx.grads = []
        return None, None, *(None for _ in grads), *(grad * scale for grad in cached)


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, encodings: Encodings, anchor: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.encodings = encodings
        return tuple(value.clone() for value in values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ctx.encodings.encode_again(_scale(grads))
        return None, None, *(None for _ in grads)


def _scale(grads: Sequence[Tensor]) -> Tensor:
    """What all parts of the loss are multiplied by alike."""
    together = torch.stack(list(grads))
    if not bool((together == together[0]).all()) and bool(together.isfinite().all()):
        raise TrainingError(
            "the parts of this loss were computed together, so that only their sum has a gradient; "
            "call backward on the sum, or set gradient_cache to false"
        )
    return together[0]


def _tensors(output: EncoderOutput) -> list[Tensor]:
    return [output.cls] if output.tokens is None else [output.cls, output.tokens]


@dataclass(slots=True)
class Cuts:
    """Cuts the graph at the scores as well: a term's own graph then lives no longer than the term."""

    _pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __call__(self, scores: Tensor) -> Tensor:
        """The same scores as a leaf; as they are where nothing behind them learns."""
        if not scores.requires_grad:
            return scores
        leaf = scores.detach().requires_grad_()
        self._pairs.append((scores, leaf))
        return leaf

    def push(self) -> None:
        """Carry what arrived at the leaves on to what lies behind, all at once: ranks talk in there."""
        reached = [(scores, leaf.grad) for scores, leaf in self._pairs if leaf.grad is not None]
        self._pairs.clear()
        if reached:
            torch.autograd.backward([scores for scores, _ in reached], [grad for _, grad in reached])
