"""The graph gives torch's vectors, whatever the batch; a stale or a wrong one never stands beside weights."""

import json
import logging
import shutil

import numpy as np
import onnxruntime
import pytest
import torch

from ernie_search._util.files import sha256_file
from ernie_search.errors import ModelError
from ernie_search.model import JointEncoder, ScoreSettings, export_onnx, from_base, load, load_joint
from ernie_search.model import onnx as onnx_module
from ernie_search.model.encode import padded, tokenize
from ernie_search.model.onnx import add_onnx
from ernie_search.runtime import open_onnx
from ernie_search.runtime.saved_files import FILES_FILE, check_saved_files
from tiny_model import TEXTS, bare_base, decoder_base, half_base


def sidecar(folder):
    return json.loads((folder / "ernie_search_onnx.json").read_text(encoding="utf-8"))


def run(graph, ids, pad):
    features = padded(ids, pad, None)
    mask = features.get("attention_mask", torch.ones_like(features["input_ids"]))
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    inputs = {"input_ids": features["input_ids"].numpy(), "attention_mask": mask.numpy()}
    return dict(zip(names, session.run(None, inputs), strict=True)), mask.numpy().astype(bool)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bare base (dot product, pooled by [CLS]) saved with its graphs."""
    folder = tmp_path_factory.mktemp("exported")
    settings = ScoreSettings(token_dim=16, query_length=16, passage_length=48)
    model = from_base(str(bare_base(folder / "bare", layers=2)), settings=settings, device="cpu")
    model.save(str(folder / "model"))
    model.train()
    export_onnx(model, folder / "model", int8=True)
    assert model.training
    return model, folder / "model"


def test_the_graph_gives_both_readings_of_any_batch(exported):
    model, folder = exported
    ids = tokenize(model, TEXTS, "passage").ids
    pad = model.tokenizer.pad_token_id
    expected = model.encode_joint(TEXTS, "passage", bf16=False)
    special = set(model.special_ids.tolist())
    for places in ([0], [1], [0, 2], list(range(len(TEXTS)))):
        found, mask = run(folder / "onnx" / "model.onnx", [ids[place] for place in places], pad)
        np.testing.assert_allclose(found["dense"], expected.dense[places], atol=2e-5)
        assert found["tokens"].dtype == np.float32
        for row, kept, place in zip(found["tokens"], mask, places, strict=True):
            counted = [number for number, one in enumerate(ids[place]) if one not in special]
            np.testing.assert_allclose(row[kept][counted], expected.tokens[place], atol=2e-5)


def test_the_sidecar_says_how_to_read(exported):
    model, folder = exported
    found = sidecar(folder / "onnx")
    graphs, weights = found.pop("graphs"), found.pop("weights")
    assert weights == {
        name: sha256_file(folder / name) for name in ("model.safetensors", "token_head.safetensors")
    }
    assert found == {
        "format": 1,
        "kind": "joint",
        "name": model.name,
        "fingerprint": model.fingerprint,
        "dim": 32,
        "token_dim": 16,
        "similarity": "dot",
        "query_prompt": "",
        "passage_prompt": "",
        "query_length": 16,
        "passage_length": 48,
        "pad_id": 0,
        "special_ids": model.special_ids.tolist(),
        "skip_ids": {},
        "keep_prompt": False,
    }
    assert graphs["fp32"]["cosine_dense"] >= 0.9999
    assert graphs["fp32"]["cosine_tokens"] >= 0.9999
    loss = graphs["int8"]["loss"]
    assert set(loss) == {"texts", "dense", "dense_least", "tokens", "tokens_least"}
    assert 0.9 < loss["tokens_least"] <= loss["tokens"] < 1
    for one in graphs.values():
        assert (folder / "onnx" / one["file"]).stat().st_size == one["bytes"]


def test_it_opens_without_torch_and_reads_alike(exported):
    model, folder = exported
    graph = open_onnx(folder)
    assert graph is not None
    assert (graph.kind, graph.fingerprint, graph.token_dim) == ("joint", model.fingerprint, 16)
    for task in ("query", "passage"):
        expected, found = (one.encode_joint(TEXTS, task, bf16=False) for one in (model, graph))
        np.testing.assert_allclose(found.dense, expected.dense, atol=2e-5)
        for ours, theirs in zip(found.tokens, expected.tokens, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        assert [one.tolist() for one in found.token_ids] == [one.tolist() for one in expected.token_ids]


def test_the_graph_has_no_path_of_this_machine(exported, tmp_path):
    _, folder = exported
    written = (folder / "onnx" / "model.onnx").read_bytes()
    for path in (str(folder.parent), onnx_module.__file__, torch.__file__):
        assert path.encode() not in written


def test_the_graph_is_one_of_the_model_s_files(exported):
    _, folder = exported
    listed = json.loads((folder / FILES_FILE).read_text(encoding="utf-8"))["files"]
    assert {"onnx/model.onnx", "onnx/model_int8.onnx", "onnx/ernie_search_onnx.json"} < set(listed)
    assert "model.safetensors" in listed
    check_saved_files(folder)
    assert load_joint(folder, device="cpu").fingerprint == sidecar(folder / "onnx")["fingerprint"]


def test_weights_that_are_saved_anew_take_the_old_graph_away(exported, tmp_path):
    model, _ = exported
    folder = tmp_path / "model"
    model.save(str(folder))
    (folder / "onnx").mkdir()
    (folder / "onnx" / "ernie_search_onnx.json").write_text("{}")
    (folder / "onnx" / "model.onnx").write_bytes(b"old")
    model.save(str(folder))
    assert not (folder / "onnx").exists()
    load_joint(folder, device="cpu")


def test_a_base_of_16_bits_is_exported_in_32_and_stays_as_it_was(tmp_path):
    half, _ = half_base(tmp_path)
    settings = ScoreSettings(token_dim=16, query_length=16, passage_length=48)
    model = JointEncoder(
        str(half), settings=settings, device="cpu", model_kwargs={"dtype": torch.float16}
    ).eval()
    before, attention = model.fingerprint, model.backbone.config._attn_implementation
    export_onnx(model, tmp_path / "out")
    assert model.backbone.dtype == torch.float16
    assert model.backbone.config._attn_implementation == attention != "eager"
    assert model.fingerprint == before
    assert sidecar(tmp_path / "out" / "onnx")["graphs"]["fp32"]["cosine_dense"] >= 0.9999
    assert (tmp_path / "out" / "tokenizer.json").is_file()  # whoever reads the graph needs it


@pytest.mark.slow  # every export takes seconds
def test_a_decoder_is_exported(tmp_path):
    settings = ScoreSettings(token_dim=16, query_length=16, passage_length=48)
    model = from_base(str(decoder_base(tmp_path / "gpt2", "gpt2")), settings=settings, device="cpu")
    export_onnx(model, tmp_path / "out")
    expected = model.encode_joint(TEXTS[:3], "passage", bf16=False)
    ids = tokenize(model, TEXTS[:3], "passage").ids
    found, _ = run(tmp_path / "out" / "onnx" / "model.onnx", ids, model.tokenizer.pad_token_id)
    np.testing.assert_allclose(found["dense"], expected.dense, atol=2e-5)


def test_a_graph_with_other_vectors_is_not_written(exported, tmp_path, monkeypatch):
    model, folder = exported
    other = load_joint(folder, device="cpu")
    with torch.no_grad():
        other.token_head.linear.weight[0] *= -1
    graph = folder / "onnx" / "model.onnx"
    monkeypatch.setattr(onnx_module, "_write_graph", lambda _, path: shutil.copy(graph, path))
    export_onnx(model, tmp_path / "good")
    with pytest.raises(ModelError, match=r"other vectors than torch \(cosine -?\d\.\d+\), so none"):
        export_onnx(other, tmp_path / "out")
    assert not (tmp_path / "out" / "onnx").exists()


def test_a_model_that_cannot_be_exported_is_a_note_not_a_failure(model, tmp_path, monkeypatch, caplog):
    def fails(*_args, **_kwargs):
        raise RuntimeError("no such operator\nand pages of advice")

    attention = model.backbone.config._attn_implementation
    monkeypatch.setattr(torch.onnx, "export", fails)
    with caplog.at_level(logging.WARNING):
        why = add_onnx(model, tmp_path / "out")
    assert "cannot be exported to ONNX (RuntimeError: no such operator); search with torch" in why
    assert why in caplog.text
    assert model.backbone.config._attn_implementation == attention
    assert not (tmp_path / "out" / "onnx").exists()


def test_a_graph_that_onnx_runtime_refuses_is_a_note_too(exported, tmp_path, monkeypatch):
    class InvalidGraphError(Exception):
        """ONNX Runtime's errors have no base in common with others."""

    def refuses(*_args, **_kwargs):
        raise InvalidGraphError("[ONNXRuntimeError] : 10 : INVALID_GRAPH : no such operator")

    model, folder = exported
    graph = folder / "onnx" / "model.onnx"
    monkeypatch.setattr(onnx_module, "_write_graph", lambda _, path: shutil.copy(graph, path))
    monkeypatch.setattr("onnxruntime.InferenceSession", refuses)
    why = add_onnx(model, tmp_path / "out")
    assert "its ONNX graph cannot be run" in why
    assert why.endswith("search with torch")
    assert not (tmp_path / "out" / "onnx").exists()


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_module, "TOOLS", ("onnx_nobody_has",))
    with pytest.raises(ModelError, match="without the package onnx_nobody_has; run: pip install"):
        export_onnx(model, tmp_path / "out")


def test_a_plain_model_is_exported_too(prompted, tmp_path):
    model = load(prompted, device="cpu")
    assert model.kind == "plain"
    export_onnx(model, tmp_path / "out")
    found = sidecar(tmp_path / "out" / "onnx")
    assert (found["kind"], found["query_prompt"], found["passage_prompt"]) == (
        "plain",
        "query: ",
        "passage: ",
    )
    assert (found["dim"], found["token_dim"], found["similarity"]) == (32, 32, "cosine")
