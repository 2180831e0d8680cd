"""What a student takes from its collection before the first step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import WordWeights

from ernie_search.errors import DataError, SettingsError
from ernie_search.losses import maxsim
from ernie_search.model import ScoreSettings, fit_start, from_base, load_joint
from ernie_search.model.beginning import fit_head
from ernie_search.model.pooling import word_weights
from ernie_search.training import train
from ernie_search.training.beginning import begin, token_idf
from tiny_model import sentence_base
from tiny_training import collection, settings

WEIGHTED: dict[str, Any] = {"pooling": "weighted", "question_weights": "root", "head": "pca"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_base(tmp_path_factory.mktemp("base") / "one")


SCORED = ScoreSettings(query_length=32, passage_length=60, token_dim=8)


def begun(base: Path, **changes: Any) -> Any:
    model = from_base(str(base), settings=SCORED, device="cpu")
    begin(model, collection(), settings(**changes), fresh=True)
    return model


def test_the_usual_settings_change_nothing(base: Path):
    plain, model = from_base(str(base), settings=SCORED, device="cpu"), begun(base)
    assert model.fingerprint == plain.fingerprint
    assert model.question_weights is None


def test_idf_counts_the_passages_that_hold_a_token(base: Path):
    model = from_base(str(base), settings=SCORED, device="cpu")
    texts = [passage.full_text for passage in collection().passages()]
    expected = np.zeros(len(model.tokenizer))
    for text in texts:
        expected[list(set(model.tokenizer(text)["input_ids"]))] += 1
    count = len(texts)
    found = token_idf(model, collection())
    np.testing.assert_allclose(found, np.log(1 + (count - expected + 0.5) / (expected + 0.5)), rtol=1e-5)


def test_common_tokens_begin_below_rare_ones(base: Path):
    module = word_weights(begun(base, **WEIGHTED))
    assert module is not None
    weights = dict(zip(module.vocab, module.emb_layer.weight[:, 0].tolist(), strict=True))
    assert weights["[CLS]"] < weights["tea"]
    assert min(weights.values()) > 0


def test_the_head_keeps_products_of_states_better_than_a_rotation(base: Path):
    texts = [passage.full_text for passage in collection().passages()]
    lost = []
    for fit in (False, True):
        model = from_base(str(base), settings=SCORED, device="cpu", seed=0)
        if fit:
            fit_head(model, texts)
        with torch.no_grad():
            found = model(model.preprocess(texts))
            states = torch.nn.functional.normalize(found["token_embeddings"][found["late_mask"]], dim=-1)
            tokens = found["late_tokens"][found["late_mask"]]
        lost.append(float((states @ states.t() - tokens @ tokens.t()).abs().mean()))
    assert lost[1] < lost[0]


def test_the_head_begins_alike_each_time(base: Path):
    first, second = (begun(base, **WEIGHTED).token_head.linear.weight for _ in range(2))
    assert torch.equal(first, second)


def test_texts_fit_a_model_as_their_collection_does(base: Path):
    expected = begun(base, **WEIGHTED)
    model = from_base(str(base), settings=SCORED, device="cpu")
    fit_start(model, [passage.full_text for passage in collection().passages()], pooling="weighted")
    assert model.fingerprint == expected.fingerprint
    assert torch.equal(model.question_weights, expected.question_weights)
    kept = from_base(str(base), settings=SCORED, device="cpu")
    before = kept.fingerprint
    fit_start(kept, ["tea and rice"], pooling="base", question_weights="even", head=False)
    assert kept.fingerprint == before
    assert kept.question_weights is None
    with pytest.raises(DataError, match="no text"):
        fit_start(kept, [])
    with pytest.raises(SettingsError, match="question_weights='square': choose one of even, root, idf"):
        fit_start(kept, ["tea"], question_weights="square")


def test_question_weights_make_a_weighted_mean_of_maxima():
    generator = torch.Generator().manual_seed(0)
    queries, passages = (torch.randn(size, generator=generator) for size in ((2, 3, 4), (5, 6, 4)))
    query_mask = torch.tensor([[True, True, True], [True, True, False]])
    passage_mask = torch.rand(5, 6, generator=generator) > 0.3
    passage_mask[:, 0] = True
    weights = torch.tensor([[1.0, 2.0, 0.5], [3.0, 1.0, 9.0]])
    products = torch.einsum("qid,pjd->qpij", queries, passages)
    best = products.masked_fill(~passage_mask[None, :, None], -torch.inf).amax(-1)
    share = weights * query_mask
    expected = (best * (share / share.sum(1, keepdim=True))[:, None]).sum(-1)
    found = maxsim(queries, query_mask, passages, passage_mask, query_weights=weights)
    torch.testing.assert_close(found, expected)
    even = maxsim(queries, query_mask, passages, passage_mask, query_weights=torch.full((2, 3), 2.0))
    torch.testing.assert_close(even, maxsim(queries, query_mask, passages, passage_mask))


@pytest.mark.parametrize("gradient_cache", [False, True])
def test_a_training_moves_the_weights_and_saves_them_for_others(
    base: Path, tmp_path: Path, gradient_cache: bool
):
    train(
        collection(),
        tmp_path / "run",
        settings(**WEIGHTED, gradient_cache=gradient_cache),
        base=str(base),
    )
    trained = load_joint(tmp_path / "run" / "last", device="cpu")
    before, after = word_weights(begun(base, **WEIGHTED)), word_weights(trained)
    assert before is not None
    assert after is not None
    assert not torch.equal(before.emb_layer.weight, after.emb_layer.weight)
    plain = SentenceTransformer(str(tmp_path / "run" / "last"), device="cpu", local_files_only=True)
    assert isinstance(plain[1], WordWeights)
    texts = ["tea is grown in Assam", "rice"]
    np.testing.assert_allclose(
        plain.encode_document(texts), trained.encode_joint(texts, "passage").dense, atol=1e-5
    )


def test_the_next_training_keeps_learned_weights(base: Path, tmp_path: Path):
    train(collection(), tmp_path / "first", settings(**WEIGHTED, steps=4), base=str(base))
    first = tmp_path / "first" / "last"
    model = from_base(str(first), settings=load_joint(first).score_settings, device="cpu")
    begin(model, collection(), settings(**WEIGHTED), fresh=False)
    assert model.fingerprint == load_joint(first, device="cpu").fingerprint
    assert model.question_weights is not None
