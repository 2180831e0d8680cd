"""The description of the API, and whether the service keeps to it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KEY = "0123456789abcdef-one"
BLANKS = ["", " ", "\t\r\n\x0b\x0c", "\x1c\x1d\x1e\x1f", "\x85", "\ufeff", "\u3000", "\u2028"]


def schemas(served) -> dict:
    return served.client.get("/openapi.json").json()["components"]["schemas"]


def test_the_limits_are_those_of_the_service(serve):
    limits = {"k": 7, "question_characters": 30, "passage_characters": 50, "filter_characters": 9}
    limits |= {"texts": 3, "documents": 3, "batch": 3}
    served = serve(limits=limits, writable=True)
    found = schemas(served)
    search, embeddings = found["SearchRequest"]["properties"], found["EmbeddingsRequest"]["properties"]
    assert (search["k"]["minimum"], search["k"]["maximum"]) == (1, 7)
    assert search["query"]["anyOf"][0]["maxLength"] == 30
    assert search["filter"]["anyOf"][0]["maxLength"] == 9
    text, texts = embeddings["input"]["anyOf"]
    assert (text["maxLength"], texts["maxItems"], texts["items"]["maxLength"]) == (50, 3, 50)
    assert found["RerankRequest"]["properties"]["documents"]["maxItems"] == 3
    assert found["PassageIn"]["properties"]["text"]["maxLength"] == 50
    for path, body in (
        ("/v1/search", {"query": "x", "k": 8}),
        ("/v1/search", {"query": "x" * 31}),
        ("/v1/embeddings", {"input": ["x"] * 4}),
        ("/v1/rerank", {"query": "x", "documents": ["x"] * 4}),
    ):
        assert served.post(path, body).status_code == 400
    many = served.client.request("DELETE", "/v1/passages", json={"ids": ["a", "b", "c", "d"]})
    assert many.status_code == 400


def test_keys_are_described_where_they_are_needed(serve):
    assert "securitySchemes" not in serve().client.get("/openapi.json").json()["components"]
    found = serve(keys=(KEY,)).client.get("/openapi.json").json()
    assert set(found["components"]["securitySchemes"]) == {"bearer", "header"}
    assert found["paths"]["/v1/search"]["post"]["security"]
    assert "security" not in found["paths"]["/healthz"]["get"]
    assert KEY not in json.dumps(found)


def test_nothing_of_the_index_is_described(served):
    text = json.dumps(served.client.get("/openapi.json").json())
    for word in ("stub", "year", '"128"'):
        assert word not in text.replace("year >= 2000", "")


def test_allow_names_all_methods_of_a_path(served):
    for path, methods in (
        ("/v1/passages", "DELETE, POST"),
        ("/v1/search", "POST"),
        ("/metrics", "GET, HEAD"),
    ):
        answer = served.client.request("PATCH", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.parametrize(
    "body",
    [
        {"query": "tea", "k": "5"},
        {"query": "tea", "k": True},
        {"query": "tea", "k": 1.5},
        {"query": "tea", "explain": 1},
        {"query": "tea", "explain": "yes"},
        {"query": 7},
        {"vector": ["1.0"]},
        {"vector": [True]},
        {"vector": []},
        {"vector": [10**400]},
        {"query": "tea", "vector": [1.0]},
        {"query": "tea", "filter": {"year": None}},
        {},
    ],
)
def test_other_types_are_not_taken_for_the_right_ones(served, body):
    assert served.post("/v1/search", body).status_code == 422


def test_a_whole_number_may_have_a_point(serve):
    served = serve(writable=True)
    assert len(served.search(k=2.0, candidates=5.0)["hits"]) == 2
    assert served.post("/v1/embeddings", {"input": "tea", "dimensions": 128.0}).status_code == 200
    reranked = served.post("/v1/rerank", {"query": "tea", "documents": ["tea", "rice"], "top_n": 1.0})
    assert len(reranked.json()["results"]) == 1
    mate = {"id": "mate", "text": "Mate is drunk in Paraguay.", "fields": {"year": 1990.0, "height": 2.0}}
    assert served.post("/v1/passages", {"passages": [mate]}).status_code == 200
    found = served.search("mate", filter="year = 1990")["hits"]
    assert [(hit["id"], json.dumps(hit["fields"])) for hit in found] == [
        ("mate", '{"year": 1990, "height": 2.0}')
    ]
    mate["fields"] = {"year": 1990.5}
    assert served.post("/v1/passages", {"passages": [mate]}).status_code == 400


@pytest.mark.parametrize("blank", BLANKS)
def test_blank_is_blank_in_every_dialect_of_the_pattern(served, blank):
    assert served.post("/v1/search", {"query": blank}).status_code == 422
    assert served.post("/v1/embeddings", {"input": [blank]}).status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/search", {"query": "tea", "filter": {str(one): None for one in range(100_000)}}),
        ("/v1/search", {str(one): None for one in range(100_000)}),
        ("/v1/search", {"query": "tea", "filter": {"year": [None] * 90_000}}),
        ("/v1/rerank", {"query": "tea", "documents": [0] * 90_000}),
        ("/v1/passages", {"passages": [{}] * 90_000}),
    ],
)
def test_a_body_full_of_mistakes_is_refused_at_the_first(serve, path, body):
    """A complaint about each of them would take a minute, in which nobody else is answered."""
    answer = serve(writable=True).post(path, body)
    assert answer.status_code == 422
    more = answer.json()["error"]["message"].rpartition(" (and ")[2].partition(" more)")[0]
    assert not more.isdigit() or int(more) < 20


def test_schemathesis_finds_nothing(live, tmp_path):
    """A few requests for each operation; ``benchmarks/serve_fuzz.py`` makes thousands."""
    pytest.importorskip("schemathesis", reason="it is a development extra: pip install schemathesis")
    with live(writable=True, keys=(KEY,)) as address:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
            *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
            *("run", f"{address}/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
            *("--checks", "all", "--phases", "examples,fuzzing", "--max-examples", "2", "--seed", "1"),
            *("--generation-database", "none"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
