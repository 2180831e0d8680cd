"""Search by words: the index in memory is mining's BM25, and LanceDB's own word index finds the same."""

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import DataError, SettingsError
from ernie_search.index import QdrantSettings, index_shards
from ernie_search.mining import BM25
from ernie_search.types import Passage, Query
from index_helpers import MODEL, batch, new_index
from stub_encoder import StubEncoder, numbered_passages

TEXTS = ["w1 w2 w3", "title30", "w7 w7 w20 unheard"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    encode_collection(StubEncoder(), numbered_passages(80), path, data_fingerprint="d", shard_size=32)
    return path


def test_the_index_in_memory_scores_as_mining_does(folder):
    index, bm25 = index_shards(folder, "memory://"), BM25(numbered_passages(80), stop_words=None)
    run = bm25.search([Query(text, text) for text in TEXTS], 80)
    for text, ranking in zip(TEXTS, index.bm25(TEXTS, 80), strict=True):
        assert dict(zip(ranking.ids, ranking.scores.tolist(), strict=True)) == run[text]
        assert (np.diff(ranking.scores) <= 0).all()
    assert "bm25" in index.capabilities
    assert index.bm25(["title30"], 5)[0].ids == ["p30"]
    assert index.bm25(["unheard ?"], 5)[0].ids == []


def test_words_are_counted_without_tokens_too(folder):
    plain, without = index_shards(folder, "memory://"), index_shards(folder, "memory://", tokens="none")
    for ours, theirs in zip(plain.bm25(TEXTS, 80), without.bm25(TEXTS, 80), strict=True):
        assert (ours.ids, ours.scores.tolist()) == (theirs.ids, theirs.scores.tolist())


def test_refusals(folder):
    index = index_shards(folder, "memory://")
    with pytest.raises(DataError, match="question 2 of 2 is empty"):
        index.bm25(["w1", " "])
    with pytest.raises(SettingsError, match="k=0"):
        index.bm25(["w1"], 0)


def zipfian(count: int) -> list[Passage]:
    """Passages of 5 to 60 words whose frequencies fall as those of a language do."""
    random = np.random.default_rng(3)
    lengths = random.integers(5, 60, count)
    return [
        Passage(f"p{n:04}", " ".join(f"v{one}" for one in np.minimum(random.zipf(1.3, length), 400)))
        for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize(("kind", "least"), [("lance", 0.8), ("qdrant", 0.95)])
def test_another_engine_ranks_words_nearly_alike(tmp_path, kind, least):
    """The same passages are found; LanceDB's own k1 and b move some, Qdrant's rounded mean length few."""
    if kind == "qdrant":
        pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    passages = zipfian(600)
    mean = sum(len(one.text.split()) for one in passages) / len(passages)
    ours = new_index("memory", tmp_path / "m")
    theirs = new_index(kind, tmp_path / "other", qdrant=QdrantSettings(average_words=round(mean)))
    for one in (ours, theirs):
        one.upsert(batch(passages, MODEL))
        one.commit()
    random = np.random.default_rng(4)
    questions = [" ".join(f"v{one}" for one in random.integers(20, 200, 4)) for _ in range(40)]
    shared = []
    for mine, other in zip(ours.bm25(questions, 600), theirs.bm25(questions, 600), strict=True):
        assert set(mine.ids) == set(other.ids)
        first = min(10, len(mine.ids))
        shared.append(len(set(mine.ids[:first]) & set(other.ids[:first])) / first)
    assert np.mean(shared) > least
    ours.close()
    theirs.close()
