"""A batch as one row without padding, where attention is told at which token each text begins.

Padding costs as much as text in every layer, and the mask that hides it keeps attention from its fastest
kernel. Packed, the layers see tokens alone, and attention runs over each text by itself: FlashAttention's
form for several lengths (``torch.nn.attention.varlen``). What goes into sentence-transformers' Transformer
and what comes out of it stays padded, so nobody around it has to know.

Never assumed: a backbone is packed on a device and in a precision where its states and gradients then are
what they are padded. fp32, windows (ModernBERT) and attention of a model's own (MPNet) show there.
"""

import itertools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ernie_search.model.cpu_attention import UNUSUAL

ATTENTION = "ernie_search_packed"
"""What transformers knows :func:`packed_attention` by."""
LAYOUT = "packed_layout"
"""The keyword by which the layers are told."""
LENGTHS = (2, 29, 7, 1, 16)
"""Of the texts that are compared."""
ROUNDING, FLOOR = 4.0, 1e-3
"""Packed may differ from padded by so many times what padded differs from one text at a time, which is the
rounding of this precision; and by so much of the largest entry in any case. Texts that see their neighbours,
or stand at other positions, are off by 0.01 to 1, even before any training."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of B padded texts stand in one row of T.

    Attributes:
        shape: ``(B, L)``.
        places: ``(T,)`` the tokens' places in the padded batch, read row by row.
        starts: ``(B + 1,)`` int32 where each text begins in the row; T at the end.
        features: the padded batch.
    """

    shape: tuple[int, int]
    places: Tensor
    starts: Tensor
    features: Mapping[str, Any]

    @classmethod
    def of(cls, features: Mapping[str, Any]) -> "Layout":
        """Of a batch with its ``attention_mask``, ``(B, L)``."""
        mask = features["attention_mask"]
        ends = mask.sum(dim=1).cumsum(0)
        starts = torch.nn.functional.pad(ends, (1, 0)).to(torch.int32)
        return cls((mask.shape[0], mask.shape[1]), mask.flatten().nonzero()[:, 0], starts, dict(features))

    def pack(self, first: int = 0) -> dict[str, Any]:
        """The batch in one row, without the mask: whatever is of its shape is packed.

        Args:
            first: position of a text's first token: 0, or one past the padding's id in RoBERTa and its kin.
        """
        packed = {
            name: value.flatten()[self.places][None]
            if isinstance(value, Tensor) and value.shape == self.shape
            else value
            for name, value in self.features.items()
            if name != "attention_mask"
        }
        count = len(self.places)
        firsts = self.starts[:-1].repeat_interleave(self.starts.diff(), output_size=count)
        packed["position_ids"] = (torch.arange(count, device=firsts.device) - firsts + first)[None].long()
        return {**packed, LAYOUT: self}

    def pad(self, values: Tensor) -> Tensor:
        """``(1, T, d)`` as ``(B, L, d)``, with zeros where there is no token."""
        rows, longest = self.shape
        flat = values.new_zeros(rows * longest, values.shape[-1])
        return flat.index_copy(0, self.places, values[0]).view(rows, longest, -1)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' scaled-dot-product attention; over each text by itself where the batch is packed.

    Args:
        module: the layer.
        query, key, value: ``(B, heads, L, d)``; packed, ``(1, heads, T, d)``.
        attention_mask: of a padded batch.
        dropout: of attention weights.
        scaling: of products; ``None`` for torch's.
        **kwargs: what the model hands on, :data:`LAYOUT` among it where the batch is packed.

    Returns:
        ``(B, L, heads, d)`` or ``(1, T, heads, d)``, and no weights.

    Raises:
        ValueError: packed, and the layer asks for more than plain attention to all of the text.
    """
    layout: Layout | None = kwargs.pop(LAYOUT, None)
    if layout is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found
    asked = [name for name in UNUSUAL if kwargs.get(name)]
    if getattr(module, "is_causal", False) or dropout or asked:
        raise ValueError(f"attention with {', '.join(asked) or 'a causal mask or dropout'} is not packed")
    if query.device.type != "cpu":
        return _flash(query, key, value, layout, scaling), None
    # Text by text: what the tests compare, and the kernel above is compared with before it is used.
    mixed = [
        torch.nn.functional.scaled_dot_product_attention(
            query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scale=scaling
        )
        for start, end in itertools.pairwise(layout.starts.tolist())
    ]
    return torch.cat(mixed, dim=2).transpose(1, 2), None


def _flash(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # not in every torch: then nothing is packed

    rows = [part[0].transpose(0, 1) for part in (query, key, value)]
    longest, starts = layout.shape[1], layout.starts
    mixed = varlen_attn(rows[0], rows[1], rows[2], starts, starts, longest, longest, scale=scaling)
    if not isinstance(mixed, Tensor):
        raise TypeError("torch's attention for several lengths gave more than was asked for")
    return mixed[None]


def packs_on_gpu() -> bool:
    """Whether this torch has what packing needs on a GPU; a model must still prove to give the same so."""
    try:
        import torch.nn.attention.varlen  # noqa: F401
    except ImportError:
        return False
    return True


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class Packing:
    """Where a sentence-transformers Transformer may be packed. Its hooks pack and pad around the layers."""

    def __init__(self) -> None:
        """Nothing is tried yet."""
        self._first: dict[tuple[str, torch.dtype], int | None] = {}
        self._hooked = False

    def prove(self, transformer: Any) -> bool:
        """Pack its batches from now on, if its model gives what it gives padded.

        Tried once a device and precision; elsewhere, and where there is no padding, it reads as before.

        Args:
            transformer: on its device; call this under the autocast of the run.
        """
        backbone = transformer.auto_model
        now = _now(backbone)
        if now not in self._first:
            self._first[now] = None  # a comparison that fails half way is not tried again
            before, training = backbone.config._attn_implementation, backbone.training
            backbone.eval()
            try:
                self._first[now], why = _compare(backbone)
            finally:
                backbone.train(training)
            if self._first[now] is None:
                if backbone.config._attn_implementation != before:
                    backbone.set_attn_implementation(before)
                _log.info("%s reads padded batches (%s): %s", type(backbone).__name__, now, why)
            elif not self._hooked:
                transformer.register_forward_pre_hook(self._pack)
                transformer.register_forward_hook(self._pad)
                self._hooked = True
        return self._first[now] is not None

    def _pack(self, transformer: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        features, backbone = args[0], transformer.auto_model
        first, mask = self._first.get(_now(backbone)), features.get("attention_mask")
        shown = backbone.config.output_hidden_states or backbone.config.output_attentions
        if first is None or shown or mask is None or mask.dim() != 2:
            return None
        return (Layout.of(features).pack(first), *args[1:])

    def _pad(self, transformer: Any, args: tuple[Any, ...], features: dict[str, Any]) -> dict[str, Any]:
        layout: Layout | None = features.pop(LAYOUT, None)
        if layout is None:
            return features
        features.pop("position_ids")
        name = transformer.module_output_name
        return {**features, **layout.features, name: layout.pad(features[name])}


def _now(backbone: Any) -> tuple[str, torch.dtype]:
    """Device and precision that a pass would run in."""
    kind = backbone.device.type
    return kind, torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else backbone.dtype


def _compare(backbone: Any) -> tuple[int | None, str]:
    """A text's first position if packed is as good as padded, else why it is not."""
    if backbone.config._attn_implementation not in ("sdpa", ATTENTION):
        # FlashAttention packs by itself; eager is asked for to see weights.
        return None, f"its attention is {backbone.config._attn_implementation}"
    room = getattr(backbone.config, "max_position_embeddings", None) or math.inf
    firsts = [first for first in (0, (backbone.config.pad_token_id or 0) + 1) if first + max(LENGTHS) <= room]
    why = "it reads too short texts to tell"
    try:
        with torch.inference_mode(False), torch.enable_grad():
            features = _batch(backbone)
            mask = features["attention_mask"].bool()
            expected = _with_gradient(backbone, backbone(**features).last_hidden_state[mask])
            limit = max(FLOOR, ROUNDING * _off(_one_by_one(backbone, features["input_ids"]), expected))
            backbone.set_attn_implementation(ATTENTION)
            layout = Layout.of(features)
            for first in firsts:
                states = backbone(**layout.pack(first)).last_hidden_state
                off = _off(_with_gradient(backbone, states[0]), expected)
                if off <= limit:  # so that NaN fails too
                    return first, ""
                why = f"its states and gradients are off by {off:.2g}, rounding by less than {limit:.2g}"
    except Exception as error:  # whatever a model or a kernel raises, it is read padded as before
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None, why


