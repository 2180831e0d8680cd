"""What changes on disk is taken up by itself: an index's commits, a pointer."""

import os
import shutil
import time

import pytest
from starlette.testclient import TestClient

from ernie_search.encoding import opening
from ernie_search.errors import IndexStateError, ModelError, StorageError
from ernie_search.index import open_index, passage_batch
from ernie_search.index.lance_files import lock_for_writing
from ernie_search.search import opening as opening_of_index
from ernie_search.search.opening import look_at
from ernie_search.serve import create_app, service
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
def opened(monkeypatch):
    """Start an app over ``index`` that looks every few milliseconds, and rests no longer than it tried."""
    monkeypatch.setattr(service, "REST", 1.0)
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
    (lance / "new.tmp").write_bytes((sound / "index.json").read_bytes())
    (lance / "new.tmp").replace(lance / "index.json")
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


class Panic(BaseException):
    """As a library in Rust ends with."""


@pytest.mark.parametrize(
    "error",
    [ModelError("model: damaged"), KeyError("pooling"), RuntimeError("size mismatch"), Panic("index out of")],
    ids=lambda one: type(one).__name__,
)
def test_whatever_is_wrong_with_a_new_model_is_said_once_and_tried_again(
    opened, lance, caplog, monkeypatch, error
):
    pointer, sound, tries = lance.with_name("current"), opening.open_encoder, []
    shutil.copytree(lance, lance.with_name("other"))
    write(lance.with_name("other"))
    pointer.write_text("store")
    client = opened(pointer)

    def damaged(path, **options):
        tries.append(path)
        raise error

    monkeypatch.setattr(opening, "open_encoder", damaged)
    pointer.write_text("other")
    wait_for(lambda: len(tries) > 2)
    assert caplog.text.count("reload failed") == 1
    assert (version(client), best(client) == "mate") == (1, False)
    assert client.get("/readyz").status_code == 200
    answer = client.post("/v1/reload")
    assert (answer.status_code, "trace" in answer.text) == (503, False)
    monkeypatch.setattr(opening, "open_encoder", sound)
    wait_for(lambda: best(client) == "mate")


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path) -> None:
    path.write_bytes(bytes(255 - one for one in path.read_bytes()))


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("harm", ["moved away", os.remove, cut, flip])
def test_a_store_that_is_lost_is_not_ready_and_comes_back(opened, lance, caplog, loads, harm, writable):
    client = opened(lance, writable=writable)
    store, moved = lance, lance.with_name("moved")
    shutil.copytree(lance, lance.with_name("copy"))
    if harm == "moved away":
        store.rename(moved)
    else:
        harm(next((store / "passages.lance" / "data").iterdir()))
    body, passages = {"query": "tea", "k": 5}, {"passages": [{"id": "mate", "text": "Mate."}]}
    wait_for(lambda: client.get("/readyz").status_code == 503)
    for _ in range(3):
        answer = client.post("/v1/search", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, 503)
        assert str(lance) not in answer.text
        assert client.post("/v1/passages", json=passages).status_code == (503 if writable else 403)
    assert client.get("/healthz").status_code == 200
    if not writable:  # whose reload has closed all of it
        assert client.post("/v1/embeddings", json={"input": "tea"}).status_code == 200
    assert caplog.text.count("index lost") == 1
    assert "reload failed" not in caplog.text
    assert "failure" not in caplog.text
    if harm == "moved away":
        moved.rename(store)
    else:
        shutil.copytree(lance.with_name("copy"), store, dirs_exist_ok=True)
    wait_for(lambda: client.get("/readyz").status_code == 200)
    assert client.post("/v1/search", json=body).status_code == 200
    assert client.get("/v1/info").json()["passages"] == 5
    if harm == "moved away" and not writable:
        assert len(loads) == 1  # the model was never lost


def test_a_search_finds_the_loss_before_the_next_look(lance, caplog):
    app = create_app(make_settings(index=str(lance), watch_seconds=1000))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        lance.rename(lance.with_name("moved"))
        for _ in range(2):
            assert client.post("/v1/search", json={"query": "tea"}).status_code == 503
        assert client.get("/readyz").status_code == 503
        assert caplog.text.count("index lost") == 1
        assert "failure" not in caplog.text


