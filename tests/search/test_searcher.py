"""Question to hits, both modes, against brute force over the passages."""

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index import index_shards
from ernie_search.search import Searcher, maxsim
from ernie_search.types import Passage, Query
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = numbered_passages(300)
QUESTIONS = [f"w{n} w{n + 7} w{n * 3 % 400}" for n in range(25)]


def searcher_over(folder, passages, model=None, **settings) -> Searcher:
    model = model or StubEncoder()
    encode_collection(model, passages, folder, data_fingerprint="d", shard_size=100, **settings)
    return Searcher(model, index_shards(folder, "memory://"))


@pytest.fixture(scope="module")
def searcher(tmp_path_factory) -> Searcher:
    return searcher_over(tmp_path_factory.mktemp("shards"), PASSAGES)


def late_scores(question: str, ids: list[str]) -> np.ndarray:
    texts = {passage.id: passage.full_text for passage in PASSAGES}
    stub = StubEncoder()
    stored = [one.astype(np.float16) for one in stub.encode_joint([texts[i] for i in ids], "passage").tokens]
    return maxsim(stub.encode_joint([question], "query").tokens[0], stored)


def test_dense_is_the_index(searcher):
    hits = searcher.search(QUESTIONS[0], 7, mode="dense")
    vector = StubEncoder().encode_joint([QUESTIONS[0]], "query").dense
    (expected,) = searcher.index.search(vector, 7)
    assert hits == expected


def test_late_reorders_the_dense_candidates(searcher):
    for question in QUESTIONS:
        dense = [hit.id for hit in searcher.search(question, 40, mode="dense")]
        scores = late_scores(question, dense)
        expected = [dense[place] for place in np.argsort(-scores, kind="stable")]
        options = {"mode": "late", "candidates": 40, "token_weights": "even"}
        hits = searcher.search(question, 40, **options)
        assert [hit.id for hit in hits] == expected
        np.testing.assert_allclose([hit.stages["late"] for hit in hits], np.sort(scores)[::-1], atol=1e-6)
        assert [hit.id for hit in searcher.search(question, 10, **options)] == expected[:10]


def test_no_passage_is_encoded_again(searcher):
    searcher.model.calls.clear()
    hits = searcher.search(QUESTIONS[0], 10)
    searcher.matches(QUESTIONS[0], hits)
    assert searcher.model.calls == [("query", 1)] * 2


@pytest.mark.parametrize("mode", ["dense", "late"])
def test_batched_and_single_are_the_same(searcher, mode):
    together = searcher.search_many(QUESTIONS, 20, mode=mode)
    assert together == [searcher.search(question, 20, mode=mode) for question in QUESTIONS]


def test_a_run_has_the_late_ones_first_and_the_rest_in_dense_order(searcher):
    queries = [Query(f"q{n}", text) for n, text in enumerate(QUESTIONS)]
    seen: list[int] = []
    late = searcher.run(queries, 120, mode="late", candidates=30, progress=seen.append)
    dense = searcher.run(queries, 120, mode="dense")
    assert sum(seen) == len(queries)
    for query in queries:
        ids, scores = list(late[query.id]), list(late[query.id].values())
        first = list(dense[query.id])
        assert len(ids) == 120
        assert set(ids[:30]) == set(first[:30])
        assert ids[30:] == first[30:]
        assert scores == sorted(scores, reverse=True)
        assert scores[29] > scores[30] + 0.5  # RERANK_GAP


def test_more_hits_than_candidates(searcher):
    hits = searcher.search(QUESTIONS[0], 20, mode="late", candidates=5)
    assert ["late" in hit.stages for hit in hits] == [True] * 5 + [False] * 15


def test_k_and_candidates_above_the_corpus(searcher):
    for mode in ("dense", "late"):
        assert len(searcher.search("w1", 5000, mode=mode, candidates=5000)) == 300


def test_equal_passages_keep_their_order(tmp_path):
    copies = [Passage(f"{n:02}", "one and the same") for n in range(30)]
    searcher = searcher_over(tmp_path, copies)
    for mode in ("dense", "late"):
        hits = searcher.search("the same", 12, mode=mode, candidates=6)
        assert [hit.id for hit in hits] == [f"{n:02}" for n in range(12)]


def pieces() -> list[Passage]:
    """40 documents of 1 to 9 pieces."""
    made = []
    for number, passage in enumerate(numbered_passages(200, seed=5)):
        document = number % 40 if number % 40 < 30 else number % 3
        made.append(Passage(f"x{number}", passage.text, parent=f"doc{document}"))
    return made


@pytest.mark.parametrize("mode", ["dense", "late"])
def test_documents_score_as_their_best_piece(tmp_path, mode):
    passages = pieces()
    searcher = searcher_over(tmp_path, passages)
    parents = {passage.id: passage.parent for passage in passages}
    for question in QUESTIONS[:8]:
        whole = searcher.search(question, 200, mode=mode, candidates=200, by_parent=False)
        expected: dict[str, tuple[str, float]] = {}
        for hit in whole:
            expected.setdefault(parents[hit.id], (hit.id, hit.score))
        found = searcher.search(question, 25, mode=mode, candidates=200)
        assert [(hit.id, (hit.passage, hit.score)) for hit in found] == list(expected.items())[:25]
        assert all(hit.text == passages[int(hit.passage[1:])].text for hit in found)
    run = searcher.run([Query("q", QUESTIONS[0])], 1000, mode=mode)
    assert set(run["q"]) == set(parents.values())


