"""Weights of question tokens: late interaction as the weighted mean that the definition spells."""

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import SettingsError
from ernie_search.index import index_shards
from ernie_search.search import Searcher, explain
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = numbered_passages(30)
ASKED = "w1 w2 w3 w4 w5"


class Rare:
    """Statistics in which a token counts by its id, and the weights' mean is 1; of words they know none."""

    def most(self, text):
        return 0.0

    def token_weights(self, ids):
        raw = 1 + np.asarray(ids) % 7
        return (raw / raw.mean()).astype(np.float32)


def searcher_of(folder, kind="plain", statistics=True, **settings) -> Searcher:
    model = StubEncoder()
    model.kind = kind
    encode_collection(model, PASSAGES, folder, data_fingerprint="d")
    index = index_shards(folder, "memory://", **{"tokens": "fp16", **settings})
    index.statistics = lambda: Rare() if statistics else None
    return Searcher(model, index)


def by_definition(question: str, choice: str = "root") -> dict[str, float]:
    """A loop over question tokens, passages and their tokens."""
    model = StubEncoder()
    asked = model.encode_joint([question], "query")
    power = {"even": 0.0, "root": 0.5, "idf": 1.0}[choice]
    weights = Rare().token_weights(asked.token_ids[0]) ** power
    weights = weights / weights.mean()
    scores = {}
    for one in PASSAGES:
        rows = model.encode_joint([one.full_text], "passage").tokens[0]
        total = 0.0
        for weight, token in zip(weights, asked.tokens[0], strict=True):
            total += float(weight) * max(float(token @ row) for row in rows)
        scores[one.id] = total / len(weights)
    return scores


@pytest.mark.parametrize(
    ("kind", "choice", "meant"),
    [
        *(("plain", None, "root"), ("plain", "even", "even"), ("plain", "idf", "idf")),
        *(("joint", None, "root"), ("joint", "even", "even"), ("late", None, "even")),
    ],
)
def test_late_scores_are_the_weighted_mean_of_the_best_cosines(tmp_path, kind, choice, meant):
    searcher = searcher_of(tmp_path, kind)
    expected = by_definition(ASKED, meant)
    hits = searcher.search(ASKED, 30, mode="late", candidates=30, token_weights=choice)
    assert len(hits) == 30
    for hit in hits:
        assert hit.stages["late"] == pytest.approx(expected[hit.id], abs=2e-3)
        assert -1 <= hit.stages["late"] <= 1
    order = [hit.stages["late"] for hit in hits]
    assert order == sorted(order, reverse=True)


def test_the_question_itself_scores_one(tmp_path):
    hit = searcher_of(tmp_path).search(PASSAGES[4].full_text, 1, mode="late")[0]
    assert hit.stages["late"] == pytest.approx(1, abs=2e-3)
    assert hit.stages["late"] <= 1


@pytest.mark.parametrize("tokens", ["fp16", "int8", "fp32"])
def test_weight_times_strength_add_up_to_the_late_score(tmp_path, tokens):
    searcher = searcher_of(tmp_path, tokens=tokens)
    hits = searcher.search(ASKED, 5, mode="late")
    for reason in explain(searcher, ASKED, hits):
        weights = [one.weight for one in reason.tokens]
        assert sum(weights) / len(weights) == pytest.approx(1)
        mean = sum(one.weight * one.strength for one in reason.tokens) / len(weights)
        assert mean == pytest.approx(reason.hit.stages["late"], abs=0.01)
        assert [one["weight"] for one in reason.as_json()["tokens"]] == weights


def test_plain_means_are_explained_with_weights_of_one(tmp_path):
    searcher = searcher_of(tmp_path, "late")
    (reason,) = explain(searcher, ASKED, searcher.search(ASKED, 1))
    assert {one.weight for one in reason.tokens} == {1.0}


def test_highlighted_words_keep_strengths_of_at_most_one(tmp_path):
    searcher = searcher_of(tmp_path)
    asked = PASSAGES[4].full_text
    (found,) = searcher.matches(asked, searcher.search(asked, 1))
    assert found
    assert 0 < max(one.strength for one in found) <= 1
    assert max(one.strength for one in found) == pytest.approx(1, abs=2e-3)


def test_without_statistics_the_default_is_the_plain_mean_and_idf_is_refused(tmp_path):
    searcher = searcher_of(tmp_path, statistics=False)
    expected = by_definition(ASKED, "even")
    for hit in searcher.search(ASKED, 5, mode="late"):
        assert hit.stages["late"] == pytest.approx(expected[hit.id], abs=2e-3)
    with pytest.raises(SettingsError, match="keeps no statistics"):
        searcher.search(ASKED, 5, mode="late", token_weights="idf")
    with pytest.raises(SettingsError, match="did you mean"):
        searcher.search(ASKED, 5, mode="late", token_weights="idff")


def test_a_late_interaction_model_s_index_works_in_every_mode(tmp_path):
    searcher = searcher_of(tmp_path, "late")
    for mode in ("late", "hybrid", "dense"):
        assert searcher.search(PASSAGES[4].full_text, 1, mode=mode)[0].id == "p4"
