"""``POST /v1/search`` against the searcher itself."""

import asyncio

import numpy as np
import pytest

from ernie_search.errors import SettingsError
from ernie_search.index import MemoryIndex
from ernie_search.search import Fusion, Searcher
from ernie_search.serve.server import _config, _listen, _Server
from ernie_search.types import Passage
from tiny_service import PASSAGES, app_of, store_of, stub


def test_it_answers_as_the_searcher_does(served):
    model = stub()
    searcher = Searcher(model, store_of(model))
    for mode in ("words", "dense", "late", "hybrid"):
        for k in (1, 3, 100):
            expected = searcher.search("where does tea grow", k, mode=mode)
            found = served.search(mode=mode, k=k)
            assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in expected]
            assert [hit["score"] for hit in found["hits"]] == pytest.approx([hit.score for hit in expected])
            assert [hit["rank"] for hit in found["hits"]] == list(range(1, len(expected) + 1))
            assert found["mode"] == mode


def test_hybrid_is_the_default(served):
    assert served.search()["mode"] == "hybrid"
    assert served.search() | {"milliseconds": 0} == served.search(mode="hybrid") | {"milliseconds": 0}


def test_a_service_may_have_another_default(serve):
    served = serve(mode="late", fusion="rrf", token_weights="idf")
    assert served.search()["mode"] == "late"
    assert served.client.get("/v1/info").json()["default_mode"] == "late"
    by_ranks = served.search(mode="hybrid")["hits"]
    assert by_ranks == served.search(mode="hybrid", fusion="rrf", token_weights="idf")["hits"]
    assert by_ranks != served.search(mode="hybrid", fusion="absolute")["hits"]


@pytest.mark.parametrize(
    "options",
    [
        {"fusion": "absolute:dense=0.5,late=1,bm25=0.2"},
        {"fusion": "dense=0.3,bm25=0.7", "token_weights": "idf"},
        {"fusion": "rrf"},
        {"token_weights": "even"},
    ],
)
def test_how_readings_are_weighed_can_be_said(served, options):
    model = stub()
    fusion = Fusion.parse(options["fusion"]) if "fusion" in options else None
    expected = Searcher(model, store_of(model)).search(
        "where does tea grow", 5, fusion=fusion, token_weights=options.get("token_weights")
    )
    found = served.search(k=5, **options)["hits"]
    assert [hit["id"] for hit in found] == [hit.id for hit in expected]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in expected])
    assert [set(hit["stages"]) for hit in found] == [set(hit.stages) for hit in expected]


def test_words_are_searched_without_the_model(served):
    served.model.calls.clear()
    found = served.search("tea in water", mode="words")
    assert served.model.calls == []
    assert found["hits"]
    assert all(set(hit["stages"]) == {"bm25"} for hit in found["hits"])
    assert set(found["milliseconds"]) == {"rank", "total"}
    assert served.search("tea in water", mode="words", explain=True)["question_tokens"]


def test_milliseconds_name_the_stages(served):
    found = served.search(explain=True)
    assert set(found["milliseconds"]) == {"encode", "wait", "rank", "explain", "total"}
    parts = [spent for stage, spent in found["milliseconds"].items() if stage != "total"]
    assert sum(parts) <= found["milliseconds"]["total"] + 0.1


def test_explain_says_which_words_match_which_question_tokens(served):
    found = served.search("tea in water", explain=True)
    assert [token["text"] for token in found["question_tokens"]] == ["tea", "in", "water"]
    for hit in found["hits"]:
        full = f"{hit['title']} {hit['text']}" if hit["title"] else hit["text"]
        for match in hit["matches"]:
            for token in match["tokens"]:
                if token["strength"] > 0.99:  # the stub's vectors are hashed words: equal words have cosine 1
                    assert full[match["start"] : match["stop"]].lower() == token["text"].lower()
    rice = next(hit for hit in found["hits"] if hit["id"] == "rice")
    text = f"{rice['title']} {rice['text']}"
    assert {"water", "in"} <= {text[one["start"] : one["stop"]] for one in rice["matches"]}


@pytest.mark.parametrize("title", ["", "Tea\r\n", "\x1b[1m 茶"])
@pytest.mark.parametrize(
    "before", ["\r\n", "\t", "\x1b[31m ", "\x00 \x0b\x0c", "\u202e ", "🌾 ", "e\u0301\u200d "]
)
def test_matches_are_places_in_what_is_answered(serve, title, before):
    """In code points of title, a blank and text just as the answer has them, control characters and all."""
    served = serve(writable=True)
    passage = {"id": "wet", "title": title, "text": f"{before}monsoon {before}brings water"}
    assert served.post("/v1/passages", {"passages": [passage]}).status_code == 200
    hits = served.search("monsoon water", explain=True)["hits"]
    hit = next(one for one in hits if one["id"] == "wet")
    assert (hit["title"], hit["text"]) == (title, passage["text"])
    full = f"{title} {hit['text']}" if title else hit["text"]
    words = {full[one["start"] : one["stop"]].strip() for one in hit["matches"] if one["strength"] > 0.99}
    assert words == {"monsoon", "water"}


def test_without_explain_there_are_no_matches(served):
    found = served.search()
    assert "question_tokens" not in found
    assert all("matches" not in hit for hit in found["hits"])


