"""The parts of an index that no backend shows by itself: ids, ties, streams, filling, the optional extra."""

import sys

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import (
    Eq,
    Ranking,
    index_shards,
    infer_fields,
    make_spec,
    open_index,
    reciprocal_rank,
    shard_batches,
    verify,
)
from ernie_search.index.lance_reader import IdMap, Seen, hashes
from ernie_search.index.topk import Best, until_settled
from ernie_search.types import Passage
from index_helpers import MODEL, batch, new_index, passage, spec
from stub_encoder import StubEncoder


def test_seen_ids():
    seen = Seen()
    assert not seen.any_of(["a"])
    for start in range(0, 1000, 50):
        ids = [f"p{number}" for number in range(start, start + 50)]
        assert not seen.any_of(ids)
        seen.add(ids)
        assert seen.any_of([ids[7], "other"])
    assert not seen.any_of([f"q{number}" for number in range(1000)])
    assert seen.any_of(["p0"])
    assert len(seen._runs) < 10


def test_rows_of_ids():
    ids = [f"p{number}" for number in range(100)]
    places = np.arange(100, dtype=np.uint64) * 3
    order = np.random.default_rng(0).permutation(100)
    found = IdMap(hashes([ids[row] for row in order]), places[order])
    assert sorted(found.rows(["p5", "p99", "p5", "absent"])) == [15, 297]
    assert found.rows([]) == []


@pytest.mark.parametrize("k", [1, 3, 7, 50])
def test_the_best_of_a_stream(k):
    random = np.random.default_rng(k)
    scores = random.integers(0, 6, 200).astype(np.float32)
    ids = [f"p{number:03}" for number in random.permutation(200)]
    best = Best(k)
    for start in range(0, 200, 23):
        best.add(ids[start : start + 23], scores[start : start + 23])
    order = sorted(range(200), key=lambda row: (-scores[row], ids[row]))[:k]
    assert best.ranking().ids == [ids[row] for row in order]
    assert best.ranking().scores.tolist() == scores[order].tolist()


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_ties_of_a_careless_backend(k):
    scores = [3.0, *[2.0] * 9, 1.0]
    ids = list("kjihgfedcba")  # the backend's order among ties is the wrong one
    asked = []

    def ask(limit):
        asked.append(limit)
        return ids[:limit], scores[:limit]

    ranking = until_settled(ask, k, len(ids))
    assert ranking.ids == sorted(ids, key=lambda one: (-scores[ids.index(one)], one))[:k]
    assert len(asked) <= 3


def test_reciprocal_ranks():
    first = Ranking(["a", "b", "c"], np.float32([3, 2, 1]))
    second = Ranking(["c", "b"], np.float32([9, 8]))
    fused = reciprocal_rank([first, second], 5)
    assert fused.ids == ["c", "b", "a"]
    np.testing.assert_allclose(fused.scores, [1 / 63 + 1 / 61, 2 / 62, 1 / 61], rtol=1e-6)


def test_fields_to_filter_by():
    rows = [
        Passage(
            "a",
            "x",
            fields={
                "year": 1,
                "price": 1,
                "tags": ["x"],
                "mixed": 1,
                "parent": "d",
                "text": "t",
                "big": 10**30,
                "huge": 10**400,
            },
        ),
        Passage(
            "b", "y", fields={"year": None, "price": 1.5, "mixed": "one", "on": True, "lang": "en", "a b": 1}
        ),
    ]
    assert infer_fields(batch(rows)) == {
        "big": "float",
        "lang": "str",
        "on": "bool",
        "parent": "str",
        "price": "float",
        "year": "int",
    }


@pytest.mark.parametrize("tokens", ["fp32", "int8", "2bit"])
def test_shards_become_an_index_again_and_again(tmp_path, tokens):
    passages = [passage(number) for number in range(30)]
    encode_collection(MODEL, passages, tmp_path / "shards", data_fingerprint="d", shard_size=8)
    done = []
    for _ in range(2):
        with index_shards(tmp_path / "shards", tmp_path / "s", tokens=tokens, progress=done.append) as index:
            assert len(index) == 30
            assert index.spec.fields == {"lang": "str", "open": "bool", "price": "float", "year": "int"}
    assert sum(done) == 60
    with open_index(f"lance://{tmp_path / 's'}") as index:
        assert index.codec.name == tokens
        assert index.count(Eq("lang", "en")) == 10
        assert verify(index, MODEL).problems == []
        expected = MODEL.encode_joint([passages[4].full_text], "passage").tokens[0]
        found = index.fetch_tokens(["p004"]).values
        assert found.shape == expected.shape
        if tokens != "2bit":
            np.testing.assert_allclose(found, expected, atol=0.01)


