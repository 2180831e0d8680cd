"""A micro-batch as one row without padding, where attention is told at which token each text begins.

Padding costs as much as text in every layer, and the mask that hides it keeps attention from its fastest
kernel. Packed, the layers see tokens alone, and attention runs over each text by itself: torch's
scaled-dot-product attention over nested tensors, which is FlashAttention's form for several lengths on a GPU.

Never assumed: a backbone is packed if its states and gradients then are, in the precision of the run, what
they are padded. Windows (ModernBERT), and attention of a model's own (MPNet), show there.
"""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "ernie_search_packed"
"""What transformers knows :func:`packed_attention` by."""
STARTS, LONGEST = "cu_seq_lens_q", "max_length_q"
"""The names by which transformers and sentence-transformers hand on where texts begin."""
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
    """

    shape: tuple[int, int]
    places: Tensor
    starts: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> "Layout":
        """Of a batch with this attention mask, ``(B, L)``."""
        ends = mask.sum(dim=1).cumsum(0)
        starts = torch.nn.functional.pad(ends, (1, 0)).to(torch.int32)
        return cls((mask.shape[0], mask.shape[1]), mask.flatten().nonzero()[:, 0], starts)

    def pack(self, features: Mapping[str, Any], first: int = 0) -> dict[str, Any]:
        """The same features in one row, as sentence-transformers' modules read them, without the mask.

        Args:
            features: padded; whatever is of the batch's shape is packed.
            first: position of a text's first token: 0, or one past the padding's id in RoBERTa and its kin.
        """
        packed = {
            name: value.flatten()[self.places][None]
            if isinstance(value, Tensor) and value.shape == self.shape
            else value
            for name, value in features.items()
            if name != "attention_mask"
        }
        firsts = self.starts[:-1].repeat_interleave(self.starts.diff(), output_size=len(self.places))
        places = torch.arange(len(self.places), device=firsts.device) - firsts + first
        packed["position_ids"] = places[None].long()
        return {**packed, STARTS: self.starts, LONGEST: self.shape[1]}

    def unpack(self, features: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """What the modules made of :meth:`pack`, with ``given``, which was packed, as it came in."""
        kept = {
            name: value for name, value in features.items() if name not in (STARTS, LONGEST, "position_ids")
        }
        return {**kept, **given, "token_embeddings": self.pad(features["token_embeddings"])}

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
        **kwargs: what the model hands on, ``STARTS`` and ``LONGEST`` among it where the batch is packed.

    Returns:
        ``(B, L, heads, d)`` or ``(1, T, heads, d)``, and no weights.

    Raises:
        ValueError: packed, and the layer asks for more than plain attention to all of the text.
    """
    starts = kwargs.get(STARTS)
    if starts is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found
    asked = [name for name in ("sliding_window", "softcap", "position_bias", "s_aux") if kwargs.get(name)]
    if getattr(module, "is_causal", False) or asked:
        raise ValueError(f"attention with {', '.join(asked) or 'a causal mask'} is not packed")
    queries, keys, values = (
        torch.nested.nested_tensor_from_jagged(
            part[0].transpose(0, 1), starts, min_seqlen=1, max_seqlen=kwargs[LONGEST]
        ).transpose(1, 2)
        for part in (query, key, value)
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(
        queries, keys, values, dropout_p=dropout, scale=scaling
    )
    return mixed.transpose(1, 2).values()[None], None


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def try_packing(backbone: Any) -> int | None:
    """Let ``backbone`` read packed batches, if it gives what it gives padded; else leave it as it was.

    Args:
        backbone: a Hugging Face encoder on its device; called in the precision of the run, so call this under
            its autocast.

    Returns:
        The position of a text's first token, for :meth:`Layout.pack`; ``None`` where it is not packed.
    """
    before, training = backbone.config._attn_implementation, backbone.training
    if before not in ("sdpa", ATTENTION):  # FlashAttention packs by itself; eager is asked for to see weights
        return None
    why = "its attention cannot be set"
    backbone.eval()
    try:
        with _without_notices(), torch.inference_mode(False), torch.enable_grad():
            expected, alone = _padded(backbone), _one_by_one(backbone)
            limit = max(FLOOR, ROUNDING * _off(alone, expected))
            backbone.set_attn_implementation(ATTENTION)
            for first in (0, (backbone.config.pad_token_id or 0) + 1):
                off = _off(_packed(backbone, first), expected)
                if off <= limit:  # so that NaN fails too
                    return first
                why = f"its states and gradients are off by {off:.2g}, rounding by less than {limit:.2g}"
    except Exception as error:  # whatever a model or a kernel raises, it is read padded as before
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    finally:
        backbone.train(training)
    if backbone.config._attn_implementation != before:
        backbone.set_attn_implementation(before)
    _log.info("%s reads padded batches: %s", type(backbone).__name__, why)
    return None


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """torch says once a process that its nested tensors are young, and once what its tracer is called now."""
    tracer = logging.getLogger("torch.fx._symbolic_trace")
    level = tracer.level
    tracer.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The PyTorch API of nested tensors", UserWarning)
            yield
    finally:
        tracer.setLevel(level)


def _batch(backbone: Any) -> dict[str, Tensor]:
    """Padded texts of made-up tokens."""
    generator = torch.Generator().manual_seed(0)
    shape = len(LENGTHS), max(LENGTHS)
    ids = torch.randint(3, backbone.config.vocab_size, shape, generator=generator)
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
    device = backbone.device
    return {"input_ids": ids.to(device), "attention_mask": mask.long().to(device)}


def _padded(backbone: Any) -> list[Tensor]:
    features = _batch(backbone)
    mask = features["attention_mask"].bool()
    return _with_gradient(backbone, backbone(**features).last_hidden_state[mask])


def _one_by_one(backbone: Any) -> list[Tensor]:
    rows = zip(_batch(backbone)["input_ids"], LENGTHS, strict=True)
    states = [backbone(input_ids=ids[None, :length]).last_hidden_state[0] for ids, length in rows]
    return _with_gradient(backbone, torch.cat(states))


def _packed(backbone: Any, first: int) -> list[Tensor]:
    features = _batch(backbone)
    layout = Layout.of(features["attention_mask"])
    return _with_gradient(backbone, backbone(**layout.pack(features, first)).last_hidden_state[0])


def _with_gradient(backbone: Any, states: Tensor) -> list[Tensor]:
    """``(T, d)`` states of all tokens, and of a made-up loss of them the gradient of the embeddings."""
    generator = torch.Generator().manual_seed(1)
    worth = torch.randn(states.shape, generator=generator).to(states.device)
    (gradient,) = torch.autograd.grad((states.float() * worth).sum(), backbone.get_input_embeddings().weight)
    return [states.detach(), gradient]


def _off(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest difference, relative to the largest entry."""
    shares = [
        float((theirs - ours).abs().max() / ours.abs().max())
        for theirs, ours in zip(found, expected, strict=True)
    ]
    return max(shares, key=lambda share: math.inf if math.isnan(share) else share)