def test_looks_deeper_until_there_are_enough_documents(tmp_path):
    passages = [Passage(f"a{n}", "match this", parent="long") for n in range(90)]
    passages += [Passage(f"b{n}", f"other {n}") for n in range(10)]
    searcher = searcher_over(tmp_path, passages)
    hits = searcher.search("match this", 4, mode="dense")
    assert hits[0].id == "long"
    assert len({hit.id for hit in hits}) == 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.search("  "), DataError, "question 1 of 1 is empty"),
        (lambda s: s.search_many(["w1", ""]), DataError, "question 2 of 2 is empty"),
        (lambda s: s.search_many("w1"), SettingsError, "a list of questions"),
        (lambda s: s.search("w1", mode="lat"), SettingsError, "mode='lat': unknown; did you mean 'late'"),
        (lambda s: s.search("w1", 0), SettingsError, "k=0"),
        (lambda s: s.search("w1", candidates=0), SettingsError, "candidates=0"),
        (lambda s: s.run([Query("a", "w1"), Query("a", "w2")]), DataError, "question id 'a' repeats"),
    ],
)
def test_refusals(searcher, call, error, message):
    with pytest.raises(error, match=message):
        call(searcher)


def test_no_questions(searcher):
    assert searcher.search_many([]) == []
    assert searcher.run([]) == {}


def test_another_model_is_refused_by_both_names(searcher):
    with pytest.raises(IndexStateError, match=r"stub \(f00d\), not by other \(beef\)"):
        Searcher(StubEncoder("other", "beef"), searcher.index)


def test_an_index_without_tokens(tmp_path):
    searcher = searcher_over(tmp_path, PASSAGES, with_tokens=False)
    hits = searcher.search("w1 w2", mode="dense")
    assert len(hits) == 10
    with pytest.raises(IndexStateError, match="mode hybrid"):
        searcher.search("w1 w2", mode="late")
    passage = Passage("a", "a plain word")
    plain = searcher_over(tmp_path / "x", [passage], with_tokens=False)
    ((match,),) = plain.matches("one Plain", plain.search("one", mode="dense"))
    assert passage.text[match.start : match.stop] == "plain"


def test_open_from_disk(tmp_path):
    shards, model = tmp_path / "shards", StubEncoder()
    encode_collection(model, PASSAGES, shards, data_fingerprint="d", model_path=tmp_path / "model")
    with index_shards(shards, tmp_path / "index") as made:
        assert Searcher.open(made, model).search("w1")
    assert Searcher.open(tmp_path / "index", model).search("w1")
    assert Searcher.open(index_shards(shards, "memory://"), model).search("w1")
    with pytest.raises(IndexStateError, match=r"stub \(f00d\), is no longer at .*model; name .* --model"):
        Searcher.open(tmp_path / "index")
    encode_collection(model, PASSAGES, tmp_path / "bare", data_fingerprint="d")
    with pytest.raises(IndexStateError, match="is not noted in it"):
        Searcher.open(index_shards(tmp_path / "bare", "memory://"))


def test_shards_are_not_searched_as_they_are(tmp_path):
    encode_collection(StubEncoder(), PASSAGES, tmp_path, data_fingerprint="d")
    with pytest.raises(IndexStateError, match=f"ernie-search index {tmp_path} --output DIR$"):
        Searcher.open(tmp_path, StubEncoder())


def test_the_model_of_a_linked_index_is_looked_for_beside_the_index_itself(tmp_path, monkeypatch):
    real = tmp_path / "disk" / "work" / "index"
    model = tmp_path / "disk" / "model"
    model.mkdir(parents=True)
    encode_collection(StubEncoder(), PASSAGES, tmp_path / "shards", data_fingerprint="d", model_path=model)
    index_shards(tmp_path / "shards", real).close()
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "links").symlink_to(real.parent)
    asked = []
    monkeypatch.setattr(
        "ernie_search.encoding.opening.open_encoder",
        lambda path, **options: asked.append(path) or StubEncoder(),
    )
    for index in (tmp_path / "link", tmp_path / "links" / "index"):
        assert Searcher.open(index).search("w1")
    assert asked == [model, model]


@pytest.mark.parametrize("cut", [True, False])
def test_vectors_are_searched_as_their_questions(tmp_path, cut):
    passages = pieces() if cut else numbered_passages(60)
    searcher = searcher_over(tmp_path, passages)
    vectors = StubEncoder().encode_joint(QUESTIONS, "query").dense
    found = searcher.search_vectors(vectors, 7)
    assert found == searcher.search_many(QUESTIONS, 7, mode="dense")
    assert all(("#" in hit.id) is False for hits in found for hit in hits)
    with pytest.raises(SettingsError, match="k=0"):
        searcher.search_vectors(vectors, 0)