def test_shards_without_tokens(tmp_path):
    encode_collection(MODEL, [passage(1)], tmp_path / "x", data_fingerprint="d", with_tokens=False)
    with pytest.raises(SettingsError, match="hold no token matrices"):
        index_shards(tmp_path / "x", tmp_path / "s", tokens="fp16")
    with index_shards(tmp_path / "x", "memory://") as index:
        assert not index.has_tokens
    assert len(list(shard_batches(tmp_path / "x"))) == 1


def test_an_index_without_tokens_refuses_nothing_and_one_with_them_does(tmp_path):
    index = new_index("memory", tmp_path)
    bare = batch([passage(1)]).drop_columns(["tokens"])
    with pytest.raises(IndexStateError, match="the batch has none"):
        index.upsert(bare)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("chroma://x", {}, "unknown kind of index 'chroma'"),
        ("memory://", {}, "say what it holds"),
        ("qdrant+http://host:6333", {}, "names no collection"),
    ],
)
def test_addresses(url, options, message):
    if url.startswith("qdrant"):
        pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    with pytest.raises(SettingsError, match=message):
        open_index(url, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim: "),
        ({"fields": {"a b": "int"}}, "letters, digits"),
        ({"fields": {"text": "str"}}, "column of that name"),
        ({"fields": {"year": "date"}}, r"fields\.year"),
        ({"tokens": "4bit"}, "tokens: "),
        ({"colour": 1}, "colour: "),
    ],
)
def test_impossible_specs(change, message):
    with pytest.raises(SettingsError, match=message):
        make_spec(**(spec().model_dump() | change))


def test_qdrant_without_its_client(monkeypatch):
    for name in [one for one in sys.modules if one.startswith("ernie_search.index.qdrant")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(SettingsError, match="pip install"):
        open_index("qdrant+http://localhost:6333/x")


def test_what_a_qdrant_collection_is_asked_for(monkeypatch):
    """The settings that the client's imitation of a server takes no notice of."""
    qdrant_client = pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    from ernie_search.index.qdrant import QdrantIndex
    from ernie_search.index.qdrant_points import search_params

    client, asked = qdrant_client.QdrantClient(":memory:"), {}
    monkeypatch.setattr(client, "create_collection", lambda name, **settings: asked.update(settings))
    spread = {"shards": 6, "replicas": 2, "on_disk": True}
    QdrantIndex.create(client, "x", spec(dense="int8", qdrant=spread))
    assert (asked["shard_number"], asked["replication_factor"], asked["on_disk_payload"]) == (6, 2, True)
    dense, tokens = asked["vectors_config"]["dense"], asked["vectors_config"]["tokens"]
    assert dense.on_disk
    assert dense.quantization_config.scalar.type == qdrant_client.models.ScalarType.INT8
    assert tokens.on_disk
    assert tokens.multivector_config.comparator == qdrant_client.models.MultiVectorComparator.MAX_SIM
    params = search_params(spec(dense="int8"), exact=False)
    assert (params.exact, params.quantization.rescore, params.quantization.oversampling) == (False, True, 4)
    assert search_params(spec(), exact=True).quantization is None
    client.close()


def test_another_qdrant_collection_is_refused():
    qdrant_client = pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    from ernie_search.index.qdrant import QdrantIndex

    client = qdrant_client.QdrantClient(":memory:")
    with pytest.raises(IndexStateError, match="no such collection"):
        QdrantIndex.connect(client, "x")
    vectors = qdrant_client.models.VectorParams(size=4, distance=qdrant_client.models.Distance.DOT)
    client.create_collection("x", vectors_config=vectors)
    with pytest.raises(IndexStateError, match="was not made by ernie-search"):
        QdrantIndex.connect(client, "x")
    client.create_collection("y", vectors_config=vectors, metadata={"ernie_search": "of a wrong type"})
    with pytest.raises(IndexStateError, match="was not made by ernie-search"):
        QdrantIndex.connect(client, "y")
    QdrantIndex.create(client, "mine", spec())
    other = StubEncoder(name="other", fingerprint="beef")
    with pytest.raises(IndexStateError, match=r"stub \(f00d\), not other \(beef\)"):
        QdrantIndex.connect(client, "mine", spec(model_name=other.name, model_fingerprint=other.fingerprint))
    with pytest.raises(IndexStateError, match="made with tokens='fp16', not 'fp32'"):
        QdrantIndex.connect(client, "mine", spec(tokens="fp32"))
    reader = QdrantIndex.connect(client, "mine")
    with pytest.raises(SettingsError, match='mode "w"'):
        reader.upsert(batch([passage(1)]))
    client.close()
