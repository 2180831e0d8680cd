"""The index in memory, filled from shards, against brute force, and its refusals."""

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index import Index, MemoryIndex, index_shards
from ernie_search.index.exact import QUERY_BLOCK
from ernie_search.index.topk import top_rows
from ernie_search.types import Passage
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = numbered_passages(200)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> MemoryIndex:
    folder = tmp_path_factory.mktemp("shards")
    encode_collection(StubEncoder(), PASSAGES, folder, data_fingerprint="d", shard_size=64)
    return index_shards(folder, "memory://")


def questions(count: int, dim: int = 16, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def test_it_is_an_index(index):
    checked: Index = index
    assert len(checked) == 200


def test_nearest_is_brute_force(index):
    dense = StubEncoder().encode_joint([p.full_text for p in PASSAGES], "passage").dense.astype(np.float64)
    vectors = questions(40)
    for vector, ranking in zip(vectors, index.nearest(vectors, 17), strict=True):
        scores = dense @ vector
        order = sorted(range(200), key=lambda row: (-scores[row], PASSAGES[row].id))[:17]
        assert ranking.ids == [PASSAGES[row].id for row in order]
        np.testing.assert_allclose(ranking.scores, scores[order], rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 20])
def test_equal_scores_keep_their_order(k):
    scores = np.float32([1, 3, 2, 3, 2, 2, 1, 3])
    expected = sorted(range(8), key=lambda row: (-scores[row], row))[:k]
    assert top_rows(scores, k).tolist() == expected


def test_copies_come_in_the_order_of_their_ids(tmp_path):
    passages = [Passage(f"{n}", "same words here" if n % 2 else f"other {n}") for n in range(60)]
    encode_collection(StubEncoder(), passages, tmp_path / "x", data_fingerprint="d", shard_size=7)
    vector = StubEncoder().encode_joint(["same words here"], "query").dense
    (ranking,) = index_shards(tmp_path / "x", "memory://").nearest(vector, 20)
    assert ranking.ids == sorted(str(n) for n in range(1, 60, 2))[:20]


@pytest.mark.parametrize("count", [1, 2, QUERY_BLOCK, QUERY_BLOCK + 1, 70])
def test_alone_and_among_others_bit_for_bit(index, count):
    vectors = questions(count, seed=count)
    for vector, together in zip(vectors, index.nearest(vectors, 30), strict=True):
        (alone,) = index.nearest(vector, 30)
        assert alone.ids == together.ids
        np.testing.assert_array_equal(alone.scores, together.scores)


def test_k_above_the_corpus_gives_all(index):
    (ranking,) = index.nearest(questions(1), 10_000)
    assert sorted(ranking.ids) == sorted(passage.id for passage in PASSAGES)
    assert (np.diff(ranking.scores) <= 0).all()


def test_hits_carry_their_passage(index):
    (hits,) = index.search(questions(1), 5)
    for hit in hits:
        passage = PASSAGES[int(hit.id[1:])]
        assert (hit.text, hit.title, dict(hit.fields)) == (passage.text, passage.title, dict(passage.fields))
        assert hit.stages == {"dense": hit.score}


def test_token_matrices_in_the_order_asked_for(index):
    ids = ["p150", "p3", "p150", "p64"]
    found = index.fetch_tokens(ids)
    texts = [PASSAGES[int(one[1:])].full_text for one in ids]
    expected = StubEncoder().encode_joint(texts, "passage")
    for place in range(4):
        rows = slice(found.offsets[place], found.offsets[place + 1])
        np.testing.assert_array_equal(found.values[rows], expected.tokens[place].astype(np.float16))
        np.testing.assert_array_equal(found.token_ids[rows], expected.token_ids[place])
    assert index.fetch_tokens([]).offsets.tolist() == [0]


def test_get(index):
    assert index.get(["p7", "p0"]) == [PASSAGES[7], PASSAGES[0]]
    with pytest.raises(IndexStateError, match="no passage 'nope'"):
        index.get(["nope"])


def test_parents(index, tmp_path):
    assert not index.has_parents
    assert index.parents(["p1", "p2"]) == ["p1", "p2"]
    passages = [
        Passage("d#0", "x", parent="d", start=0),
        Passage("e", 'says "parent"', fields={"parent": "d"}),
    ]
    encode_collection(StubEncoder(), passages, tmp_path / "x", data_fingerprint="d")
    pieces = index_shards(tmp_path / "x", "memory://")
    assert pieces.has_parents
    assert pieces.parents(["e", "d#0"]) == ["e", "d"]


@pytest.mark.parametrize(
    ("vectors", "k", "error", "message"),
    [
        (np.ones((1, 15)), 5, IndexStateError, "15 dimensions, the index 16"),
        (np.full((1, 16), np.nan), 5, DataError, "vector 0 holds NaN"),
        (
            np.concatenate([np.ones((2, 16)), np.full((1, 16), np.inf)]),
            5,
            DataError,
            "vector 2 holds NaN or inf",
        ),
        (np.zeros((0, 16)), 5, DataError, "at least one"),
        (np.zeros(0), 5, DataError, "at least one"),
        (np.ones((1, 16)), 0, SettingsError, "k=0"),
    ],
)
def test_refusals(index, vectors, k, error, message):
    with pytest.raises(error, match=message):
        index.nearest(vectors, k)


def test_a_zero_vector_scores_zero(index):
    (ranking,) = index.nearest(np.zeros((1, 16), np.float32), 3)
    assert (ranking.ids, ranking.scores.tolist()) == (["p0", "p1", "p10"], [0, 0, 0])


def test_stats(index):
    stats = index.stats()
    assert (stats.passages, stats.dim, stats.token_dim, stats.model_name) == (200, 16, 16, "stub")
    assert stats.memory_bytes > 200 * 16 * 4
    index.close()


def test_without_tokens(tmp_path):
    encode_collection(StubEncoder(), PASSAGES, tmp_path / "x", data_fingerprint="d", with_tokens=False)
    index = index_shards(tmp_path / "x", "memory://")
    assert not index.has_tokens
    assert len(index.nearest(questions(1), 3)[0].ids) == 3
    with pytest.raises(IndexStateError, match="no token matrices"):
        index.fetch_tokens(["p0"])


def test_no_such_index(tmp_path):
    with pytest.raises(IndexStateError, match=r"nowhere: no manifest\.json, so not a folder of shards"):
        index_shards(tmp_path / "nowhere", "memory://")


def test_damage_is_found_on_filling(tmp_path):
    encode_collection(StubEncoder(), PASSAGES, tmp_path / "x", data_fingerprint="d")
    path = tmp_path / "x" / "shard-00000.parquet"
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 255
    path.write_bytes(raw)
    with pytest.raises(IndexStateError, match=r"shard-00000\.parquet"):
        index_shards(tmp_path / "x", "memory://")
