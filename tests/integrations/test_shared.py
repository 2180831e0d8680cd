"""Stores and the service as every framework's retriever uses them."""

import asyncio
import json
import math
import shutil
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ernie_search.errors import DataError, IndexStateError, ServiceError, SettingsError
from ernie_search.index import Eq, open_index
from ernie_search.index.lance_files import INDEX_FILE
from ernie_search.integrations.asked import Asked
from ernie_search.integrations.shared import metadata_of, open_source, raised_as
from ernie_search.search import Searcher
from ernie_search.types import Hit
from integrations_index import KEY, MATE, fill
from tiny_service import PASSAGES, store_of, stub

QUESTION = "where does tea grow"


def ids(hits):
    return [hit.id for hit in hits]


def test_a_store_answers_as_its_searcher(store, loads):
    source = open_source(str(store), None)
    expected = Searcher.open(store).search(QUESTION, 3)
    assert source.search(QUESTION, Asked(k=3)) == expected
    assert asyncio.run(source.asearch(QUESTION, Asked(k=3))) == expected
    before = len(loads)
    source.search(QUESTION, Asked())
    assert len(loads) == before  # opened once


@pytest.mark.parametrize(
    "condition", ['lang = "fr"', {"lang": "fr"}, {"lang": ["fr", "de"]}, Eq("lang", "fr")]
)
def test_filters_as_text_as_a_dict_and_as_ours(store, condition):
    source = open_source(store, None)
    assert ids(source.search("thé", Asked(condition=condition))) == ["thé"]


def test_hits_that_score_too_little_are_left_out(store):
    source = open_source(store, None)
    first, second, *_ = source.search(QUESTION, Asked(k=5))
    middle = (first.score + second.score) / 2
    assert source.search(QUESTION, Asked(k=5, min_score=middle)) == [first]


def test_opened_indexes_and_searchers_are_taken_as_they_are():
    model = stub()
    searcher = Searcher(model, store_of(model))
    assert ids(open_source(searcher, None).search(QUESTION, Asked(k=1))) == ["tea"]


def test_several_stores_are_merged_by_score(tmp_path, loads):
    one = fill(tmp_path / "one", PASSAGES[:3])
    two = fill(tmp_path / "two", [MATE, *PASSAGES[3:]])
    hits = open_source([one, two], None).search("tea Paraguay", Asked(k=3))
    assert {"tea", "mate"} < set(ids(hits))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(loads) == 1  # one model for both
    with pytest.raises(SettingsError, match="mode words: its scores of different collections"):
        open_source([one, two], None, mode="words")


def test_what_another_process_commits_is_found(store, loads):
    source = open_source(store, None)
    assert ids(source.search("mate Paraguay", Asked(k=1))) != ["mate"]
    fill(store, [MATE])
    assert ids(source.search("mate Paraguay", Asked(k=1))) == ["mate"]
    assert len(loads) == 1  # the model stays


def test_a_store_that_is_made_anew_under_the_retriever(store):
    source = open_source(store, None)
    source.search(QUESTION, Asked())
    shutil.rmtree(store)
    with pytest.raises(IndexStateError) as caught:
        source.search(QUESTION, Asked())
    assert str(store) in str(caught.value)
    assert "\n" not in str(caught.value)
    fill(store, [MATE])
    assert ids(source.search("mate Paraguay", Asked())) == ["mate"]


def test_a_store_of_another_model_is_opened_with_that_one(store, monkeypatch):
    source = open_source(store, None)
    other = stub(name="other", fingerprint="beef")
    shutil.rmtree(store)
    fill(store, [MATE], other)
    with pytest.raises(IndexStateError, match="the index was made by model other"):
        source.search("mate", Asked())
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda *_, **__: other)
    assert ids(source.search("mate", Asked())) == ["mate"]


def test_a_store_of_another_version_is_one_line(store):
    path = store / INDEX_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 999}))
    with pytest.raises(IndexStateError) as caught:
        open_source(store, None)
    assert "\n" not in str(caught.value)
    assert str(store) in str(caught.value)


def test_a_store_and_a_url_exclude_one_another(store):
    for given in ((None, None), (str(store), "http://127.0.0.1:1")):
        with pytest.raises(SettingsError, match="one of them"):
            open_source(*given)
    with pytest.raises(SettingsError, match="store is empty"):
        open_source([], None)
    with pytest.raises(SettingsError, match="give http://host:port"):
        open_source(None, "127.0.0.1:8000")


def test_threads_share_a_store(store):
    source = open_source(store, None)
    found = []

    def ask():
        found.append(ids(source.search(QUESTION, Asked(k=2))))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 8
    assert all(one == found[0] for one in found)