@pytest.mark.parametrize("error", [IndexStateError("no such passage"), Panic("index out of")])
def test_a_failure_of_one_request_alone_leaves_the_service_ready(serve, caplog, error):
    served = serve()
    worker = served.client.app.state.context.service.current
    own = worker.batches.rank_group

    def fails(*given):
        raise error

    worker.batches.rank_group = fails
    assert served.post("/v1/search", {"query": "tea"}).status_code == 500
    assert served.client.get("/readyz").status_code == 200
    worker.batches.rank_group = own
    assert served.search()["hits"]
    assert "index lost" not in caplog.text


@pytest.mark.parametrize("method", ["upsert", "delete", "commit"])
def test_a_full_disk_is_a_refusal(serve, caplog, method):
    served = serve(writable=True)
    store = served.client.app.state.context.service.current.index
    own = getattr(store, method)

    def full(*given):
        raise StorageError("/srv/secret/store: the disk is full; free some space and run again")

    setattr(store, method, full)
    bodies = [("POST", {"passages": [{"id": "mate", "text": "Mate."}]}), ("DELETE", {"ids": ["tea"]})]
    answers = [served.client.request(name, "/v1/passages", json=body) for name, body in bodies]
    refused = {"upsert": [507, 200], "delete": [200, 507], "commit": [507, 507]}[method]
    assert [one.status_code for one in answers] == refused
    problem = next(one for one in answers if one.status_code == 507)
    assert problem.json()["error"]["type"] == "storage_error"
    assert "secret" not in problem.text
    assert "failure" not in caplog.text
    assert caplog.text.count("write failed") == refused.count(507)
    setattr(store, method, own)
    assert served.client.get("/readyz").status_code == 200
    assert served.client.request(*bodies[0][:1], "/v1/passages", json=bodies[0][1]).status_code == 200


def test_a_writer_that_lost_its_lock_opens_again_by_itself(opened, lance, caplog):
    client = opened(lance, writable=True)
    worker = client.app.state.context.service.current
    own, taken = worker.close, []

    async def closed() -> None:
        await own()
        taken.append(lock_for_writing(lance))  # another process is quicker

    worker.close = closed
    assert client.post("/v1/reload").status_code == 503
    assert client.get("/readyz").status_code == 503
    assert client.post("/v1/search", json={"query": "tea"}).status_code == 503
    time.sleep(0.1)
    assert caplog.text.count("reload failed") == 1
    os.close(taken[0])
    wait_for(lambda: client.get("/readyz").status_code == 200)
    assert best(client, "tea hills") == "tea"
    assert version(client) == 2


def test_a_writer_that_cannot_answer_lets_go_of_its_lock(lance, monkeypatch):
    def fails(self):
        raise RuntimeError("no")

    monkeypatch.setattr("ernie_search.serve.worker.Worker.warm_up", fails)
    app = create_app(make_settings(index=str(lance), writable=True))
    with pytest.raises(RuntimeError) as failure:
        app.state.context.service._opener()
    os.close(lock_for_writing(lance))
    assert failure.value  # its frames, which hold the worker, are still there


def test_how_an_index_looks(tmp_path):
    assert look_at(str(tmp_path), writable=False) is None
    assert look_at("qdrant+http://host:6333/name", writable=False) is None
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "index.json").write_bytes(b"1")
    for index in (str(tmp_path / "store"), f"lance://{tmp_path}/store"):
        assert look_at(index, writable=False).content == b"1"
        assert look_at(index, writable=True) is None
    (tmp_path / "current").write_text("store")
    (tmp_path / "store" / "fusion.json").write_bytes(b"2")  # tuned: to be opened again
    assert look_at(str(tmp_path / "store"), writable=False).content == b"12"
    (tmp_path / "store" / "fusion.json").unlink()
    seen = look_at(str(tmp_path / "current"), writable=False)
    assert (seen.pointer, seen.content) == (b"store", b"1")
    assert look_at(str(tmp_path / "current"), writable=True).content == b""
    (tmp_path / "current").write_text("qdrant+http://host:6333/name")
    assert look_at(str(tmp_path / "current"), writable=False).pointer.startswith(b"qdrant")
    (tmp_path / "current").write_text("")
    assert look_at(str(tmp_path / "current"), writable=False) is None


def test_a_pointer_that_is_moved_under_a_look_is_read_once(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.json").write_text(name)
    pointer, read = tmp_path / "current", opening_of_index._pointer
    pointer.write_text("one")

    def moved(index):
        found = read(index)
        pointer.write_text("two")
        return found

    monkeypatch.setattr(opening_of_index, "_pointer", moved)
    seen = look_at(str(pointer), writable=False)
    assert (seen.pointer, seen.content) == (b"one", b"one")
