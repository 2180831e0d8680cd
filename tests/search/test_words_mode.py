"""Mode words: BM25 alone, and no model."""

import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import SettingsError
from ernie_search.index import Eq, MemoryIndex, index_shards
from ernie_search.search import Searcher, best_mode, explain
from ernie_search.types import Passage, Query
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = [
    Passage(one.id, one.text, one.title, {"n": number}) for number, one in enumerate(numbered_passages(60))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("index")
    model = made / "model"
    model.mkdir()
    encode_collection(StubEncoder(), PASSAGES, made / "shards", data_fingerprint="d", model_path=model)
    index_shards(made / "shards", made / "index").close()
    return made / "index"


@pytest.fixture
def loaded(monkeypatch):
    """How often the model was loaded."""
    times = []
    monkeypatch.setattr(
        "ernie_search.encoding.opening.open_encoder",
        lambda path, **options: times.append(path) or StubEncoder(),
    )
    return times


def test_it_is_bm25_and_loads_no_model(folder, loaded):
    searcher = Searcher.open(folder, mode="words")
    for question in ("w1 w8", "title3", "nowhere", "?!"):
        (expected,) = searcher.index.bm25([question], 7)
        hits = searcher.search(question, 7, mode="words")
        assert [hit.id for hit in hits] == expected.ids
        assert [hit.score for hit in hits] == pytest.approx(expected.scores.tolist())
        assert all(hit.stages == {"bm25": hit.score} for hit in hits)
        assert len(searcher.matches(question, hits)) == len(hits)
        assert [one.tokens for one in explain(searcher, question, hits)] == [[]] * len(hits)
    filtered = searcher.search("w1 w8 w9", mode="words", where=Eq("n", 3))
    assert {hit.fields["n"] for hit in filtered} <= {3}
    run = searcher.run([Query("a", "w1"), Query("b", "nowhere")], mode="words")
    assert list(run["a"]) == searcher.index.bm25(["w1"], 1000)[0].ids
    assert run["b"] == {}
    assert loaded == []
    assert not searcher.has_model


def test_the_model_is_loaded_when_it_is_needed(folder, loaded):
    searcher = Searcher.open(folder, mode="words")
    assert searcher.search("w1", mode="dense") == Searcher.open(folder).search("w1", mode="dense")
    assert len(loaded) == 2
    assert searcher.has_model


def test_a_searcher_without_a_model_says_so(folder):
    searcher = Searcher(None, Searcher.open(folder, mode="words").index)
    assert searcher.search("w1", mode="words")
    with pytest.raises(SettingsError, match="has no model; search in mode words"):
        searcher.search("w1")


def test_documents_are_hits(tmp_path):
    pieces = [Passage(f"x{n}", "the same word", parent=f"doc{n % 4}") for n in range(40)]
    encode_collection(StubEncoder(), pieces, tmp_path, data_fingerprint="d")
    hits = Searcher(None, index_shards(tmp_path, "memory://")).search("word", 4, mode="words")
    assert {hit.id for hit in hits} == {"doc0", "doc1", "doc2", "doc3"}


def test_an_index_without_words_refuses(tmp_path, monkeypatch):
    encode_collection(StubEncoder(), PASSAGES, tmp_path, data_fingerprint="d")
    index = index_shards(tmp_path, "memory://")
    assert best_mode(index) == "hybrid"
    monkeypatch.setattr(MemoryIndex, "capabilities", frozenset({"filters"}))
    assert best_mode(index) == "late"
    searcher = Searcher(StubEncoder(), index)
    assert searcher.search("w1") == searcher.search("w1", mode="late")
    for mode in ("words", "hybrid"):
        with pytest.raises(SettingsError, match="cannot search by words; use mode late"):
            searcher.search("w1", mode=mode)
