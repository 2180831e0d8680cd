"""What changes on disk is taken up by itself: a store's commits, a pointer, a folder of shards."""

import shutil
import time

import pytest
from starlette.testclient import TestClient

from ernie_search.index import open_index, passage_batch
from ernie_search.serve import create_app
from ernie_search.serve.opening import look_at
from ernie_search.serve.settings import make_settings
from ernie_search.types import Passage
from tiny_service import stub

MATE = Passage("mate", "Mate is drunk in Paraguay.", "Mate", {"lang": "es", "year": 1990})


def write(store, passage: Passage = MATE) -> None:
    """A commit of another process, as it were."""
    opened = open_index(store, mode="w")
    model = stub()
    opened.upsert(passage_batch([passage], model.encode_joint([passage.full_text], "passage"), model))
    opened.commit()
    opened.close()


@pytest.fixture
def opened():
    """Start an app over ``index`` that looks every few milliseconds."""
    clients = []

    def start(index, **settings) -> TestClient:
        app = create_app(make_settings(index=str(index), watch_seconds=0.02, **settings))
        client = TestClient(app, base_url="http://127.0.0.1")
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def version(client: TestClient) -> int:
    return client.get("/v1/info").json()["index_version"]


def best(client: TestClient, query: str = "mate Paraguay") -> str:
    return client.post("/v1/search", json={"query": query, "k": 1}).json()["hits"][0]["id"]


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_a_reader_takes_up_another_process_commits(opened, lance, loads):
    client = opened(lance)
    assert best(client) != "mate"
    for number, text in enumerate(("Mate is drunk in Paraguay.", "Mate in Paraguay is a holly."), start=2):
        write(lance, Passage("mate", text))
        wait_for(lambda number=number: version(client) == number)
        assert best(client) == "mate"
    assert client.get("/v1/info").json()["passages"] == 6
    assert len(loads) == 1  # the same model goes on


def test_several_readers_share_a_store_with_one_writer(opened, lance):
    readers, writer = [opened(lance), opened(lance)], opened(lance, writable=True)
    body = {"passages": [{"id": "mate", "text": "Mate is drunk in Paraguay."}]}
    assert writer.post("/v1/passages", json=body).status_code == 200
    assert best(writer) == "mate"
    for reader in readers:
        wait_for(lambda reader=reader: best(reader) == "mate")
        assert reader.post("/v1/passages", json=body).status_code == 403
    time.sleep(0.1)
    assert version(writer) == 1  # its own commits are nothing new to it


def test_a_damaged_commit_is_not_taken_up_and_a_good_one_after_it_is(opened, lance, caplog):
    client, sound = opened(lance), lance.with_name("sound")
    shutil.copytree(lance, sound)
    write(sound)
    new = [one for one in sound.rglob("*.lance") if not (lance / one.relative_to(sound)).exists()]
    for one in sound.rglob("*"):
        place = lance / one.relative_to(sound)
        if one.is_file() and not place.exists():
            place.write_bytes(b"damaged" if one in new else one.read_bytes())
    (lance / "new.tmp").write_bytes((sound / "store.json").read_bytes())
    (lance / "new.tmp").replace(lance / "store.json")
    wait_for(lambda: "reload failed" in caplog.text)
    assert best(client) != "mate"
    assert version(client) == 1
    for one in new:
        (lance / one.relative_to(sound)).write_bytes(one.read_bytes())
    wait_for(lambda: version(client) == 2)
    assert best(client) == "mate"


def test_a_pointer_to_another_store_is_taken_up_with_its_model(opened, lance, loads):
    other, pointer = lance.with_name("other"), lance.with_name("current")
    shutil.copytree(lance, other)
    write(other)
    pointer.write_text("store\n")
    client = opened(pointer)
    pointer.write_text("other\n")
    wait_for(lambda: version(client) == 2)
    assert best(client) == "mate"
    assert len(loads) == 2


def test_how_an_index_looks(tmp_path):
    assert look_at(str(tmp_path), writable=False) is None
    assert look_at("qdrant+http://host:6333/name", writable=False) is None
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_bytes(b"1")
    for index in (str(tmp_path / "store"), f"lance://{tmp_path}/store"):
        assert look_at(index, writable=False).content == b"1"
        assert look_at(index, writable=True) is None
    (tmp_path / "current").write_text("store")
    seen = look_at(str(tmp_path / "current"), writable=False)
    assert (seen.pointer, seen.content) == (b"store", b"1")
    assert look_at(str(tmp_path / "current"), writable=True).content == b""
    (tmp_path / "current").write_text("qdrant+http://host:6333/name")
    assert look_at(str(tmp_path / "current"), writable=False).pointer.startswith(b"qdrant")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "manifest.json").write_bytes(b"2")
    assert look_at(str(tmp_path / "shards"), writable=False).content == b"2"
    (tmp_path / "current").write_text("")
    assert look_at(str(tmp_path / "current"), writable=False) is None