def test_metadata_are_the_fields_and_what_we_know(store):
    hit = Hit(
        "d", 0.5, "text", "Title", {"lang": "en", "path": "a/b.md", "score": "theirs"}, {}, "d#2", "d", 7
    )
    assert metadata_of(hit) == {
        **{"lang": "en", "path": "a/b.md", "id": "d", "passage": "d#2", "title": "Title", "score": 0.5},
        **{"source": "a/b.md", "start": 7},
    }
    assert metadata_of(Hit("x", 1.0))["source"] == "x"
    assert (
        metadata_of(Hit("x", 1.0, fields={"url": "https://a.org", "path": "p"}))["source"] == "https://a.org"
    )


def test_errors_become_the_frameworks_in_one_line_without_a_cause():
    class TheirError(Exception):
        pass

    with pytest.raises(TheirError) as caught, raised_as(TheirError):
        raise SettingsError("two\n lines")
    assert str(caught.value) == "two lines"
    assert caught.value.__suppress_context__


# Over HTTP


@pytest.fixture
def service(address):
    return open_source(None, address, api_key=KEY)


def test_a_service_answers_as_the_store_does(service, store):
    for asked in (Asked(k=3), Asked(k=2, mode="dense"), Asked(condition={"lang": ("fr", "de")})):
        here = open_source(store, None).search(QUESTION, asked)
        found = service.search(QUESTION, asked)
        assert ids(found) == ids(here)
        assert found[0].fields == here[0].fields
        assert found[0].score == pytest.approx(here[0].score, abs=1e-3)
        assert asyncio.run(service.asearch(QUESTION, asked)) == found


def refusal(call) -> str:
    with pytest.raises(ServiceError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def test_refusals_of_a_service_are_one_line(address, service):
    closed = open_source(None, address)
    assert "refused (401)" in (line := refusal(lambda: closed.search(QUESTION, Asked())))
    assert "give its key as api_key" in line
    assert "refused (422): query: is empty" in refusal(lambda: service.search(" ", Asked()))
    assert "k=100000: at most" in refusal(lambda: service.search(QUESTION, Asked(k=100_000)))
    assert "no field 'colour'" in refusal(lambda: service.search(QUESTION, Asked(condition="colour = 1")))
    line = refusal(lambda: asyncio.run(service.asearch(QUESTION, Asked(mode="cross"))))
    assert "refused (400): mode 'cross' is not possible" in line
    with pytest.raises(SettingsError, match="a service takes its filter as text"):
        service.search(QUESTION, Asked(condition=Eq("lang", "fr")))


@pytest.mark.parametrize(
    ("question", "asked", "message"),
    [
        ("tea \ud800", Asked(), "the question holds half a surrogate pair"),
        (5, Asked(), "the question is of type int where a string belongs"),
        (QUESTION, Asked(condition={"day": date(2020, 1, 1)}), "Object of type date is not JSON"),
        (QUESTION, Asked(condition={"year": math.nan}), "Out of range float values"),
        (QUESTION, Asked(condition={"year": [1, math.inf]}), "Out of range float values"),
        (QUESTION, Asked(condition={"lang": "\udfff"}), "surrogates not allowed"),
        (QUESTION, Asked(condition={(1, 2): "x"}), "keys must be str"),
        (QUESTION, Asked(k={1}), "Object of type set is not JSON"),
    ],
)
def test_what_cannot_be_sent_is_one_line(question, asked, message):
    source = open_source(None, "http://127.0.0.1:1")
    for call in (source.search, lambda *given: asyncio.run(source.asearch(*given))):
        with pytest.raises((DataError, SettingsError), match=message) as caught:
            call(question, asked)
        assert "\n" not in str(caught.value)


def test_a_server_that_is_down_is_one_line():
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_address[1]
    down = open_source(None, f"http://127.0.0.1:{port}")
    for call in (down.search, lambda *given: asyncio.run(down.asearch(*given))):
        line = refusal(lambda call=call: call(QUESTION, Asked()))
        assert f"http://127.0.0.1:{port}: no service answers" in line
        assert "ernie-search serve" in line


class Odd(BaseHTTPRequestHandler):
    """Answers to one path late, to others as something else does."""

    release = threading.Event()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/slow"):
            self.release.wait(10)
        body = b"<html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_late_answers_and_other_servers_are_one_line():
    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            other = open_source(None, url)
            assert "not as ERNIE-Search does" in refusal(lambda: other.search(QUESTION, Asked()))
            slow = open_source(None, f"{url}/slow", timeout=0.05)
            assert "no answer within 0.05 s" in refusal(lambda: slow.search(QUESTION, Asked()))
        finally:
            Odd.release.set()
            server.shutdown()
            thread.join()


def test_an_index_that_is_open_is_taken(store):
    with open_index(store) as index:
        assert ids(open_source(index, None).search(QUESTION, Asked(k=1))) == ["tea"]
