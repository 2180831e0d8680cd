"""Upserts, deletions and filters over HTTP."""

import asyncio
import threading
import time

import pytest

from ernie_search.errors import StorageError
from ernie_search.search import Searcher
from ernie_search.serve.settings import Limits
from ernie_search.serve.worker import Worker, merge_due
from ernie_search.types import Passage
from tiny_service import HOSTILE, store_of, stub

MATE = {
    "id": "mate",
    "title": "Mate",
    "text": "Mate is drunk in Paraguay.",
    "fields": {"lang": "es", "year": 1990},
}


def ids(found) -> list[str]:
    return [hit["id"] for hit in found["hits"]]


def test_read_only_unless_said(served):
    for method, body in (("POST", {"passages": [MATE]}), ("DELETE", {"ids": ["tea"]})):
        answer = served.client.request(method, "/v1/passages", json=body)
        assert answer.status_code == 403
        assert "--writable" in answer.json()["error"]["message"]


def test_upserts_are_found_at_once_and_replaced_by_id(serve):
    served = serve(writable=True)
    assert served.post("/v1/passages", {"passages": [MATE]}).json() == {"passages": 1}
    found = served.search("who drinks mate in Paraguay")["hits"][0]
    assert (found["id"], found["title"], found["fields"]) == ("mate", "Mate", MATE["fields"])
    changed = {**MATE, "text": "Mate is a tea of holly leaves."}
    served.post("/v1/passages", {"passages": [changed]})
    assert [hit["text"] for hit in served.search("mate holly")["hits"] if hit["id"] == "mate"] == [
        changed["text"]
    ]
    assert served.client.get("/v1/info").json()["passages"] == 6


def test_deletions_by_id_and_by_filter(serve):
    served = serve(writable=True)

    def delete(body):
        return served.client.request("DELETE", "/v1/passages", json=body)

    assert delete({"ids": ["tea", "nobody"]}).json() == {"passages": 1}
    assert "tea" not in ids(served.search())
    assert delete({"filter": 'lang = "fr"'}).json() == {"passages": 1}
    assert delete({"filter": "year = 99999999999999999999"}).json() == {"passages": 0}
    assert delete({"filter": " "}).status_code == 400
    assert delete({"filter": {}}).status_code == 400
    assert delete({}).status_code == 422
    assert served.client.get("/v1/info").json()["passages"] == 3


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('lang = "fr"', {"thé"}),
        ('lang = "en" and year >= 2004', {"rice", "wheat"}),
        ({"lang": "fr"}, {"thé"}),
        ({"year": [1998, 2001]}, {"tea", "thé"}),
        ({"lang": "en", "year": 1998}, {"tea"}),
        ('lang = "nowhere"', set()),
        ("year > 2000.5 and year < 1e308", {"thé", "rice", "wheat"}),
        ("year = 9223372036854775808 or year >= 1e308", set()),
        ({"year": [10**30, 1998.0]}, {"tea"}),
        (" ", {"tea", "rice", "wheat", "thé", "hostile"}),
    ],
)
@pytest.mark.parametrize("mode", ["dense", "late", "hybrid"])
def test_filters(served, mode, where, expected):
    assert set(ids(served.search(mode=mode, filter=where))) <= expected
    if mode != "hybrid":
        assert set(ids(served.search(mode=mode, filter=where))) == expected


