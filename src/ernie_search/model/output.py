"""The output of the joint encoder: the single vector and the token matrix of every text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ernie_search.errors import ModelError

LATE_TOKENS = "late_tokens"
LATE_MASK = "late_mask"
LATE_WEIGHTS = "late_weights"


def late_mask(features: Mapping[str, Any], special_ids: Tensor) -> Tensor:
    """``(B, L)``: which tokens of a batch take part in late interaction; see :class:`EncoderOutput`.

    Args:
        features: ``input_ids``; ``attention_mask`` and ``prompt_length``, a number or one a row, where there
            is padding or a prompt.
        special_ids: tokens that are no words.
    """
    ids = features["input_ids"]
    attention = (
        features["attention_mask"].bool()
        if "attention_mask" in features
        else torch.ones_like(ids, dtype=torch.bool)
    )
    mask = attention & ~torch.isin(ids, special_ids)
    prompt = features.get("prompt_length")
    if prompt is not None:  # counted from a text's first token, on whichever side it is padded
        first = torch.as_tensor(prompt, device=ids.device).reshape(-1, 1)  # one of all rows, or one a row
        mask &= attention.cumsum(dim=1) > first
    # A text of special tokens alone keeps them: a row without tokens would have no score at all.
    return torch.where(mask.any(dim=1, keepdim=True), mask, attention)


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """Both readings of one forward pass; losses and search see nothing else of a model.

    Attributes:
        cls: ``(B, D)`` single vectors, scaled so that a dot product is the model's own score
            (L2-normalised where the model's similarity is cosine).
        tokens: ``(B, L, d)`` L2-normalised token vectors; ``None`` when only ``cls`` was asked for.
        mask: ``(B, L)`` bool, true where a token takes part in late interaction (no padding, no
            special tokens, no prompt); ``None`` together with ``tokens``.
        weights: ``(B, L)``, what each token counts as a question's, above zero; ``None``: all alike.
    """

    cls: Tensor
    tokens: Tensor | None = None
    mask: Tensor | None = None
    weights: Tensor | None = None

    @classmethod
    def from_features(cls, features: Mapping[str, Any], *, normalise: bool) -> "EncoderOutput":
        """Read sentence-transformers' feature dictionary: the one place that knows its keys."""
        single = features["sentence_embedding"].float()
        if normalise:
            single = torch.nn.functional.normalize(single, dim=-1)
        return cls(single, features.get(LATE_TOKENS), features.get(LATE_MASK), features.get(LATE_WEIGHTS))

    def late(self) -> tuple[Tensor, Tensor]:
        """``tokens`` and ``mask``.

        Raises:
            ModelError: this forward pass gave none.
        """
        if self.tokens is None or self.mask is None:
            raise ModelError("this pass gave no token vectors; set attach_tokens on the model")
        return self.tokens, self.mask

    @classmethod
    def stack(cls, parts: "list[EncoderOutput]", order: Tensor) -> "EncoderOutput":
        """Join micro-batches, and put their rows back into the order of the batch.

        Args:
            parts: outputs of micro-batches with ``sum(B_k) == len(order)`` rows of any lengths.
            order: ``(B,)`` the place in the batch of each row, in the order of ``parts``.
        """
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order), device=order.device)
        single = torch.cat([part.cls for part in parts])[inverse]
        if any(part.tokens is None for part in parts):
            return cls(single)
        late = [part.late() for part in parts]
        longest = max(mask.shape[1] for _, mask in late)
        pad = torch.nn.functional.pad
        tokens = [pad(rows, (0, 0, 0, longest - rows.shape[1])) for rows, _ in late]
        masks = [pad(mask, (0, longest - mask.shape[1])) for _, mask in late]
        weighed = [part.weights for part in parts if part.weights is not None]
        weights = [pad(rows, (0, longest - rows.shape[1])) for rows in weighed]
        return cls(
            single,
            torch.cat(tokens)[inverse],
            torch.cat(masks)[inverse],
            torch.cat(weights)[inverse] if len(weights) == len(parts) else None,
        )
