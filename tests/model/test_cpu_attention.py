"""Attention with a backward of our own gives torch's values and gradients, and steps aside where it must."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import BertConfig, BertModel

from ernie_search.model import cpu_attention as ours
from ernie_search.model.cpu_attention import ATTENTION, cpu_attention, use_cpu_attention

LAYER = nn.Module()
LAYER.is_causal = False
SHAPE = (5, 2, 9, 8)
"""Texts, heads, tokens, dimensions."""


def seen(kind: str) -> Tensor | None:
    """A mask of the last tokens of some texts, as transformers makes them."""
    if kind == "none":
        return None
    mask = torch.ones(SHAPE[0], 1, SHAPE[2], SHAPE[2], dtype=torch.bool)
    mask[1, :, :, 6:] = False
    mask[4, :, :, 2:] = False
    if kind == "one for all":
        return mask[1:2]
    return mask if kind == "bool" else torch.zeros(mask.shape).masked_fill(~mask, -1e9).bfloat16()


def inputs(dtype: torch.dtype) -> list[Tensor]:
    """Query, key, value, and what the loss gives back, laid out as heads are cut out of a layer's states."""
    generator = torch.Generator().manual_seed(3)
    heads, tokens = SHAPE[1], SHAPE[2]
    drawn = [torch.randn(SHAPE[0], tokens, heads, SHAPE[3], generator=generator) for _ in range(4)]
    return [one.to(dtype).transpose(1, 2) for one in drawn]


def gradients(function: Any, dtype: torch.dtype) -> list[Tensor]:
    *given, worth = inputs(dtype)
    leaves = [one.detach().requires_grad_() for one in given]
    result = function(*leaves)
    result.backward(worth)
    return [result.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("kind", ["none", "bool", "added", "one for all"])
@pytest.mark.parametrize("block", [1, 2 * 4 * 2 * 9 * 9, 1 << 20], ids=["text by text", "by two", "at once"])
def test_values_and_gradients_are_those_of_the_definition(monkeypatch, kind, block):
    monkeypatch.setattr(ours, "BLOCK_BYTES", block)
    mask, scale = seen(kind), 0.3

    def spelled_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        logits = query @ key.transpose(-1, -2) * scale
        if mask is not None:
            hidden = ~mask if mask.dtype == torch.bool else mask < -1
            logits = logits.masked_fill(hidden, float("-inf"))
        return logits.softmax(-1) @ value

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return cpu_attention(LAYER, query, key, value, mask, scaling=scale)[0].transpose(1, 2)

    expected = gradients(spelled_out, torch.float64)
    found = gradients(attention, torch.bfloat16)
    fused = gradients(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale), torch.bfloat16
    )
    for name, theirs, mine, exact in zip("oqkv", fused, found, expected, strict=True):
        rounding = (theirs.double() - exact).norm() / exact.norm()
        off = (mine.double() - exact).norm() / exact.norm()
        assert off < 3 * rounding < 0.03, name


def test_a_text_without_any_token_gives_no_nan():
    mask = torch.ones(SHAPE[0], 1, SHAPE[2], SHAPE[2], dtype=torch.bool)
    mask[2] = False
    found = gradients(lambda *given: cpu_attention(LAYER, *given, mask)[0].transpose(1, 2), torch.bfloat16)
    for one in found[1:]:
        assert bool(one.isfinite().all())
        assert one[2].abs().sum() == 0
        assert one[1].abs().sum() > 0


@pytest.mark.parametrize(
    "why",
    ["no gradient", "fp32", "dropout", "causal", "does not say", "asked to be causal", "window", "mask"],
)
def test_it_steps_aside(monkeypatch, why):
    def refuse(*args: object) -> None:
        raise AssertionError("taken")

    monkeypatch.setattr(ours._PlainBackward, "apply", refuse)
    query, key, value, _ = inputs(torch.float32 if why == "fp32" else torch.bfloat16)
    if why != "no gradient":
        query.requires_grad_()
    layer, mask = nn.Module(), None
    if why != "does not say":
        layer.is_causal = why == "causal"
    if why == "mask":
        mask = torch.zeros(1, 1, 9, 9, dtype=query.dtype, requires_grad=True)
    changes: dict[str, dict[str, Any]] = {
        "dropout": {"dropout": 0.1},
        "window": {"sliding_window": 4},
        "asked to be causal": {"is_causal": True},
    }
    found = cpu_attention(layer, query, key, value, mask, **changes.get(why, {}))[0]
    assert found.shape == (5, 9, 2, 8)


def bert(attention: str) -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
    )
    return BertModel._from_config(config, attn_implementation=attention)


def test_a_model_trains_by_it_and_is_saved_as_it_was(monkeypatch, tmp_path):
    model, plain = bert("sdpa"), bert("sdpa")
    use_cpu_attention(nn.Sequential(model))
    assert model.config._attn_implementation == ATTENTION
    calls: list[int] = []
    apply = ours._PlainBackward.apply
    monkeypatch.setattr(ours._PlainBackward, "apply", lambda *args: calls.append(1) or apply(*args))
    ids = torch.arange(1, 13).reshape(2, 6)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    for one in (model, plain):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = one(input_ids=ids, attention_mask=mask).last_hidden_state
        states[mask.bool()].float().square().sum().backward()
    assert len(calls) == 2  # a layer each
    for (name, mine), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None and not name.endswith("key.bias"):  # rounding alone
            assert (mine.grad - theirs.grad).norm() <= 0.03 * theirs.grad.norm(), name
    for name, one in (("ours", model), ("plain", plain)):
        one.save_pretrained(tmp_path / name)
    saved = [(tmp_path / name / "config.json").read_text(encoding="utf-8") for name in ("ours", "plain")]
    assert saved[0] == saved[1]


def test_a_model_that_was_asked_for_its_weights_keeps_its_attention():
    model = bert("eager")
    use_cpu_attention(model)
    assert model.config._attn_implementation == "eager"
