"""``GET /v1/documents``: a passage in its place."""

import pytest

from ernie_search.data.chunking import chunk_passages
from ernie_search.types import Passage
from tiny_service import store_of, stub

TEXT = " ".join(f"word{number}" for number in range(30))
KEY = "0123456789abcdef-one"


@pytest.fixture
def cut(serve):
    model = stub()
    pieces = list(chunk_passages([Passage("a doc/#1".replace(" ", "_"), TEXT, "Words")], words=3))
    return serve(model=model, store=store_of(model, pieces), limits={"read": 6})


def read(served, **parameters):
    return served.client.get("/v1/documents", params=parameters)


def test_a_passage_in_its_place(cut):
    found = read(cut, id="a_doc/#1#5", count=5).json()
    assert [one["id"].rpartition("#")[2] for one in found["passages"]] == ["3", "4", "5", "6", "7"]
    assert (found["id"], found["path"], found["first"]) == ("a_doc/#1", None, 3)
    assert (found["total"], found["place"], found["index_version"]) == (10, 5, 1)
    first = found["passages"][0]
    assert first == {
        "id": "a_doc/#1#3",
        "title": "Words",
        "text": "word9 word10 word11",
        "parent": "a_doc/#1",
        "start": TEXT.index("word9"),
        "fields": {},
    }
    hit = cut.search("word16", mode="words", k=1)["hits"][0]
    assert read(cut, id=hit["passage"]).json()["place"] == 5


def test_a_document_by_page(cut):
    pages = [read(cut, id="a_doc/#1", first=first, count=6).json() for first in (0, 6, 12)]
    assert " ".join(one["text"] for page in pages for one in page["passages"]) == TEXT
    assert [len(page["passages"]) for page in pages] == [6, 4, 0]
    assert [page["place"] for page in pages] == [None] * 3


def test_a_passage_without_a_document_is_read_alone(served):
    found = read(served, id="thé").json()
    assert [one["title"] for one in found["passages"]] == ["Thé"]
    assert (found["id"], found["first"], found["total"], found["place"]) == ("thé", 0, 1, 0)


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({"id": "nothing"}, 404, "no passage or document of this index has that id"),
        ({"id": "../../etc/passwd"}, 404, "no passage or document of this index has that id"),
        ({"id": "a_doc/#1", "count": 7}, 400, "count: 7, at most 6 in one request"),
        ({"id": "a_doc/#1", "count": 0}, 422, "count: should be greater than or equal to 1"),
        ({"id": "a_doc/#1", "first": "x"}, 422, "first: should be a valid integer, unable to parse string"),
        ({"id": ""}, 422, "id: String should have at least 1 character"),
        ({"id": "x" * 5000}, 422, "id: String should have at most 4096 characters"),
        ({}, 422, "id: is missing"),
    ],
)
def test_what_is_refused(cut, parameters, status, message):
    answer = read(cut, **parameters)
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(message)


def test_it_is_described_with_its_limit_and_needs_a_key(serve):
    served = serve(limits={"read": 6}, keys=(KEY,))
    operation = served.client.get("/openapi.json").json()["paths"]["/v1/documents"]["get"]
    schemas = {one["name"]: one["schema"] for one in operation["parameters"]}
    assert list(schemas) == ["id", "first", "count"]
    assert (schemas["count"]["maximum"], schemas["count"]["default"]) == (6, 6)
    assert operation["security"]
    assert {"404", "422"} <= set(operation["responses"])
    assert "415" not in operation["responses"]
    assert read(served, id="tea").status_code == 401
    allowed = served.client.get("/v1/documents?id=tea", headers={"Authorization": f"Bearer {KEY}"})
    assert allowed.status_code == 200
