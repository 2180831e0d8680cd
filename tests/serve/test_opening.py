"""From what the command line names to a worker: pointers, folders, an index written over HTTP."""

import pytest
from starlette.testclient import TestClient

from ernie_search.errors import IndexStateError
from ernie_search.search.opening import open_searcher, resolve
from ernie_search.serve import create_app
from ernie_search.serve.settings import make_settings
from tiny_service import PASSAGES


def test_pointers(tmp_path):
    pointer = tmp_path / "current"
    pointer.write_text("index-7\nolder\n")
    assert resolve(str(pointer)) == str(tmp_path / "index-7")
    pointer.write_text("qdrant+http://host:6333/name")
    assert resolve(str(pointer)) == "qdrant+http://host:6333/name"
    assert resolve("lance:///there") == "lance:///there"
    assert resolve(str(tmp_path)) == str(tmp_path)
    for text in ("", "\n\n", "x" * 5000):
        pointer.write_text(text)
        with pytest.raises(IndexStateError, match="no pointer"):
            resolve(str(pointer))
    pointer.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IndexStateError, match="no pointer"):
        resolve(str(pointer))


def test_a_store_is_written_reloaded_and_read_again(lance):
    settings = make_settings(index=str(lance), writable=True)
    body = {"passages": [{"id": "mate", "text": "Mate is drunk in Paraguay.", "fields": {"lang": "es"}}]}
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:

        def best(**more) -> list[str]:
            answer = client.post("/v1/search", json={"query": "mate Paraguay", "k": 1, **more})
            assert answer.status_code == 200, answer.text
            return [hit["id"] for hit in answer.json()["hits"]]

        assert client.get("/v1/info").json()["modes"] == ["words", "dense", "late", "hybrid"]
        assert client.post("/v1/passages", json=body).json() == {"passages": 1}
        for mode in ("words", "dense", "late", "hybrid"):
            assert best(mode=mode, explain=True) == ["mate"]
        assert best(filter='lang = "es"') == ["mate"]
        assert best(filter='lang = "fr"') == ["thé"]
        assert client.post("/v1/reload").json() == {"index_version": 2}
        assert best() == ["mate"]
        assert client.request("DELETE", "/v1/passages", json={"ids": ["mate"]}).json() == {"passages": 1}
        assert best() != ["mate"]
    with TestClient(create_app(make_settings(index=str(lance))), base_url="http://127.0.0.1") as client:
        assert client.get("/v1/info").json()["passages"] == len(PASSAGES)
        assert client.post("/v1/passages", json=body).status_code == 403


def test_one_writer_at_a_time(lance):
    first = open_searcher(str(lance), writable=True)
    with pytest.raises(IndexStateError):
        open_searcher(str(lance), writable=True)
    first.index.close()
    open_searcher(str(lance), writable=True).index.close()


def test_a_store_whose_model_was_moved(lance):
    (lance.parent / "model").rmdir()
    for writable in (False, True):
        with pytest.raises(IndexStateError, match="--model"):
            open_searcher(str(lance), writable=writable)
        open_searcher(str(lance), lance, writable=writable).index.close()


@pytest.mark.parametrize("writable", [False, True])
def test_a_folder_of_shards_is_not_served(tmp_path, writable):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(IndexStateError, match=f"ernie-search index {tmp_path} --output DIR"):
        open_searcher(str(tmp_path), writable=writable)
