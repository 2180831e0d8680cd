"""Explanations add up to the late stage's score, and point at the right characters."""

import importlib
import json

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.index import index_shards
from ernie_search.search import Searcher, explain
from ernie_search.types import Passage
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = [
    Passage("a#0", "Denmark has Hamlet, prince", "Plays", parent="a"),
    Passage("b", "Verona has Romeo"),
    *numbered_passages(30),
]


@pytest.fixture(scope="module", params=["shards", "int8"])
def searcher(request, tmp_path_factory) -> Searcher:
    folder = tmp_path_factory.mktemp("shards")
    encode_collection(StubEncoder(), PASSAGES, folder, data_fingerprint="d")
    index = (
        index_shards(folder, "memory://")
        if request.param == "shards"
        else index_shards(folder, "memory://", tokens="int8")
    )
    return Searcher(StubEncoder(), index)


def test_the_mean_strength_is_the_late_score(searcher):
    question = "Has Denmark a prince?"
    hits = searcher.search(question, 6, mode="hybrid")
    for reason in explain(searcher, question, hits):
        assert len(reason.tokens) == 5
        mean = sum(one.weight * one.strength for one in reason.tokens) / 5
        assert mean == pytest.approx(reason.hit.stages["late"], abs=0.01)  # int8 rounds the question too


def test_tokens_point_at_their_characters(searcher):
    question = "Has Denmark a prince?"
    (reason, *_) = explain(searcher, question, searcher.search(question, 3))
    assert reason.hit.id == "a"
    whole = f"{reason.hit.title} {reason.hit.text}"
    assert [one.question_text for one in reason.tokens] == ["Has", "Denmark", "a", "prince", "?"]
    for one in reason.tokens:
        assert question[slice(*one.question)] == one.question_text
        assert whole[slice(*one.passage)] == one.passage_text
    denmark = reason.tokens[1]
    assert denmark.passage_text == "Denmark"
    assert denmark.strength == pytest.approx(1, abs=0.01)
    assert reason.shared_words == ["has", "denmark", "prince"]


def test_the_grid_is_all_that_the_matches_are_picked_from(searcher):
    question = "Has Denmark a prince?"
    (reason, *_) = explain(searcher, question, searcher.search(question, 3))
    assert reason.grid.question == [one.question_text for one in reason.tokens]
    assert reason.grid.passage == ["Plays", "Denmark", "has", "Hamlet", ",", "prince"]
    words = searcher.model.encode_joint([question, "Plays Denmark has Hamlet, prince"], "passage").tokens
    expected = [[float(np.dot(one, other)) for other in words[1]] for one in words[0]]
    np.testing.assert_allclose(reason.grid.similarity, expected, atol=0.02)  # int8 rounds the passage
    assert reason.grid.similarity.max(axis=1).tolist() == [one.strength for one in reason.tokens]
    shown = json.loads(json.dumps(reason.grid.as_json()))
    assert (shown["query_tokens"], shown["passage_tokens"]) == (reason.grid.question, reason.grid.passage)
    np.testing.assert_allclose(shown["similarity"], reason.grid.similarity, atol=6e-5)


def test_json_holds_all_of_it(searcher):
    (reason,) = explain(searcher, "Hamlet", searcher.search("Hamlet", 1))
    found = json.loads(json.dumps(reason.as_json()))
    assert found["shared_words"] == ["hamlet"]
    assert found["tokens"][0]["question"] == {"text": "Hamlet", "start": 0, "stop": 6}
    assert found["tokens"][0]["passage"]["text"] == "Hamlet"


def test_no_passage_is_encoded_again(searcher):
    hits = searcher.search("Hamlet", 3)
    searcher.model.calls.clear()
    explain(searcher, "Hamlet", hits)
    assert searcher.model.calls == [("query", 1)]
    assert explain(searcher, "Hamlet", []) == []


def test_tokens_of_another_text_have_no_place(searcher, monkeypatch):
    hits = searcher.search("Hamlet", 1)
    module = importlib.import_module("ernie_search.search.explain")  # in the package: the function
    monkeypatch.setattr(module, "token_spans", lambda *_, **__: None)
    (reason,) = explain(searcher, "Hamlet", hits)
    assert reason.tokens[0].passage is None
    assert reason.tokens[0].passage_text.startswith("#")
    assert "start" not in reason.as_json()["tokens"][0]["passage"]


def test_without_token_matrices_words_remain(tmp_path):
    encode_collection(StubEncoder(), PASSAGES, tmp_path, data_fingerprint="d", with_tokens=False)
    searcher = Searcher(StubEncoder(), index_shards(tmp_path, "memory://"))
    hits = [hit for hit in searcher.search("Romeo", 50, mode="dense") if hit.id == "b"]
    (reason,) = explain(searcher, "Romeo", hits)
    assert reason.tokens == []
    assert reason.grid is None
    assert reason.shared_words == ["romeo"]