@pytest.mark.parametrize(
    "where",
    [
        "lang = ",
        'colour = "red"',
        'year = "x"',
        "id = '../../etc/passwd' or",
        {"lang": 7},
        "(" * 1000,
        f"year = {'9' * 500}",
        "not " * 400 + "year = 1",
        'lang = "x' * 400,
    ],
)
def test_what_is_no_filter_is_refused(served, where):
    answer = served.post("/v1/search", {"query": "tea", "filter": where})
    assert answer.status_code == 400, answer.text
    assert "\n" not in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"passages": []},
        {"passages": [{"id": "", "text": "x"}]},
        {"passages": [{"id": "a", "text": " "}]},
        {"passages": [{"id": "a", "text": "\ufeff", "title": "\x1f"}]},
        {"passages": [{"id": "a"}]},
        {"passages": [{"id": "a b", "text": "x"}]},
        {"passages": [{"id": "a\u00a0", "text": "x"}]},
        {"passages": [{"id": "a", "title": "\ud800"}]},
        {"passages": [{"id": "a", "text": "x", "fields": {"by": "\ud800"}}]},
        {"passages": [{"id": "a", "text": "x", "fields": {"\ud800": "by"}}]},
        {"passages": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]},
        {"passages": [{"id": "a", "text": "x" * 20_001}]},
        {"passages": [{"id": "a", "text": "\ud800"}]},
        {"passages": [{"id": "a", "text": "x", "fields": {"n": {"deep": 1}}}]},
        {"passages": [{"id": str(n), "text": "x"} for n in range(257)]},
        {"passages": [{"id": "a", "text": "x", "fields": {"year": "not a number"}}]},
    ],
)
def test_broken_passages_change_nothing(serve, body):
    served = serve(writable=True)
    answer = served.raw("/v1/passages", body)
    assert answer.status_code in (400, 422), answer.text
    assert served.client.get("/v1/info").json()["passages"] == 5


def test_an_id_with_white_space_is_refused_with_its_place(serve):
    served = serve(writable=True)
    sound = {"id": "a", "text": "x"}
    answer = served.post("/v1/passages", {"passages": [sound, {"id": "a b", "text": "x"}]})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("passages.1.id: white space in 'id' 'a b'")


def test_numbers_that_json_lacks_are_null(serve):
    """Python writes NaN and reads 1e400 as infinity; an answer with either would be no JSON."""
    served = serve(writable=True)
    body = (
        '{"passages": [{"id": "mate", "text": "Mate is drunk in Paraguay.", "fields": '
        '{"lang": "es", "year": 1e400, "low": -Infinity, "all": [NaN, 1.5]}}]}'
    )
    answer = served.client.post("/v1/passages", content=body, headers={"Content-Type": "application/json"})
    assert answer.json() == {"passages": 1}
    found = served.search("who drinks mate in Paraguay")["hits"][0]
    assert found["fields"] == {"lang": "es", "year": None, "low": None, "all": [None, 1.5]}
    assert "mate" not in ids(served.search("mate", filter="year >= 1"))


def test_a_title_without_a_text_is_the_text(serve):
    served = serve(writable=True)
    made = {"id": "mate", "title": "Mate is drunk in Paraguay."}
    assert (
        served.post("/v1/passages", {"passages": [made, {**made, "id": "m2", "text": ""}]}).status_code == 200
    )
    for mode in ("dense", "late", "hybrid"):
        found = served.search("who drinks mate in Paraguay", mode=mode)["hits"][:2]
        assert {(hit["id"], hit["title"], hit["text"]) for hit in found} == {
            ("mate", "", "Mate is drunk in Paraguay."),
            ("m2", "", "Mate is drunk in Paraguay."),
        }


def test_hostile_text_comes_back_as_it_is(served):
    found = next(hit for hit in served.search(HOSTILE, explain=True)["hits"] if hit["id"] == "hostile")
    assert found["title"] == HOSTILE
    assert HOSTILE in found["text"]
    answer = served.post("/v1/search", {"query": HOSTILE})
    assert answer.headers["content-type"] == "application/json"


