"""Hybrid and cross mode over both kinds of index, against their stages put together by hand."""

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import Eq, MemoryIndex, index_shards, reciprocal_rank
from ernie_search.search import Fusion, Searcher, maxsim
from ernie_search.types import Passage, Query
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = [
    Passage(one.id, one.text, one.title, {"half": "even" if int(one.id[1:]) % 2 == 0 else "odd"})
    for one in numbered_passages(300)
]
TEXTS = {passage.id: passage.full_text for passage in PASSAGES}
QUESTIONS = [f"w{n} w{n + 7} w{n * 3 % 400}" for n in range(25)]
RANKS = Fusion("rrf")
WEIGHTS = Fusion("weighted", {"dense": 0.3, "bm25": 0.3, "late": 0.4})


def count_words(pairs):
    """A cross-encoder that counts shared words."""
    return np.float32([len(set(a.lower().split()) & set(b.lower().split())) for a, b in pairs])


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    encode_collection(StubEncoder(), PASSAGES, folder, data_fingerprint="d", shard_size=100)
    return folder


@pytest.fixture(scope="module", params=["shards", "fp16", "int8"])
def searcher(request, shards) -> Searcher:
    index = (
        index_shards(shards, "memory://")
        if request.param == "shards"
        else index_shards(shards, "memory://", tokens=request.param)
    )
    return Searcher(StubEncoder(), index, count_words)


@pytest.fixture(scope="module")
def filtered_searcher(shards) -> Searcher:
    return Searcher(StubEncoder(), index_shards(shards, "memory://", tokens="fp16"), count_words)


def late_scores(question: str, ids: list[str]) -> np.ndarray:
    stub = StubEncoder()
    stored = [one.astype(np.float16) for one in stub.encode_joint([TEXTS[i] for i in ids], "passage").tokens]
    return maxsim(stub.encode_joint([question], "query").tokens[0], stored)


def fused_by_hand(searcher: Searcher, question: str, depth: int) -> list[str]:
    dense = searcher.index.nearest(StubEncoder().encode_joint([question], "query").dense, depth)[0]
    return reciprocal_rank([dense, searcher.index.bm25([question], depth)[0]], 2 * depth).ids


def test_hybrid_without_rerank_is_the_fusion(searcher):
    for question in QUESTIONS[:8]:
        hits = searcher.search(question, 20, mode="hybrid", candidates=30, fusion=RANKS, rerank=False)
        assert [hit.id for hit in hits] == fused_by_hand(searcher, question, 30)[:20]
        assert "late" not in hits[0].stages
        assert hits[0].score == hits[0].stages["fused"]


def test_hybrid_then_maxsim(searcher):
    for question in QUESTIONS[:8]:
        first = fused_by_hand(searcher, question, 30)[:30]
        options = {"mode": "hybrid", "candidates": 30, "fusion": RANKS, "token_weights": "even"}
        hits = searcher.search(question, 30, **options)
        assert {hit.id for hit in hits} == set(first)
        late = late_scores(question, [hit.id for hit in hits])
        np.testing.assert_allclose([hit.stages["late"] for hit in hits], late, atol=0.01)  # int8's steps
        assert [hit.score for hit in hits] == sorted((hit.stages["late"] for hit in hits), reverse=True)


def test_weights_of_all_three_decide_together(searcher):
    hits = searcher.search(QUESTIONS[0], 20, mode="hybrid", candidates=20, fusion=WEIGHTS)
    assert (
        {"dense", "bm25", "late", "combined", "fused"} >= set(hits[0].stages) >= {"late", "combined", "fused"}
    )
    assert [hit.score for hit in hits] == [hit.stages["combined"] for hit in hits]
    assert all(0 <= hit.score <= 1 for hit in hits)


def test_words_find_what_vectors_miss(searcher):
    name = "title123"
    dense = [hit.id for hit in searcher.search(name, 300, mode="dense")]
    options = {"mode": "hybrid", "rerank": False, "candidates": 1}
    assert searcher.search(name, 1, **options)[0].id in ("p123", dense[0])
    assert "p123" in [hit.id for hit in searcher.search(name, 2, **options)]


def test_cross_reads_the_best_and_leaves_the_rest(searcher):
    first = searcher.search(QUESTIONS[3], 40, mode="hybrid", candidates=40)
    hits = searcher.search(QUESTIONS[3], 40, mode="cross", candidates=40, cross_candidates=15)
    scores = count_words([(QUESTIONS[3], TEXTS[hit.id]) for hit in first[:15]])
    expected = [first[place].id for place in np.argsort(-scores, kind="stable")] + [
        hit.id for hit in first[15:]
    ]
    assert [hit.id for hit in hits] == expected
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert ["cross" in hit.stages for hit in hits] == [True] * 15 + [False] * 25
    by_default = searcher.search(QUESTIONS[3], 7, mode="cross")
    assert all("cross" in hit.stages for hit in by_default)


@pytest.mark.parametrize("mode", ["words", "dense", "late", "hybrid", "cross"])
@pytest.mark.parametrize("fusion", [None, RANKS, WEIGHTS])
def test_batched_and_single_are_the_same(searcher, mode, fusion):
    together = searcher.search_many(QUESTIONS, 20, mode=mode, fusion=fusion, candidates=40)
    alone = [searcher.search(question, 20, mode=mode, fusion=fusion, candidates=40) for question in QUESTIONS]
    assert together == alone


