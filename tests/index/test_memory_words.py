"""The exact index by words: the same ranking as the memory store's, and only what shares a word."""

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import DataError, SettingsError
from ernie_search.index import MemoryIndex, build_store
from stub_encoder import StubEncoder, numbered_passages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    encode_collection(StubEncoder(), numbered_passages(80), path, data_fingerprint="d", shard_size=32)
    return path


def test_words_rank_as_in_a_store(folder):
    index, store = MemoryIndex.open(folder), build_store(folder, "memory://", tokens="none")
    texts = ["w1 w2 w3", "title30", "w7 w7 w20 unheard"]
    for ours, theirs in zip(index.bm25(texts, 80), store.bm25(texts, 80), strict=True):
        assert dict(zip(ours.ids, ours.scores, strict=True)) == pytest.approx(
            dict(zip(theirs.ids, theirs.scores, strict=True)), rel=1e-6
        )
        assert (np.diff(ours.scores) <= 0).all()
    assert "bm25" in index.capabilities
    assert index.bm25(["title30"], 5)[0].ids == ["p30"]
    assert index.bm25(["unheard ?"], 5)[0].ids == []


def test_refusals(folder):
    index = MemoryIndex.open(folder)
    with pytest.raises(DataError, match="question 2 of 2 is empty"):
        index.bm25(["w1", " "])
    with pytest.raises(SettingsError, match="k=0"):
        index.bm25(["w1"], 0)
