"""Base models: cut to their first layers, and what a backbone can read."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ernie_search.errors import ModelError, SettingsError

LAYER_COUNTS = ("num_hidden_layers", "n_layers", "num_layers")
"""Names of the number of layers in the configs of different encoders."""


def keep_layers(backbone: nn.Module, count: int) -> None:
    """Cut a Transformer to its first ``count`` layers, in place, its config with it.

    Raises:
        ModelError: the layers are not found, or there are fewer than ``count``.
    """
    config: Any = backbone.config
    counts = [getattr(config, name) for name in LAYER_COUNTS if hasattr(config, name)]
    stacks = [
        module for module in backbone.modules() if isinstance(module, nn.ModuleList) and len(module) in counts
    ]
    if not stacks:
        raise ModelError(
            f"{type(backbone).__name__}: no stack of layers found, so it can't be cut to {count}"
        )
    stack = stacks[0]
    if not 1 <= count <= len(stack):
        raise ModelError(f"layers={count}: the base has {len(stack)} layers; choose 1 to {len(stack)}")
    del stack[count:]
    for name in LAYER_COUNTS:
        if hasattr(config, name):
            setattr(config, name, count)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:count]


QUERY_NAMES = {"query", "query_proj", "q", "q_lin", "q_proj", "c_attn", "qkv", "Wqkv", "in_proj"}
"""Names of the layer that makes queries (alone, or with keys and values), by which attention is known."""
WEIGHT_DROPOUTS = {"dropout", "attn_dropout", "attention_dropout"}
"""Names of dropout on attention weights, beside such a layer; others there are on what attention gives."""
RATE = "attention_dropout"
"""Where attention has no such layer, the attribute of its rate."""


def attention_dropouts(model: nn.Module) -> Iterator[nn.Dropout]:
    """The dropout modules that act on attention weights, whatever the architecture calls them."""
    for module in model.modules():
        children = dict(module.named_children())
        if QUERY_NAMES.isdisjoint(children):
            continue
        for name in sorted(WEIGHT_DROPOUTS & set(children)):
            if isinstance(found := children[name], nn.Dropout):
                yield found


def attention_rate(module: nn.Module) -> float | None:
    """The rate of dropout on attention weights that a module holds as a number; None without one."""
    found = getattr(module, RATE, None)
    return found if isinstance(found, (int, float)) else None


def set_attention_dropout(model: nn.Module, rate: float) -> set[nn.Dropout]:
    """Set the rate of dropout on attention weights, be it a module's or a number (ModernBERT, decoders).

    Returns:
        The modules among them.

    Raises:
        SettingsError: a rate above 0, and the model has no such dropout.
    """
    found = set(attention_dropouts(model))
    for dropout in found:
        dropout.p = rate
    numbers = [one for one in model.modules() if attention_rate(one) is not None]
    for module in numbers:
        setattr(module, RATE, rate)
    if rate > 0 and not found and not numbers:
        name = getattr(model, "name", type(model).__name__)
        raise SettingsError(
            f"attention_dropout is {rate:g}, and {name} has no dropout on attention weights; leave it out"
        )
    return found


def is_causal(backbone: nn.Module) -> bool:
    """Whether a token's state depends only on the tokens before it, as in decoders.

    A forward pass shows it. Configs say it in different ways (``is_decoder``, ``is_causal``, the names of
    ``architectures``), and some decoders attend in both directions.
    """
    model: Any = backbone
    first, second, third, *ends = [one for one in range(7) if one != model.config.pad_token_id][:5]
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            one, other = (
                model(input_ids=torch.tensor([[first, second, third, end]], device=model.device))[0][
                    0, :3
                ].float()
                for end in ends
            )
    finally:
        backbone.train(was_training)
    return bool((one - other).abs().max() <= 1e-6 * one.abs().max())


def longest_text(backbone: nn.Module) -> int | None:
    """Tokens of the longest text that a Transformer has positions for; None where there is no such limit."""
    config: Any = backbone.config
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:  # XLNet says -1, T5 and others say nothing
        return None
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa's kind counts from behind the padding's place, and has two positions less than it says.
            return limit - (module.padding_idx + 1 if module.padding_idx is not None else 0)
    return limit