def _batch(backbone: Any) -> dict[str, Tensor]:
    """Padded texts of made-up tokens."""
    generator = torch.Generator().manual_seed(0)
    shape, pad = (len(LENGTHS), max(LENGTHS)), backbone.config.pad_token_id or 0
    ids = torch.randint(3, backbone.config.vocab_size, shape, generator=generator)
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
    ids = torch.where(ids == pad, 2 if pad != 2 else 1, ids).masked_fill(~mask, pad)
    return {"input_ids": ids.to(backbone.device), "attention_mask": mask.long().to(backbone.device)}


def _one_by_one(backbone: Any, ids: Tensor) -> list[Tensor]:
    rows = zip(ids, LENGTHS, strict=True)
    states = [backbone(input_ids=row[None, :length]).last_hidden_state[0] for row, length in rows]
    return _with_gradient(backbone, torch.cat(states))


def _with_gradient(backbone: Any, states: Tensor) -> list[Tensor]:
    """``(T, d)`` states of all tokens; of a backbone that learns, a made-up loss's gradient, too."""
    if not states.requires_grad:
        return [states]
    generator = torch.Generator().manual_seed(1)
    worth = torch.randn(states.shape, generator=generator).to(states.device)
    square = (states.shape[1], states.shape[1])  # a projection of the first layer: below all attention
    weights = [weight for weight in backbone.parameters() if weight.shape == square and weight.requires_grad]
    gradients = torch.autograd.grad((states.float() * worth).sum(), weights[:1]) if weights else ()
    return [states.detach(), *gradients]


def _off(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest difference, relative to the largest entry."""
    shares = [
        float((theirs - ours).abs().max() / ours.abs().max())
        for theirs, ours in zip(found, expected, strict=True)
    ]
    return max(shares, key=lambda share: math.inf if math.isnan(share) else share)
