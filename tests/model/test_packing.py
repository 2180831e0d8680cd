"""Packed batches give what padded ones give, or are not used."""

import contextlib
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Transformer
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

from ernie_search.model import EncoderOutput, JointEncoder, ScoreSettings, from_base, load
from ernie_search.model.encode import micro_batches, padded, tokenize
from ernie_search.model.packing import ATTENTION, LENGTHS, Layout, Packing
from ernie_search.types import Task

TEXTS = ["red fox", "a", "where does the red fox sleep in the snow at night?", "", "blue river 1234"]
SIZE = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99}


def tiny(model: type[nn.Module], config: type, **more: object) -> nn.Module:
    torch.manual_seed(0)
    return model(config(hidden_size=16, **SIZE, **more)).eval()


def reader(backbone: nn.Module) -> Transformer:
    """As much of sentence-transformers' Transformer as is asked for."""
    made = Transformer.__new__(Transformer)
    nn.Module.__init__(made)
    made.model = backbone
    return made


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
    layout = Layout.of({"input_ids": ids, "attention_mask": mask, "use_cache": False})
    row = layout.pack(first=2)
    assert row["input_ids"].tolist() == [[5, 6, 7, 8, 9, 4]]
    assert row["position_ids"].tolist() == [[2, 3, 2, 3, 4, 2]]
    assert layout.starts.tolist() == [0, 2, 5, 6]
    assert row["packed_layout"] is layout
    assert "attention_mask" not in row
    assert row["use_cache"] is False
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
    plain = from_base(str(request.getfixturevalue(base)), settings=settings, seed=3, device="cpu")
    np.testing.assert_allclose(
        model.encode(TEXTS), plain.encode(TEXTS), atol=1e-5
    )  # the library's own way in


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


def test_only_the_layers_see_the_row(model: JointEncoder):
    features = padded(tokenize(model, TEXTS, "passage").ids, 0, None)
    shapes: list[torch.Size] = []
    model.backbone.encoder.layer[0].register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    model(dict(features))
    assert model.pack()
    shapes = shapes[:1]
    found = model(dict(features))
    rows, longest = features["input_ids"].shape
    assert shapes[0][:2] == (rows, longest)
    assert shapes[-1][:2] == (1, int(features["attention_mask"].sum()))
    assert torch.equal(found["input_ids"], features["input_ids"])
    assert torch.equal(found["attention_mask"], features["attention_mask"])
    assert found["token_embeddings"].shape[:2] == (rows, longest)
    assert "position_ids" not in found


def test_states_of_all_layers_are_shown_padded(model: JointEncoder):
    features = padded(tokenize(model, TEXTS, "passage").ids, 0, None)
    assert model.pack()
    model.backbone.config.output_hidden_states = True
    for states in model(dict(features))["all_layer_embeddings"]:
        assert states.shape[:2] == features["input_ids"].shape


def test_a_copy_is_packed_too(model: JointEncoder):
    assert model.pack()
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    np.testing.assert_allclose(again.encode(TEXTS), model.encode(TEXTS), atol=1e-6)


def test_another_precision_is_proven_by_itself(model: JointEncoder, monkeypatch: pytest.MonkeyPatch):
    features = padded(tokenize(model, TEXTS, "passage").ids, 0, None)
    packed: list[torch.Size] = []
    original = Layout.pack
    monkeypatch.setattr(
        Layout, "pack", lambda self, *args: packed.append(self.shape) or original(self, *args)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.pack()
    packed.clear()
    model(dict(features))
    assert not packed
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(dict(features))
    assert len(packed) == 1


def test_prompts_that_pooling_leaves_out(prompted: Path, settings: ScoreSettings):
    model = from_base(str(prompted), settings=settings, seed=3, device="cpu")
    model[1].include_prompt = False
    expected = model.encode_query(TEXTS)
    np.testing.assert_allclose(model.encode_joint(TEXTS, "query").dense, expected, atol=1e-5)
    assert model.pack()
    np.testing.assert_allclose(model.encode_joint(TEXTS, "query").dense, expected, atol=1e-5)


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
    packing = Packing()
    assert packing.prove(reader(model)) == (first is not None)
    assert packing._first == {("cpu", torch.float32): first}
    assert model.config._attn_implementation == (before if first is None else ATTENTION)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_frozen_backbones_are_compared_by_their_states():
    model = tiny(BertModel, BertConfig).requires_grad_(False)
    assert Packing().prove(reader(model))


def test_positions_beyond_the_table_are_not_tried():
    """On a GPU the lookup alone would end the process's use of the device."""
    model = tiny(RobertaModel, RobertaConfig, pad_token_id=1, max_position_embeddings=max(LENGTHS) + 1)
    positions: list[int] = []
    model.embeddings.position_embeddings.register_forward_pre_hook(
        lambda _, args: positions.append(int(args[0].max()))
    )
    assert not Packing().prove(reader(model))
    assert max(positions, default=0) <= max(LENGTHS)


@pytest.mark.parametrize("spoil", [lambda states: states * 1.05, lambda states: states * float("nan")])
def test_a_kernel_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch, spoil):
    own = torch.nn.functional.scaled_dot_product_attention

    def wrong(*args, **kwargs):  # of a single text of a packed batch; transformers' own call names a mask
        found = own(*args, **kwargs)
        return found if "attn_mask" in kwargs else spoil(found)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", wrong)
    model = tiny(BertModel, BertConfig)
    nn.init.eye_(model.encoder.layer[0].attention.output.dense.weight)  # so that attention counts
    assert not Packing().prove(reader(model))
    assert model.config._attn_implementation == "sdpa"


def test_a_kernel_that_fails_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def fails(*args):
        raise RuntimeError("no such kernel\nand an essay")

    monkeypatch.setattr(Layout, "pack", fails)
    with caplog.at_level("INFO"):
        assert not Packing().prove(reader(tiny(BertModel, BertConfig)))
    assert "no such kernel" in caplog.text
    assert "essay" not in caplog.text


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_attention_that_drops_is_not_packed(model: JointEncoder, dropout: float):
    assert model.pack()
    for layer in model.backbone.encoder.layer:
        layer.attention.self.dropout.p = dropout
    features = padded(tokenize(model.train(), TEXTS, "passage").ids, 0, None)
    with pytest.raises(ValueError, match="dropout is not packed") if dropout else contextlib.nullcontext():
        model(dict(features))
    model.may_pack = False  # what the trainer says where attention drops
    assert not model.pack()


@pytest.mark.parametrize("part", [lambda model: model, lambda model: model.backbone])
def test_a_compiled_model_is_left_alone(model: JointEncoder, part):
    part(model)._compiled_call_impl = print
    assert not model.pack()


def test_eager_attention_is_left_alone(model: JointEncoder):
    model.backbone.set_attn_implementation("eager")  # asked for by whoever wants to see the weights
    assert not model.pack()
    assert model.backbone.config._attn_implementation == "eager"


def test_a_saved_model_says_nothing_of_it(model: JointEncoder, tmp_path: Path):
    assert model.pack()
    model.save(str(tmp_path))
    assert ATTENTION not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    again = load(tmp_path, device="cpu")
    assert again.fingerprint == model.fingerprint


def test_where_padding_costs_nothing_micro_batches_do_not_end_for_it():
    lengths = [128] * 40 + [16] * 40
    assert [len(group) for group in micro_batches(lengths, 65_536)] == [42, 38]
    assert [len(group) for group in micro_batches(lengths, 65_536, 1.0)] == [80]