def test_writes_that_wait_together_are_committed_together():
    """All of them are told when the one commit fails."""
    model = stub()
    store = store_of(model)
    store.commit = lambda: commits.append(len(store))
    commits: list[int] = []

    async def main() -> list[object]:
        worker = Worker(Searcher(model, store), Limits(), writable=True)
        worker.warm_up()
        passages = [Passage(f"n{number}", "Mate is drunk in Paraguay.") for number in range(6)]
        model.delay = 0.02
        found = await asyncio.gather(
            *(worker.upsert([one]) for one in passages), worker.delete(["tea"], None), return_exceptions=True
        )
        await worker.close()
        return found

    assert asyncio.run(main()) == [1] * 7
    assert commits[-1] == 10
    assert len(commits) < 7

    def fails() -> None:
        raise StorageError("the disk is full")

    store.commit = fails
    assert {type(one) for one in asyncio.run(main())} == {StorageError}


@pytest.mark.parametrize(("method", "body"), [("POST", {"passages": [MATE]}), ("DELETE", {"ids": ["tea"]})])
def test_a_write_that_took_too_long_says_that_it_may_have_been_done(serve, method, body):
    model = stub()
    store = store_of(model)
    served = serve(model, store, writable=True, limits={"seconds": 1.0})
    own, commits, answered = store.commit, [], threading.Event()

    def slow() -> None:
        answered.wait(60)
        own()
        commits.append(len(store))

    store.commit = slow
    late = served.client.request(method, "/v1/passages", json=body)
    answered.set()
    assert late.status_code == 503
    assert "may have been written" in late.json()["error"]["message"]
    assert late.headers["retry-after"] == "1"
    while not commits:
        time.sleep(0.01)
    store.commit = own
    again = served.client.request(method, "/v1/passages", json=body)
    assert again.status_code == 200
    assert len(store) == commits[0]  # and again did no harm


def test_small_files_are_merged_now_and_then(serve):
    model = stub()
    store = store_of(model)
    merged = []
    store.optimize = lambda: merged.append(len(store))
    served = serve(model, store, writable=True, limits={"optimize_after": 3})
    for number in range(7):
        served.post("/v1/passages", {"passages": [{**MATE, "id": str(number)}]})
    served.search()  # in its turn after them
    assert merged == [8, 11]


@pytest.mark.parametrize(
    ("passages", "limits", "writes"),
    [(240, {}, 32), (50_000, {}, 223), (10**6, {}, 500), (240, {"merge_after": 5}, 5), (0, {}, 32)],
)
def test_the_more_passages_the_more_writes_before_a_merge(passages, limits, writes):
    assert merge_due(passages, Limits(**limits)) == writes


def test_between_the_steps_of_a_merge_requests_have_their_turn():
    async def main() -> list[str]:
        model = stub()
        store = store_of(model)
        worker = Worker(Searcher(model, store), Limits(optimize_after=1), writable=True)
        order, begun, gate = [], threading.Event(), threading.Event()

        def steps():
            for number in range(3):
                begun.set()
                assert gate.wait(10)
                order.append(f"step {number}")
                yield

        upsert = store.upsert

        def written(*given, **named):
            order.append("write")  # on the index's thread, as the steps, so that this is their order
            return upsert(*given, **named)

        store.optimizing = steps
        await worker.upsert([Passage("first", "text")])
        await asyncio.to_thread(begun.wait, 10)
        store.upsert = written
        waiting = [asyncio.create_task(worker.upsert([Passage(str(number), "text")])) for number in range(3)]
        while worker._rank.waiting < 3:
            await asyncio.sleep(0.001)
        gate.set()
        await asyncio.gather(*waiting)
        await worker.close()
        return order

    assert asyncio.run(main())[:4] == ["step 0", "write", "write", "write"]


def test_a_merge_that_fails_is_said_and_tried_again_later(serve, caplog):
    model = stub()
    store = store_of(model)
    tried = []

    def fails():
        tried.append(1)
        raise OSError("no such device")

    store.optimize = fails
    served = serve(model, store, writable=True, limits={"optimize_after": 2})
    for number in range(4):
        served.post("/v1/passages", {"passages": [{**MATE, "id": str(number)}]})
    served.search()
    assert len(tried) == 2
    assert caplog.text.count("optimize failed") == 2
