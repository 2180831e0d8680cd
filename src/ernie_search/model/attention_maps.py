"""What a layer of a cross-encoder attends to.

Fast attention kernels return no maps, so a layer's queries and keys are taken by a hook, and the map is
computed from them: ``softmax(Q K^T / sqrt(d))``.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from torch import Tensor, nn

from ernie_search.errors import ModelError
from ernie_search.model.encode import autocast
from ernie_search.model.saved_files import first_line

PROJECTIONS = (("query", "key"), ("q_lin", "k_lin"))
"""What the query and key projections are called: BERT's kin (ERNIE, RoBERTa, ELECTRA, MiniLM), DistilBERT."""
TOLERANCE = 1e-3
"""Largest difference of our map from the model's own, in fp32; 16-bit weights round much more."""
TOLERANCE_16_BIT = 2e-2
CHECK_PAIR = ("where does it grow?", "it grows in the hills, where there is rain in every month of the year.")
ADVICE = "choose a teacher of BERT's kind, or set the weight of attention to 0"


def find_projections(teacher: CrossEncoder) -> list[tuple[nn.Module, nn.Module]]:
    """The query and key projections of the layers, in their order.

    Where layers share their weights (ALBERT) there is one pair, which runs several times.

    Raises:
        ModelError: there are none, as in ModernBERT, which has one fused projection.
    """
    found = []
    for module in _backbone(teacher).modules():
        for names in PROJECTIONS:
            query, key = (getattr(module, name, None) for name in names)
            if isinstance(query, nn.Module) and isinstance(key, nn.Module):
                found.append((query, key))
    if not found:
        looked = ", ".join("/".join(names) for names in PROJECTIONS)
        raise ModelError(
            f"{_name(teacher)}: its layers have no query and key projections of their own (looked for "
            f"{looked}; a fused one is not read); {ADVICE}"
        )
    return found


def layers_of(teacher: CrossEncoder) -> int:
    """How many layers its Transformer has."""
    return int(_backbone(teacher).config.num_hidden_layers)


def attention_maps(
    teacher: CrossEncoder,
    features: Mapping[str, Tensor],
    rows: Tensor,
    *,
    layer: int = -1,
    bf16: bool | None = None,
) -> Tensor:
    """One pass of the teacher's Transformer; one layer's attention of some of the tokens.

    Call it inside :func:`at_rest`.

    Args:
        teacher: a cross-encoder that :func:`find_projections` accepts.
        features: ``input_ids (B, L)`` and what else the Transformer takes; without ``attention_mask`` all
            are tokens.
        rows: ``(B, R)`` places of the tokens whose attention is wanted.
        layer: from 0, or from -1 backwards.
        bf16: whether the teacher computes in bf16; by default where that is faster on this machine.

    Returns:
        ``(B, R, L)`` float32, mean over heads; each row sums to one, padding gets nothing.
    """
    backbone, device = _backbone(teacher), teacher.device
    with _captured(teacher, layer) as caught, autocast(device, bf16):
        backbone(**features)
    return _softmax(caught, features.get("attention_mask"), rows, backbone.config.num_attention_heads)


def check_layer(name: str, layers: int, layer: int) -> None:
    """Refuse a layer that a teacher has not.

    Raises:
        ModelError: it says which there are.
    """
    if not -layers <= layer < layers:
        raise ModelError(
            f"{name}: has {layers} layers, so attention_layer={layer} is none of them; choose 0 to "
            f"{layers - 1}, or -1 (the last) to {-layers}"
        )


def check_attention(teacher: CrossEncoder, layer: int = -1) -> None:
    """Compare our map with the teacher's own, which it gives under slow attention, on one pair.

    Models exist whose layers look like BERT's, yet rotate queries and keys or add to their products.

    Raises:
        ModelError: no such layer, no projections, no attention given, or another one; one line each.
    """
    find_projections(teacher)
    backbone = _backbone(teacher)
    check_layer(_name(teacher), layers_of(teacher), layer)
    features = teacher.tokenizer(*CHECK_PAIR, return_tensors="pt", truncation=True, max_length=64)
    features = {name: value.to(teacher.device) for name, value in features.items()}
    before = backbone.config._attn_implementation
    with at_rest(teacher), torch.autocast(teacher.device.type, enabled=False):
        try:
            backbone.set_attn_implementation("eager")
            with _captured(teacher, layer) as caught:
                given = backbone(**features, output_attentions=True).attentions
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise ModelError(
                f"{_name(teacher)}: gives no attention ({first_line(error)}); {ADVICE}"
            ) from error
        finally:
            backbone.set_attn_implementation(before)
    if not given or given[layer] is None:
        raise ModelError(f"{_name(teacher)}: gives no attention to compare with; {ADVICE}")
    theirs = given[layer].float().mean(dim=1)
    everywhere = torch.arange(theirs.shape[1], device=teacher.device)[None]
    ours = _softmax(caught, features.get("attention_mask"), everywhere, backbone.config.num_attention_heads)
    full = all(parameter.dtype == torch.float32 for parameter in backbone.parameters())
    difference = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else math.inf
    if not difference <= (TOLERANCE if full else TOLERANCE_16_BIT):  # so that NaN fails too
        raise ModelError(
            f"{_name(teacher)}: its attention is not the plain softmax of queries and keys (a difference of "
            f"{difference:.2g}); {ADVICE}"
        )


@contextmanager
def at_rest(model: CrossEncoder) -> Iterator[None]:
    """Eval mode and no gradients. Not inference mode, whose tensors a loss could not use."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _softmax(caught: dict[str, Tensor], mask: Tensor | None, rows: Tensor, heads: int) -> Tensor:
    """``(B, L, heads d)`` queries and keys to the attention of ``rows (B, R)``, mean over heads."""
    queries, keys = caught["query"].float(), caught["key"].float()
    batch, length, width = keys.shape
    queries = queries.gather(1, rows[:, :, None].expand(-1, -1, width))
    queries = queries.view(batch, rows.shape[1], heads, width // heads).transpose(1, 2)
    keys = keys.view(batch, length, heads, width // heads).transpose(1, 2)
    with torch.autocast(keys.device.type, enabled=False):
        products = torch.matmul(queries, keys.transpose(2, 3)) / math.sqrt(width // heads)
    if mask is not None:
        products = products.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
    return products.softmax(dim=-1).mean(dim=1)


@contextmanager
def _captured(teacher: CrossEncoder, layer: int) -> Iterator[dict[str, Tensor]]:
    """What the projections of a layer gave in the pass inside the block: by the order in which they run, as
    layers may share theirs."""
    caught: dict[str, Tensor] = {}
    wanted = layer % layers_of(teacher)

    def keep(name: str, runs: Iterator[int]) -> Any:
        def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if next(runs) == wanted:
                caught[name] = output

        return look

    looks = [keep(name, itertools.count()) for name in ("query", "key")]
    handles = [
        projection.register_forward_hook(look)
        for pair in find_projections(teacher)
        for projection, look in zip(pair, looks, strict=True)
    ]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def _backbone(teacher: CrossEncoder) -> Any:
    """The Transformer inside, without its classification head."""
    inside: Any = teacher.model
    if not isinstance(inside, nn.Module):
        raise ModelError(f"{_name(teacher)}: no PyTorch Transformer inside; {ADVICE}")
    return inside.base_model


def _name(teacher: CrossEncoder) -> str:
    """What to call the teacher in messages."""
    inside: Any = teacher.model
    return getattr(getattr(inside, "config", None), "_name_or_path", "") or type(inside).__name__
