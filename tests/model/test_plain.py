"""Any SentenceTransformer as an encoder: its own vectors, and its raw token states."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from ernie_search.errors import ModelError
from ernie_search.model import PlainEncoder, load
from tiny_model import TEXTS, sentence_base


def change(folder, file, **values):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_the_single_vectors_are_sentence_transformers_own(prompted):
    plain = SentenceTransformer(str(prompted), device="cpu", local_files_only=True)
    model = load(prompted, device="cpu")
    assert isinstance(model, PlainEncoder)
    assert model.kind == "plain"
    queries = model.encode_joint(TEXTS, "query", bf16=False)
    passages = model.encode_joint(TEXTS, "passage", bf16=False)
    np.testing.assert_allclose(queries.dense, plain.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(passages.dense, plain.encode_document(TEXTS), atol=1e-5)
    assert np.abs(queries.dense - passages.dense).max() > 1e-3


def test_token_matrices_are_the_last_layer_s_states_without_prompt_and_special_tokens(prompted):
    plain = SentenceTransformer(str(prompted), device="cpu", local_files_only=True)
    model = load(prompted, device="cpu")
    found = model.encode_joint(TEXTS, "query", bf16=False)
    assert model.token_dim == 32
    for text, tokens, ids in zip(TEXTS, found.tokens, found.token_ids, strict=True):
        own = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids.tolist() == own[: len(ids)]
        batch = model.tokenizer("query: " + text, return_tensors="pt", truncation=True, max_length=64)
        with torch.no_grad():
            states = plain[0].auto_model(**batch)[0][0]
        start = states.shape[0] - 1 - len(ids)  # [SEP] ends it
        expected = torch.nn.functional.normalize(states[start:-1], dim=-1)
        np.testing.assert_allclose(tokens, expected.numpy(), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-5)


def test_the_dot_product_is_kept_and_other_similarities_are_refused(tmp_path):
    base = sentence_base(tmp_path / "dot")
    change(base, "config_sentence_transformers.json", similarity_fn_name="dot")
    modules = json.loads((base / "modules.json").read_text(encoding="utf-8"))
    (base / "modules.json").write_text(json.dumps(modules[:2]), encoding="utf-8")  # no Normalize
    model = load(base, device="cpu")
    assert model.similarity == "dot"
    lengths = np.linalg.norm(model.encode_joint(TEXTS, "passage").dense, axis=1)
    assert np.abs(lengths - 1).max() > 0.1
    change(base, "config_sentence_transformers.json", similarity_fn_name="euclidean")
    with pytest.raises(ModelError, match="its similarity is euclidean; choose a model with cosine or dot"):
        load(base, device="cpu")


def test_truncated_vectors_are_taken_as_the_model_says(sentence):
    inner = SentenceTransformer(str(sentence), device="cpu", local_files_only=True, truncate_dim=8)
    model = PlainEncoder(inner, "short")
    assert model.get_embedding_dimension() == 8
    np.testing.assert_allclose(
        model.encode_joint(TEXTS, "passage", bf16=False).dense,
        inner.encode_document(TEXTS, normalize_embeddings=True),
        atol=1e-5,
    )


def test_the_fingerprint_is_of_the_files_wherever_they_lie(sentence, prompted, tmp_path):
    import shutil

    copied = tmp_path / "copied"
    shutil.copytree(sentence, copied)
    first = load(sentence, device="cpu").fingerprint
    assert load(copied, device="cpu").fingerprint == first
    assert load(prompted, device="cpu").fingerprint != first


def test_pieces_are_the_text_s_own_tokens(prompted):
    model = load(prompted, device="cpu")
    text = "where does tea grow?"
    pieces = model.pieces(text)
    assert [text[start:stop] for start, stop in pieces.spans][:1] == ["where"]
    assert model.token_texts(pieces.ids)[0] == "where"
    assert len(pieces.ids) == len(pieces.words) == len(pieces.spans)
