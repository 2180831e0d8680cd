"""Weighted pooling: a plain SentenceTransformer to others, the same vectors by every way of reading."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, WordWeights

from ernie_search.errors import ModelError, SettingsError
from ernie_search.model import JointEncoder, ScoreSettings, from_base, load_joint
from ernie_search.model.onnx import export_onnx
from ernie_search.model.pooling import (
    LEAST_WEIGHT,
    inverse_document_frequency,
    keep_positive,
    set_pooling,
    starting_weights,
    word_weights,
)
from ernie_search.runtime import open_onnx
from tiny_model import TEXTS, VOCABULARY, decoder_base, sentence_base

SETTINGS = ScoreSettings(query_length=16, passage_length=32, token_dim=8)


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 3.0, len(VOCABULARY)).astype(np.float32)


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory, weights: np.ndarray) -> JointEncoder:
    model = from_base(str(sentence_base(tmp_path_factory.mktemp("base") / "one")), settings=SETTINGS, seed=1)
    set_pooling(model, "weighted", weights)
    return model.eval()


def by_hand(model: JointEncoder, text: str, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of a text's token states, normalised."""
    ids = model.tokenizer(text, truncation=True, max_length=32)["input_ids"]
    with torch.no_grad():
        states = model.backbone(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    mean = (weights[ids][:, None] * states).sum(axis=0) / weights[ids].sum()
    return mean / np.linalg.norm(mean)


def test_the_vector_is_the_weighted_mean_of_the_token_states(weighted: JointEncoder, weights: np.ndarray):
    found = weighted.encode_joint(TEXTS, "passage").dense
    expected = np.stack([by_hand(weighted, text, weights) for text in TEXTS])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_late_interaction_does_not_change_with_the_weights(weighted: JointEncoder, tmp_path: Path):
    plain = from_base(str(sentence_base(tmp_path / "base")), settings=SETTINGS, seed=1)
    for text, found in zip(TEXTS, weighted.encode_joint(TEXTS, "passage").tokens, strict=True):
        (expected,) = plain.encode_joint([text], "passage").tokens
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_micro_batches_with_and_without_padding_give_the_same_vectors(weighted: JointEncoder):
    texts = [*TEXTS, "tea", "rice tea"]
    whole = weighted.encode_joint(texts, "passage", token_budget=4096).dense
    alone = np.concatenate([weighted.encode_joint([text], "passage").dense for text in texts])
    np.testing.assert_allclose(whole, alone, atol=1e-5)


def test_others_read_the_same_vectors_with_nothing_of_ours(
    weighted: JointEncoder, weights: np.ndarray, tmp_path: Path
):
    weighted.save(str(tmp_path / "model"))
    types = [one["type"] for one in json.loads((tmp_path / "model" / "modules.json").read_text())]
    assert all(one.startswith("sentence_transformers.") for one in types)
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu", local_files_only=True)
    assert isinstance(plain[1], WordWeights)
    np.testing.assert_allclose(plain[1].emb_layer.weight[: len(weights), 0].detach(), weights, atol=1e-6)
    np.testing.assert_allclose(
        plain.encode_document(TEXTS), weighted.encode_joint(TEXTS, "passage").dense, atol=1e-5
    )


def test_a_saved_model_is_loaded_with_its_weights(weighted: JointEncoder, tmp_path: Path):
    weighted.save(str(tmp_path / "model"))
    again = load_joint(tmp_path / "model", device="cpu")
    assert again.fingerprint == weighted.fingerprint
    np.testing.assert_array_equal(
        again.encode_joint(TEXTS, "query").dense, weighted.encode_joint(TEXTS, "query").dense
    )


def test_the_graph_gives_the_same_vectors(weighted: JointEncoder, tmp_path: Path):
    weighted.save(str(tmp_path / "model"))
    export_onnx(weighted, tmp_path / "model")
    graph = open_onnx(str(tmp_path / "model"))
    np.testing.assert_allclose(
        graph.encode_joint(TEXTS, "passage").dense, weighted.encode_joint(TEXTS, "passage").dense, atol=1e-4
    )


def test_the_fingerprint_follows_the_weights(weighted: JointEncoder):
    before = weighted.fingerprint
    module = word_weights(weighted)
    assert module is not None
    with torch.no_grad():
        module.emb_layer.weight[7] += 0.5
    assert weighted.fingerprint != before
    with torch.no_grad():
        module.emb_layer.weight[7] -= 0.5


def test_the_pooling_can_be_changed_and_learned_weights_stay(weighted: JointEncoder, tmp_path: Path):
    weighted.save(str(tmp_path / "model"))
    model = load_joint(tmp_path / "model", device="cpu")
    before = model.encode_joint(TEXTS, "passage").dense
    for kept in ("base", "weighted"):
        set_pooling(model, kept, np.ones(len(VOCABULARY), np.float32))
        np.testing.assert_array_equal(model.encode_joint(TEXTS, "passage").dense, before)
    set_pooling(model, "mean")
    assert word_weights(model) is None
    assert [one.pooling_mode for one in model if isinstance(one, Pooling)] == ["mean"]
    base = from_base(str(sentence_base(tmp_path / "base")), settings=SETTINGS)
    np.testing.assert_allclose(
        model.encode_joint(TEXTS, "passage").dense, base.encode_joint(TEXTS, "passage").dense, atol=1e-6
    )
    set_pooling(model, "cls")
    with torch.no_grad():
        ids = model.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
        first = model.backbone(input_ids=ids).last_hidden_state[0, 0].numpy()
    found = model.encode_joint([TEXTS[0]], "passage").dense[0]
    np.testing.assert_allclose(found, first / np.linalg.norm(first), atol=1e-5)


def test_bad_values_are_one_clear_line(weighted: JointEncoder):
    with pytest.raises(SettingsError, match="pooling='max': choose one of base, mean, cls, weighted"):
        set_pooling(weighted, "max")  # type: ignore[arg-type]
    two = SentenceTransformer(
        modules=[weighted[0], Pooling(weighted[0].get_embedding_dimension(), ("mean", "cls"))], device="cpu"
    )
    with pytest.raises(ModelError, match="joins several poolings"):
        set_pooling(two, "weighted")


def test_idf_is_lucenes_and_weights_begin_around_one():
    idf = inverse_document_frequency([[1, 2, 2], [1], [1, 3]], 5)
    holders = np.array([0, 3, 1, 1, 0])
    np.testing.assert_allclose(idf, np.log(1 + (3 - holders + 0.5) / (holders + 0.5)), rtol=1e-6)
    begun = starting_weights(idf)
    assert begun[1] < begun[2] < begun[0]
    np.testing.assert_allclose(begun[1:4].mean(), 1.0, rtol=1e-5)
    assert starting_weights(np.zeros(4, np.float32)).min() == np.float32(LEAST_WEIGHT)


def test_weights_stay_positive_and_a_step_that_keeps_them_so_touches_nothing():
    weights = torch.nn.Parameter(torch.tensor([[-1.0], [0.5]]))
    version = weights._version
    keep_positive(weights)
    assert weights[:, 0].tolist() == [pytest.approx(LEAST_WEIGHT), 0.5]
    assert weights._version > version
    version = weights._version
    keep_positive(weights)
    assert weights._version == version


def test_a_decoder_is_weighted_too(tmp_path: Path):
    model = from_base(str(decoder_base(tmp_path / "decoder")), settings=SETTINGS)
    set_pooling(model, "weighted")
    assert np.isfinite(model.encode_joint(["tea", "rice and tea"], "passage").dense).all()


def test_weights_may_begin_alike_or_at_the_root():
    idf = inverse_document_frequency([[1, 2, 2], [1], [1, 3]], 5)
    assert starting_weights(idf, 0.0).tolist() == [1.0] * 5
    root = starting_weights(idf, 0.5)
    np.testing.assert_allclose(root[2] / root[1], np.sqrt(idf[2] / idf[1]), rtol=1e-5)


def test_the_first_token_of_a_decoder_is_no_vector(tmp_path: Path):
    model = from_base(str(decoder_base(tmp_path / "decoder")), settings=SETTINGS)
    with pytest.raises(ModelError, match="the first token of a decoder is the same for every text"):
        set_pooling(model, "cls")


def test_a_saved_model_has_no_weight_below_the_least(weights: np.ndarray, tmp_path: Path):
    model = from_base(str(sentence_base(tmp_path / "base")), settings=SETTINGS)
    set_pooling(model, "weighted", weights)
    with torch.no_grad():
        word_weights(model).emb_layer.weight[5] = -0.5  # as the last step of a training may leave it
    model.save(str(tmp_path / "model"))
    saved = word_weights(load_joint(tmp_path / "model")).emb_layer.weight
    assert saved.min().item() == pytest.approx(LEAST_WEIGHT)