@pytest.mark.parametrize("mode", ["dense", "late", "hybrid", "cross"])
def test_filters_in_every_mode(filtered_searcher, mode):
    hits = filtered_searcher.search(QUESTIONS[0], 30, mode=mode, where=Eq("half", "odd"))
    assert len(hits) == 30
    assert {hit.fields["half"] for hit in hits} == {"odd"}
    assert filtered_searcher.search(QUESTIONS[0], 30, mode=mode, where=Eq("half", "neither")) == []
    weighed = filtered_searcher.search(
        QUESTIONS[0], 30, mode=mode, where=Eq("half", "neither"), fusion=WEIGHTS
    )
    assert weighed == []


@pytest.mark.parametrize("mode", ["dense", "late", "hybrid", "cross"])
def test_equal_passages_keep_one_order(tmp_path, mode):
    copies = [Passage(f"{n:02}", "one and the same") for n in range(30)]
    encode_collection(StubEncoder(), copies, tmp_path, data_fingerprint="d")
    for index in (index_shards(tmp_path, "memory://"), index_shards(tmp_path, "memory://", tokens="int8")):
        found = Searcher(StubEncoder(), index, count_words)
        for candidates in (4, 30):
            hits = found.search("the same", 12, mode=mode, candidates=candidates, cross_candidates=3)
            assert [hit.id for hit in hits] == [f"{n:02}" for n in range(12)]


@pytest.mark.parametrize("mode", ["hybrid", "cross"])
def test_documents_are_hits_in_every_mode(tmp_path, mode):
    pieces = [
        Passage(f"x{n}", one.text, parent=f"doc{n % 40}") for n, one in enumerate(numbered_passages(160))
    ]
    encode_collection(StubEncoder(), pieces, tmp_path, data_fingerprint="d")
    found = Searcher(StubEncoder(), index_shards(tmp_path, "memory://"), count_words)
    hits = found.search(QUESTIONS[0], 40, mode=mode)
    assert len({hit.id for hit in hits}) == 40
    assert all(hit.passage.startswith("x") for hit in hits)


@pytest.mark.parametrize("kind", ["absolute", "weighted"])
def test_a_run_of_hybrid_mode_and_its_tuning(searcher, kind):
    queries = [Query(f"q{n}", text) for n, text in enumerate(QUESTIONS)]
    right = {query.id: searcher.index.bm25([query.text], 1)[0].ids[0] for query in queries}

    def measure(run):
        return float(np.mean([1 / (1 + list(run[query]).index(right[query])) for query in run]))

    fusion = searcher.tune(queries, measure, kind=kind, candidates=30).fusion
    assert fusion.kind == kind
    tuned = measure(searcher.run(queries, 100, mode="hybrid", candidates=30, fusion=fusion))
    assert tuned >= measure(searcher.run(queries, 100, mode="hybrid", candidates=30))
    assert tuned > 0.95  # the answers are BM25's own first ones
    plain = searcher.tune(queries, measure, kind=kind, candidates=30, rerank=False)
    assert set(plain.fusion.weights) == {"dense", "bm25"}


def test_without_token_matrices(tmp_path):
    encode_collection(StubEncoder(), PASSAGES, tmp_path, data_fingerprint="d", with_tokens=False)
    found = Searcher(StubEncoder(), index_shards(tmp_path, "memory://"), count_words)
    assert set(found.search(QUESTIONS[0], 5, mode="cross")[0].stages) == {"dense", "bm25", "fused", "cross"}
    assert "late" not in found.search(QUESTIONS[0], 5, mode="hybrid")[0].stages
    with pytest.raises(IndexStateError, match="no token matrices"):
        found.search(QUESTIONS[0], mode="late")


def test_refusals(searcher, shards):
    plain = Searcher(StubEncoder(), searcher.index)
    with pytest.raises(SettingsError, match="needs a cross-encoder"):
        plain.search("w1", mode="cross")
    with pytest.raises(SettingsError, match="cross_candidates=0"):
        searcher.search("w1", mode="cross", cross_candidates=0)
    index = index_shards(shards, "memory://")
    assert Searcher(StubEncoder(), index).search("w1", where=Eq("half", "odd"))


def test_a_question_without_words_is_dense_alone(searcher):
    hits = searcher.search("?!", 5, mode="hybrid", rerank=False, fusion=RANKS)
    assert [set(hit.stages) for hit in hits] == [{"dense", "fused"}] * 5


def test_an_index_is_scored_in_its_own_type(shards):
    store = index_shards(shards, "memory://", tokens="int8")
    assert isinstance(store, MemoryIndex)
    stored = store.stored_tokens(["p3", "p1"])
    assert stored.values.dtype == np.int8
    assert stored.scales is not None


@pytest.mark.parametrize("prefix", ["", "lance://"])
def test_an_index_on_disk_opens_by_its_address(shards, tmp_path, prefix):
    index_shards(shards, tmp_path / "store", tokens="int8").close()
    found = Searcher.open(f"{prefix}{tmp_path / 'store'}", StubEncoder(), cross=count_words)
    in_memory = Searcher(StubEncoder(), index_shards(shards, "memory://", tokens="int8"))
    for mode in ("dense", "late", "hybrid"):
        hits = found.search(QUESTIONS[0], 10, mode=mode, where=Eq("half", "odd"))
        assert [hit.id for hit in hits] == [
            hit.id for hit in in_memory.search(QUESTIONS[0], 10, mode=mode, where=Eq("half", "odd"))
        ]
    assert found.search(QUESTIONS[0], 3, mode="cross")[0].stages["cross"] >= 0
    with pytest.raises(IndexStateError, match="name its directory with --model"):
        Searcher.open(f"{prefix}{tmp_path / 'store'}")
    found.index.close()
