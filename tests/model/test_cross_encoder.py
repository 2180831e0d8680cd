"""Cross-encoders: a seeded head, and scores that are those of ``CrossEncoder.predict``."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from torch import nn

from ernie_search.errors import ModelError
from ernie_search.model import cross_encoder as module
from ernie_search.model.cross_encoder import (
    cross_encoder_fingerprint,
    load_cross_encoder,
    new_cross_encoder,
    pair_batches,
    reads_plain_pairs,
    score_pairs,
)
from tiny_model import TEXTS


@pytest.fixture(autouse=True)
def _no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrossEncoder, "_create_model_card", lambda *args, **kwargs: None)


@pytest.fixture(scope="module")
def teacher(bare: Path) -> CrossEncoder:
    return new_cross_encoder(str(bare), max_length=40, seed=5, device="cpu")


def pairs(count: int) -> list[tuple[str, str]]:
    """Of many lengths, some longer than is read."""
    draw = random.Random(0)
    return [
        (draw.choice(TEXTS[:2]), " ".join(draw.choices(TEXTS, k=draw.randint(1, 2)))) for _ in range(count)
    ]


def test_scores_are_the_raw_logits_of_predict_in_the_order_of_the_pairs(teacher):
    some = pairs(60)
    expected = teacher.predict(some, activation_fn=nn.Identity())
    assert np.ptp(expected) > 0.01
    for budget in (None, 1, 100):
        np.testing.assert_allclose(score_pairs(teacher, some, token_budget=budget), expected, atol=1e-5)
    assert score_pairs(teacher, some).dtype == np.float32
    assert score_pairs(teacher, []).shape == (0,)


def test_chunks_join_seamlessly_and_progress_counts_every_pair(teacher, monkeypatch):
    some = pairs(25)
    expected = score_pairs(teacher, some)
    monkeypatch.setattr(module, "CHUNK", 7)
    done: list[int] = []
    np.testing.assert_allclose(score_pairs(teacher, some, progress=done.append), expected, atol=1e-5)
    assert sum(done) == 25


def test_the_model_is_left_as_it_was(teacher):
    teacher.train()
    first = score_pairs(teacher, pairs(8))
    assert teacher.training
    assert np.array_equal(first, score_pairs(teacher, pairs(8)))  # no dropout
    teacher.eval()


def test_batches_keep_to_the_budget_and_count_what_was_cut(teacher):
    some = pairs(40)
    batches = pair_batches(teacher, some, 200)
    assert sorted(place for places in batches.places for place in places) == list(range(40))
    for features, places in zip(batches.features, batches.places, strict=True):
        rows, width = features["input_ids"].shape
        assert rows == len(places)
        assert rows * width <= 200
        assert features["token_type_ids"].shape == (rows, width)
    lengths = [len(ids) for ids in teacher.tokenizer([q for q, _ in some], [p for _, p in some])["input_ids"]]
    assert batches.truncated == sum(length > 40 for length in lengths) > 0


def test_what_is_no_plain_pair_goes_the_way_of_sentence_transformers(bare):
    prompted = new_cross_encoder(str(bare), max_length=40, seed=5, device="cpu")
    prompted.prompts["query"] = "query: "
    prompted.default_prompt_name = "query"
    assert not reads_plain_pairs(prompted)
    some = pairs(9)
    expected = prompted.predict(some, activation_fn=nn.Identity())
    np.testing.assert_allclose(score_pairs(prompted, some), expected, atol=1e-5)


def test_the_head_comes_from_the_seed_alone(bare):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, two, other = (new_cross_encoder(str(bare), seed=seed, device="cpu") for seed in (4, 4, 5))
    assert torch.equal(torch.random.get_rng_state(), before)
    heads = [model.model.classifier.weight for model in (one, two, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert cross_encoder_fingerprint(one) == cross_encoder_fingerprint(two)
    assert cross_encoder_fingerprint(one) != cross_encoder_fingerprint(other)


def test_saved_and_loaded_it_scores_the_same(teacher, tmp_path):
    teacher.save(str(tmp_path / "saved"))
    loaded = load_cross_encoder(tmp_path / "saved", device="cpu")
    assert cross_encoder_fingerprint(loaded) == cross_encoder_fingerprint(teacher)
    some = pairs(12)
    np.testing.assert_allclose(score_pairs(loaded, some), score_pairs(teacher, some), atol=1e-6)
    shorter = load_cross_encoder(tmp_path / "saved", max_length=20, device="cpu")
    assert cross_encoder_fingerprint(shorter) != cross_encoder_fingerprint(teacher)
    assert not np.allclose(score_pairs(shorter, some), score_pairs(teacher, some))
    # As anybody else would load it: raw logits, no sigmoid.
    assert isinstance(CrossEncoder(str(tmp_path / "saved"), device="cpu").activation_fn, nn.Identity)


def test_layers_are_cut_and_a_sentence_transformers_base_will_do(sentence):
    made = new_cross_encoder(str(sentence), layers=1, max_length=32, device="cpu")
    assert len(made.model.bert.encoder.layer) == made.model.config.num_hidden_layers == 1
    assert score_pairs(made, pairs(3)).shape == (3,)


def test_what_cannot_be_had_is_refused_in_one_line(bare, tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded as a cross-encoder"):
        load_cross_encoder(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ModelError, match=r"max_length=100 is more than .* can read; choose at most 64"):
        new_cross_encoder(str(bare), max_length=100, device="cpu")
    CrossEncoder(str(bare), num_labels=3, device="cpu").save(str(tmp_path / "three"))
    with pytest.raises(ModelError, match="gives 3 scores for a pair"):
        load_cross_encoder(tmp_path / "three", device="cpu")


def test_a_score_that_is_not_finite_is_refused(bare):
    broken = new_cross_encoder(str(bare), max_length=40, device="cpu")
    with torch.no_grad():
        broken.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="is nan"):
        score_pairs(broken, pairs(2))
