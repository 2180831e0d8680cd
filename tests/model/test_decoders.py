"""Decoders as bases: the last token's vector, padding that changes nothing, and their tokens compared."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoModel, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from ernie_search.errors import ModelError
from ernie_search.model import ScoreSettings, from_base, load
from ernie_search.model.base import is_causal
from ernie_search.model.cross_encoder import load_cross_encoder, new_cross_encoder
from ernie_search.model.encode import tokenize
from ernie_search.model.tokenizer import give_padding
from tiny_model import HIDDEN, decoder_base

TEXTS = ["where does tea grow?", "rice", "tea grows in the hills, where it rains", "水 in the rice"]
SETTINGS = ScoreSettings(token_dim=16, query_length=50, passage_length=60)
KINDS = ["llama", "gpt2"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoders")
    return {
        (kind, side): decoder_base(folder / f"{kind}-{side}", kind, padding_side=side)
        for kind in KINDS
        for side in ("left", "right")
    }


def by_hand(base, head, text):
    """Vector and token matrix of one text, by transformers alone, without any padding."""
    tokenizer, backbone = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base).eval()
    inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        states = backbone(**inputs).last_hidden_state[0]
        rows = torch.nn.functional.normalize(states @ head.T, dim=1)
    words = [place for place, one in enumerate(inputs["input_ids"][0].tolist()) if one > 1]
    return torch.nn.functional.normalize(states[-1], dim=0).numpy(), rows[words].numpy()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_decoder_gets_its_last_token_and_the_cosine(bases, kind, side, tmp_path):
    base = bases[kind, side]
    model = from_base(str(base), settings=SETTINGS, device="cpu")
    assert model.score_settings.similarity == "cosine"
    found = model.encode_joint(TEXTS, "passage")
    head = model.token_head.linear.weight.detach()
    for text, vector, rows in zip(TEXTS, found.dense, found.tokens, strict=True):
        expected, tokens = by_hand(base, head, text)
        np.testing.assert_allclose(vector, expected, atol=1e-5)
        np.testing.assert_allclose(rows, tokens, atol=1e-5)
    assert np.linalg.norm(found.dense[0] - found.dense[1]) > 0.1
    model.save(str(tmp_path / "saved"))
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(
        plain.encode(TEXTS, normalize_embeddings=True), found.dense, atol=1e-5
    )  # padded, in one batch
    again = load(tmp_path / "saved", device="cpu").encode_joint(TEXTS, "passage")
    np.testing.assert_allclose(again.dense, found.dense, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_saved_decoder_keeps_its_pooling_and_its_side(bases, side, tmp_path):
    base = bases["llama", side]
    modules = [Transformer(str(base)), Pooling(HIDDEN, "mean")]
    plain = SentenceTransformer(modules=modules, prompts={"query": "find: "}, device="cpu")
    plain.tokenizer.pad_token = plain.tokenizer.eos_token
    plain.save(str(tmp_path / "mean"), create_model_card=False)
    model = from_base(str(tmp_path / "mean"), settings=SETTINGS, device="cpu")
    assert model.tokenizer.padding_side == side
    found = model.encode_joint(TEXTS, "query")
    expected = plain.encode(TEXTS, prompt_name="query", normalize_embeddings=True)
    np.testing.assert_allclose(found.dense, expected, atol=1e-5)
    # Token matrices of a batch that sentence-transformers itself has padded, prompts left out of them.
    features = model.preprocess(TEXTS, prompt="find: ")
    assert ((features["attention_mask"][1] == 0).nonzero()[0] == 0) == (side == "left")
    with torch.no_grad():
        rows, mask = model.read(features).late()
    for row, kept, tokens in zip(rows, mask, found.tokens, strict=True):
        np.testing.assert_allclose(row[kept], tokens, atol=1e-5)


def test_a_decoder_without_a_beginning_reads_an_empty_text(bases):
    model = from_base(str(bases["gpt2", "right"]), settings=SETTINGS, device="cpu")
    assert tokenize(model, ["", "a"], "query").ids[0] == [model.tokenizer.eos_token_id]
    for texts in ([""], ["", "rice"]):
        found = model.encode_joint(texts, "query")
        assert np.isfinite(found.dense).all()
        assert [len(rows) for rows in found.tokens] == [1, 4][: len(texts)]
    assert model.tokenizer.eos_token_id in model.special_ids.tolist()  # though it is the unknown word, too


def test_gradients_reach_every_layer(bases):
    model = from_base(str(bases["llama", "left"]), settings=SETTINGS, device="cpu")
    features = model.preprocess(TEXTS)
    output = model.read(features)
    (output.cls.sum() + output.late()[0].sum()).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []


def test_the_first_token_of_a_decoder_is_no_vector(bases, tmp_path):
    modules = [Transformer(str(bases["llama", "right"])), Pooling(HIDDEN, "cls")]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "cls"), create_model_card=False)
    with pytest.raises(ModelError, match=r"cls: takes the first token's vector of a decoder.*lasttoken"):
        from_base(str(tmp_path / "cls"), settings=SETTINGS, device="cpu")


def test_who_sees_only_what_came_before_is_tried_out(bases, bare):
    assert all(is_causal(AutoModel.from_pretrained(base)) for base in bases.values())
    encoder = AutoModel.from_pretrained(bare)
    assert not is_causal(encoder)
    assert not is_causal(encoder.bfloat16())


@pytest.mark.parametrize("options", [{"pad_token": "<pad>"}, {"additional_special_tokens": ["<|user|>"]}])
def test_a_token_beyond_the_embedding_is_refused(tmp_path, options):
    base = decoder_base(tmp_path / "base", **options)
    for make in (from_base, new_cross_encoder):
        with pytest.raises(ModelError, match=r"base: its .*token '<.*>' is number 258.*258 rows") as caught:
            make(str(base), device="cpu")
        assert "\n" not in str(caught.value)


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(bases):
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE({"a": 0, "b": 1}, [])))
    with pytest.raises(ModelError, match=r"^name: its tokenizer has no padding token, nor one for"):
        give_padding(words, LlamaConfig(), "name")
    with pytest.raises(ModelError, match=r"gpt2.*no padding token, so it can't read two pairs together"):
        load_cross_encoder(bases["gpt2", "left"], device="cpu")


def test_a_decoder_is_no_base_of_a_teacher(bases):
    for (kind, _), base in bases.items():
        with pytest.raises(ModelError, match=rf"{kind}.*a decoder.*choose an encoder|{kind}.*padding token"):
            new_cross_encoder(str(base), device="cpu")
