"""The language of an index's words: detected when it is made, kept with it, used for questions, too."""

import json

import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import index_shards, make_spec, open_index, verify
from ernie_search.index.lance_files import commit_path, read_commit, write_commit
from ernie_search.types import Passage
from index_helpers import MODEL, batch, new_index, spec

ENGLISH = [
    Passage("engines", "The engines of the ships were started by the crew, and it was a long day for them."),
    Passage("engine", "An engine is what the ship has been waiting for since it was here with no wind."),
    Passage("wind", "It was the wind that they waited for, since there is no sail that fills without it."),
]


@pytest.fixture
def shards(tmp_path):
    encode_collection(MODEL, ENGLISH, tmp_path / "shards", data_fingerprint="d", shard_size=2)
    return tmp_path / "shards"


@pytest.mark.parametrize("kind", ["memory", "lance", "qdrant"])
def test_every_backend_finds_other_forms_and_ranks_the_very_word_first(tmp_path, kind):
    if kind == "qdrant":
        pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    index = new_index(kind, tmp_path / "index", language="en")
    index.upsert(batch(ENGLISH))
    index.commit()
    asked = ["engines", "engine", "which engine is it?", "which is it?"]
    assert [one.ids for one in index.bm25(asked, 5)] == [
        ["engines", "engine"],
        ["engine", "engines"],
        ["engine", "engines"],
        [],
    ]
    statistics = index.statistics()
    if statistics is not None:
        assert statistics.language == "en"
        assert statistics.most("which is it?") == 0
        (ranking,) = index.bm25(["engines"], 5)
        assert 0 < ranking.scores[0] < statistics.most("engines")
        assert index.word_scores("engines", ranking.ids).tolist() == ranking.scores.tolist()
    assert verify(index).problems == []
    index.close()


def test_the_language_is_detected_kept_and_stays(shards, tmp_path):
    index_shards(shards, tmp_path / "index").close()
    with open_index(tmp_path / "index") as index:
        assert index.language == index.spec.language == index.statistics().language == "en"
        assert index.bm25(["ship"], 5)[0].ids == ["engine", "engines"]
    index_shards(shards, tmp_path / "index").close()  # the same call again
    with pytest.raises(IndexStateError, match="made with language='en', not 'de'"):
        index_shards(shards, tmp_path / "index", language="de")


def test_a_language_may_be_chosen(shards):
    assert index_shards(shards, "memory://", language="none").bm25(["ship"], 5)[0].ids == ["engine"]
    with pytest.raises(SettingsError, match=r"language.*'english' is none that is known"):
        index_shards(shards, "memory://", language="english")
    assert spec().language == "none"


def test_an_index_of_before_counts_words_as_they_stand(tmp_path):
    index = new_index("lance", tmp_path / "index")
    index.upsert(batch(ENGLISH))
    index.commit()
    index.close()
    commit = read_commit(tmp_path / "index")
    del commit.spec["language"]
    write_commit(tmp_path / "index", commit)
    written = commit_path(tmp_path / "index", commit.number).read_text(encoding="utf-8")
    assert "language" not in json.loads(written)["spec"]
    with open_index(tmp_path / "index") as old:
        assert old.language == "none"
        assert old.bm25(["engines"], 5)[0].ids == ["engines"]
    assert make_spec(model_name="m", model_fingerprint="f", dim=2).language == "none"