def test_a_vector_is_searched_densely(served):
    model = stub()
    vector = model.encode_joint(["where does tea grow"], "query").dense[0]
    found = served.post("/v1/search", {"vector": vector.tolist(), "k": 3}).json()
    expected = served.search(mode="dense", k=3)
    assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in expected["hits"]]
    assert np.allclose(
        [hit["score"] for hit in found["hits"]], [hit["score"] for hit in expected["hits"]], atol=1e-6
    )


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "query or vector"),
        ({"query": "tea", "vector": [1.0]}, 422, "query or vector"),
        ({"query": "  "}, 422, "empty"),
        ({"query": "tea", "colour": "red"}, 422, "colour"),
        ({"query": "tea", "k": 0}, 422, "k"),
        ({"query": "tea", "k": 1001}, 400, "at most 1000"),
        ({"query": "tea", "k": 51, "explain": True}, 400, "at most 50"),
        ({"query": "tea", "candidates": 1001}, 400, "at most 1000"),
        ({"query": "x" * 2001}, 400, "at most 2000"),
        ({"query": "tea", "mode": "psychic"}, 400, "its modes are: words, dense, late, hybrid"),
        ({"vector": [1.0, 2.0]}, 400, "2 dimensions, the index has 128"),
        ({"vector": [1.0] * 128, "mode": "late"}, 422, "dense"),
        ({"query": "tea", "fusion": "rff"}, 400, "did you mean 'rrf'"),
        ({"query": "tea", "fusion": "absolute:late=x"}, 400, "is no weight"),
        ({"query": "tea", "fusion": "x" * 257}, 422, "fusion"),
        ({"query": "tea", "token_weights": "heavy"}, 422, "token_weights"),
        ({"query": 7}, 422, "query"),
        ([], 422, "body"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(served, body, status, words):
    answer = served.post("/v1/search", body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert words in error["message"]
    assert "\n" not in error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff\xfe", b"null", b'{"query": "\\ud800"}', b'{"vector": [NaN]}', b"[" * 50_000],
)
def test_broken_bodies_are_refused(served, raw):
    answer = served.client.post("/v1/search", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]


def test_a_form_is_not_taken_for_json(served):
    """What a page elsewhere could send without asking first."""
    answer = served.client.post(
        "/v1/search", content=b'{"query": "tea"}', headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code in (415, 422)


def test_every_passage_can_be_found(served):
    assert {hit["id"] for hit in served.search(k=100)["hits"]} == {one.id for one in PASSAGES}


def test_tokens_of_the_question_have_weights_of_one_on_average(served):
    for how, even in (("even", True), ("idf", False)):
        tokens = served.search("where does tea grow", explain=True, token_weights=how)["question_tokens"]
        weights = [one["weight"] for one in tokens]
        assert sum(weights) / len(weights) == pytest.approx(1.0, abs=0.01)
        assert (len(set(weights)) == 1) is even


def test_what_is_not_named_is_no_more_than_is_allowed(serve):
    served = serve(limits={"k": 2, "candidates": 3, "explained": 1})
    assert len(served.search(mode="words", query="tea", explain=True)["hits"]) == 1
    assert served.post("/v1/search", {"query": "tea", "k": 2, "explain": True}).status_code == 400
    assert len(served.search(mode="dense")["hits"]) == 2
    assert len(served.search(mode="dense", k=1)["hits"]) == 1
    assert served.post("/v1/search", {"query": "tea", "k": 3}).status_code == 400
    assert served.post("/v1/search", {"query": "tea", "candidates": 4}).status_code == 400


def test_a_vector_finds_documents_as_its_question_does(serve):
    model = stub()
    passages = [Passage(f"doc#{n}", f"tea and rain {n}", parent="doc") for n in range(6)]
    passages.append(Passage("b", "rice", parent=None))
    served = serve(model=model, store=store_of(model, passages))
    vector = model.encode_joint(["tea and rain"], "query").dense[0].tolist()
    found = served.post("/v1/search", {"vector": vector, "k": 3}).json()["hits"]
    asked = served.search("tea and rain", mode="dense", k=3)["hits"]
    assert [hit["id"] for hit in found] == [hit["id"] for hit in asked] == ["doc", "b"]


def test_two_services_of_one_port_are_one_line():
    app, _ = app_of()
    settings = app.state.context.settings.model_copy(update={"port": 0})
    with _listen(settings) as first:
        settings = settings.model_copy(update={"port": first.getsockname()[1]})
        with _listen(settings) as second:  # both are bound, as neither listens yet
            first.listen()
            said: list[str] = []
            with pytest.raises(SettingsError, match=r"--port \d+: Address already in use"):
                _Server(_config(app, settings), lambda: said.append("")).run(sockets=[second])
            assert not said


def test_a_count_over_the_network_holds_nobody_up(serve, monkeypatch):
    served, counted, before = serve(writable=True), [], MemoryIndex.__len__

    def length(index: MemoryIndex) -> int:
        try:
            counted.append(asyncio.get_running_loop())
        except RuntimeError:
            counted.append(None)  # on another thread than the event loop's
        return before(index)

    monkeypatch.setattr(MemoryIndex, "__len__", length)
    assert served.client.get("/v1/info").json()["passages"] == len(PASSAGES)
    served.search()
    served.post("/v1/search", {"vector": [1.0] * 128})
    written = {"passages": [{"id": "new", "text": "Barley is sown in spring."}]}
    assert served.post("/v1/passages", written).status_code == 200
    assert counted
    assert set(counted) == {None}
