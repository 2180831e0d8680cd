"""Packed batches give what padded ones give, or are not used."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from ernie_search.model import EncoderOutput, JointEncoder, ScoreSettings, from_base, load, packing
from ernie_search.model.encode import micro_batches, padded, tokenize
from ernie_search.model.packing import ATTENTION, Layout, try_packing
from ernie_search.types import Task

TEXTS = ["red fox", "a", "where does the red fox sleep in the snow at night?", "", "blue river 1234"]
SIZE = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99}


def tiny(model: type[nn.Module], config: type, **more: object) -> nn.Module:
    torch.manual_seed(0)
    return model(config(hidden_size=16, **SIZE, **more)).eval()


def distil() -> nn.Module:
    torch.manual_seed(0)
    return DistilBertModel(
        DistilBertConfig(vocab_size=99, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    ).eval()


def modern() -> nn.Module:
    special = {f"{name}_token_id": place for place, name in enumerate(("pad", "cls", "sep"))}
    return tiny(ModernBertModel, ModernBertConfig, bos_token_id=1, eos_token_id=2, **special)


def test_a_row_without_padding_and_back():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    ids = torch.tensor([[5, 6, 0], [7, 8, 9], [4, 0, 0]])
    layout = Layout.of(mask)
    row = layout.pack({"input_ids": ids, "attention_mask": mask, "prompt_length": torch.tensor(2)}, first=2)
    assert row["input_ids"].tolist() == [[5, 6, 7, 8, 9, 4]]
    assert row["position_ids"].tolist() == [[2, 3, 2, 3, 4, 2]]
    assert row["cu_seq_lens_q"].tolist() == [0, 2, 5, 6]
    assert row["max_length_q"] == 3
    assert row["prompt_length"] == 2
    assert "attention_mask" not in row
    back = layout.pad(row["input_ids"][..., None].float())
    assert torch.equal(back[..., 0].long(), ids)


@pytest.mark.parametrize("task", ["query", "passage"])
@pytest.mark.parametrize("base", ["bare", "sentence", "prompted"])
def test_both_readings_are_those_of_padded_batches(
    base: str, task: Task, request: pytest.FixtureRequest, settings: ScoreSettings
):
    model = from_base(str(request.getfixturevalue(base)), settings=settings, seed=3, device="cpu")
    expected = model.encode_joint(TEXTS, task, token_budget=10_000)
    assert model.pack()
    assert model.backbone.config._attn_implementation == ATTENTION
    found = model.encode_joint(TEXTS, task, token_budget=10_000)
    np.testing.assert_allclose(found.dense, expected.dense, atol=1e-5)
    for ours, theirs, ids, others in zip(
        found.tokens, expected.tokens, found.token_ids, expected.token_ids, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert ids.tolist() == others.tolist()
    plain = model.encode(TEXTS, convert_to_numpy=True)  # sentence-transformers' own way in
    model.packed_from = None
    np.testing.assert_allclose(plain, model.encode(TEXTS, convert_to_numpy=True), atol=1e-5)


def gradients(
    model: JointEncoder, features: dict[str, torch.Tensor]
) -> tuple[EncoderOutput, list[torch.Tensor]]:
    output = model.read(dict(features))
    tokens, mask = output.late()
    generator = torch.Generator().manual_seed(1)
    worth = torch.randn(tokens.shape, generator=generator)
    loss = (tokens * worth)[mask].sum() + output.cls.pow(3).sum()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return output, [grad for grad in found if grad is not None]


def test_gradients_are_those_of_padded_batches(model: JointEncoder):
    model.eval()
    features = padded(tokenize(model, TEXTS, "passage").ids, 0, None)
    before = dict(features)
    expected, grads = gradients(model, features)
    assert model.pack()
    found, packed = gradients(model, features)
    assert torch.equal(found.late()[1], expected.late()[1])
    assert len(packed) == len(grads) > 10
    for ours, theirs in zip(packed, grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert features.keys() == before.keys()  # what came in is as it was


def test_who_reads_on_finds_the_batch_that_came_in(model: JointEncoder):
    features = padded(tokenize(model, TEXTS, "passage").ids, 0, None)
    assert model.pack()
    found = model(dict(features))
    assert torch.equal(found["input_ids"], features["input_ids"])
    assert torch.equal(found["attention_mask"], features["attention_mask"])
    assert found["token_embeddings"].shape[:2] == features["input_ids"].shape
    assert not {"position_ids", "cu_seq_lens_q", "max_length_q"} & found.keys()


def test_dropout_of_attention_acts_on_packed_batches_too(model: JointEncoder):
    features = padded(tokenize(model, TEXTS, "passage").ids, 0, None)
    assert model.pack()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for layer in model.backbone.encoder.layer:
        layer.attention.self.dropout.p = 0.5
    model.train()
    one, other = (model(dict(features))["sentence_embedding"] for _ in range(2))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    ("backbone", "first"),
    [
        (lambda: tiny(BertModel, BertConfig), 0),
        (distil, 0),
        (lambda: tiny(RobertaModel, RobertaConfig, pad_token_id=1), 2),
        (lambda: tiny(XLMRobertaModel, XLMRobertaConfig, pad_token_id=1), 2),
        (modern, None),  # its windows
        (lambda: tiny(MPNetModel, MPNetConfig), None),  # an attention of its own, always eager
    ],
    ids=["bert", "distilbert", "roberta", "xlm-roberta", "modernbert", "mpnet"],
)
def test_what_is_packed_and_what_is_not(backbone, first: int | None):
    model = backbone().train()
    before = model.config._attn_implementation
    assert try_packing(model) == first
    assert model.config._attn_implementation == (before if first is None else ATTENTION)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_packed_in_bf16_too():
    model = tiny(BertModel, BertConfig)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert try_packing(model) == 0


@pytest.mark.parametrize("spoil", [lambda states: states * 1.05, lambda states: states * float("nan")])
def test_a_kernel_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch, spoil):
    own = torch.nn.functional.scaled_dot_product_attention

    def wrong(query, *args, **kwargs):
        found = own(query, *args, **kwargs)
        return spoil(found) if query.is_nested else found

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", wrong)
    model = tiny(BertModel, BertConfig)
    nn.init.eye_(model.encoder.layer[0].attention.output.dense.weight)  # so that attention counts
    assert try_packing(model) is None
    assert model.config._attn_implementation == "sdpa"


def test_a_kernel_that_fails_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def fails(*args, **kwargs):
        raise RuntimeError("no such kernel\nand an essay")

    monkeypatch.setattr(packing.torch.nested, "nested_tensor_from_jagged", fails)
    with caplog.at_level("INFO"):
        assert try_packing(tiny(BertModel, BertConfig)) is None
    assert "no such kernel" in caplog.text
    assert "essay" not in caplog.text


def test_eager_attention_is_left_alone(model: JointEncoder):
    model.backbone.set_attn_implementation("eager")  # asked for by whoever wants to see the weights
    assert not model.pack()
    assert model.backbone.config._attn_implementation == "eager"


def test_a_saved_model_says_nothing_of_it(model: JointEncoder, tmp_path: Path):
    assert model.pack()
    model.save(str(tmp_path))
    assert ATTENTION not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    again = load(tmp_path, device="cpu")
    assert again.packed_from is None
    assert again.fingerprint == model.fingerprint


def test_where_padding_costs_nothing_micro_batches_do_not_end_for_it():
    lengths = [128] * 40 + [16] * 40
    assert [len(group) for group in micro_batches(lengths, 65_536)] == [42, 38]
    assert [len(group) for group in micro_batches(lengths, 65_536, 1.0)] == [80]
