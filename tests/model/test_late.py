"""Late-interaction models of others: their own token vectors, questions expanded as the checkpoint says."""

import json
import string

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Transformer

from ernie_search.model import LateEncoder, export_onnx, load
from ernie_search.runtime import open_onnx
from tiny_model import HIDDEN, TEXTS, bare_base


def multi_vector(folder, *, prompts=None, skip=(), **options):
    """A MultiVectorEncoder over the tiny base."""
    bare = bare_base(folder.with_name(f"{folder.name}-bare"), layers=2)
    transformer = Transformer(str(bare), **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        head = Dense(
            HIDDEN,
            8,
            bias=False,
            activation_function=torch.nn.Identity(),
            module_input_name="token_embeddings",
        )
    modules = [
        transformer,
        head,
        MultiVectorMask(list(skip)),
        Normalize(module_input_name="token_embeddings"),
    ]
    MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu", local_files_only=True).save(
        str(folder), create_model_card=False
    )
    return folder


def stanford(folder):
    """A checkpoint as Stanford's ColBERT writes it: the projection beside the encoder's weights."""
    bare_base(folder, layers=2)
    weights = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(2)
    weights["linear.weight"] = torch.randn(8, HIDDEN, generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["HF_ColBERT"]}))
    (folder / "artifact.metadata").write_text(
        json.dumps({"query_maxlen": 12, "doc_maxlen": 40, "mask_punctuation": True})
    )
    return folder


def pylate(folder):
    """A checkpoint as PyLate's third version writes it."""
    multi_vector(folder, document_length=40)
    config = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "ColBERT",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 14,
        "document_length": 40,
        "attend_to_expansion_tokens": True,
        "do_query_expansion": True,
        "skiplist_words": list(string.punctuation),
    }
    config.pop("prompts", None)
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[1]["type"] = "pylate.models.Dense.Dense"
    (folder / "modules.json").write_text(json.dumps(modules[:2]))
    return folder


FIXED = {"strategy": "fixed", "attend": False, "length": 20}
KINDS = {
    "plain": lambda folder: multi_vector(folder, query_length=16, document_length=40),
    "expanded": lambda folder: multi_vector(
        folder, prompts={"query": "query ", "document": "the "}, skip=".,?", query_expansion=FIXED
    ),
    "attended": lambda folder: multi_vector(folder, query_expansion=FIXED | {"attend": True}),
    "at least": lambda folder: multi_vector(folder, query_expansion=FIXED | {"strategy": "min", "length": 9}),
    "stanford": stanford,
    "pylate": pylate,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_token_vectors_are_the_checkpoint_s_own(tmp_path, kind):
    folder = KINDS[kind](tmp_path / "model")
    theirs = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    model = load(folder, device="cpu")
    assert isinstance(model, LateEncoder)
    assert (model.kind, model.token_dim) == ("late", 8)
    for task, expected in (
        ("query", theirs.encode_query(TEXTS, convert_to_numpy=True)),
        ("passage", theirs.encode_document(TEXTS, convert_to_numpy=True)),
    ):
        found = model.encode_joint(TEXTS, task, bf16=False)
        for ours, own, ids, single in zip(found.tokens, expected, found.token_ids, found.dense, strict=True):
            np.testing.assert_allclose(ours, own, atol=1e-5)
            assert len(ids) == len(ours)
            mean = own.mean(axis=0)
            np.testing.assert_allclose(single, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_reads_alike_without_torch(tmp_path):
    folder = stanford(tmp_path / "model")
    model = load(folder, device="cpu")
    export_onnx(model, folder)
    graph = open_onnx(folder)
    assert graph is not None
    assert (graph.kind, graph.fingerprint, graph.token_dim) == ("late", model.fingerprint, 8)
    for task in ("query", "passage"):
        expected, found = (one.encode_joint(TEXTS, task, bf16=False) for one in (model, graph))
        np.testing.assert_allclose(found.dense, expected.dense, atol=2e-5)
        for ours, theirs in zip(found.tokens, expected.tokens, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        assert [one.tolist() for one in found.token_ids] == [one.tolist() for one in expected.token_ids]


@pytest.mark.slow  # every export takes seconds
@pytest.mark.filterwarnings("ignore")
def test_the_sidecar_says_how_questions_are_expanded(tmp_path):
    folder = KINDS["expanded"](tmp_path / "model")
    model = load(folder, device="cpu")
    place = export_onnx(model, tmp_path / "out")
    found = json.loads((place / "ernie_search_onnx.json").read_text(encoding="utf-8"))
    mask = model.tokenizer.mask_token_id
    assert found["expansion"] == {"token_id": mask, "length": 20, "attend": False, "fixed": True}
    assert (found["kind"], found["keep_prompt"], found["special_ids"]) == ("late", True, [])
    assert found["skip_ids"]["query"] == []
    assert sorted(model.token_texts(found["skip_ids"]["passage"])) == [",", ".", "?"]
