"""Shards into an index by one writer or by several loaders: whole, once, and again where interrupted."""

import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import index_shards
from ernie_search.index.opening import load
from ernie_search.types import Passage
from index_helpers import MODEL, new_index, passage, spec
from stub_encoder import StubEncoder


@pytest.fixture
def shards(tmp_path):
    """Thirty passages in four shards."""
    folder = tmp_path / "shards"
    passages = [passage(number) for number in range(30)]
    encode_collection(MODEL, passages, folder, data_fingerprint="d", shard_size=8)
    return folder


@pytest.fixture
def cluster():
    """Connects to the same imitation of a server as often as asked."""
    qdrant_client = pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    from ernie_search.index.qdrant import QdrantIndex

    client = qdrant_client.QdrantClient(":memory:")
    QdrantIndex.create(client, "passages", spec())
    return lambda: QdrantIndex.connect(client, "passages", spec(), "w")


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_loaders_in_any_order_make_what_one_makes(shards, cluster, tmp_path, order):
    written = [load(cluster(), shards, part=(number, 3)) for number in order]
    assert sorted(written) == [8, 8, 14]
    alone = new_index("qdrant", tmp_path)
    assert load(alone, shards) == 30
    together = cluster()
    names = ["id", "title", "text", "fields", "dense", "tokens"]
    ids = [f"p{number:03}" for number in range(30)]
    assert len(together) == len(alone) == 30
    assert together.fetch(ids, names).equals(alone.fetch(ids, names))


def test_more_loaders_than_shards(shards, cluster):
    assert [load(cluster(), shards, part=(number, 6)) for number in range(1, 7)] == [8, 8, 8, 6, 0, 0]


@pytest.mark.parametrize("kind", ["qdrant", "lance"])
def test_an_interrupted_load_goes_on_without_writing_again(shards, cluster, tmp_path, kind):
    index = cluster() if kind == "qdrant" else new_index(kind, tmp_path / "index")
    with pytest.raises(KeyboardInterrupt):
        load(index, shards, progress=stop_after(2))
    assert len(index) == 16
    assert load(index, shards) == 14
    assert load(index, shards) == 0
    assert len(index) == 30


def test_a_passage_that_changed_or_is_gone_is_written_again(shards, cluster, tmp_path):
    index = cluster()
    load(index, shards)
    index.delete(["p009"])
    assert load(index, shards) == 8
    passages = [passage(number) for number in range(30)]
    passages[20] = Passage("p020", "other words", passages[20].title, passages[20].fields)
    encode_collection(MODEL, passages, tmp_path / "new", data_fingerprint="d2", shard_size=8)
    assert load(index, tmp_path / "new") == 8
    assert index.fetch(["p020"], ["text"]).to_pylist() == [{"text": "other words"}]


def test_shards_of_another_model_are_refused(shards, cluster, tmp_path):
    other = StubEncoder("other", "beef")
    encode_collection(other, [passage(1)], tmp_path / "other", data_fingerprint="d")
    index = cluster()
    with pytest.raises(IndexStateError, match="other"):
        load(index, tmp_path / "other")
    assert len(index) == 0


@pytest.mark.parametrize(
    ("part", "url", "message"),
    [
        ((0, 2), "qdrant+http://localhost:1/x", "part 0/2: must be 1/2 to 2/2"),
        ((3, 2), "qdrant+http://localhost:1/x", "part 3/2"),
        ((1, 2), "runs/index", "runs/index: part 1/2 of an index that has one writer"),
    ],
)
def test_impossible_parts(shards, part, url, message):
    with pytest.raises(SettingsError, match=message):
        index_shards(shards, url, part=part)


def stop_after(shards_done: int):
    calls: list[int] = []

    def progress(done: int) -> None:
        calls.append(done)
        if len(calls) == shards_done:
            raise KeyboardInterrupt

    return progress
