"""What an error says of a request: where and what, in JSON's words, and never much of the request itself."""

import json
import time

import pytest

from ernie_search._util.words import LONGEST_SHOWN, brief
from ernie_search.errors import DataError, SettingsError
from ernie_search.serve.problems import LONGEST_LINE, as_problem, bounded

LONG = "m" * 3_000_000
PASSAGE = {"id": "a", "text": "x"}


def refusal(served, method: str, path: str, body, status: tuple[int, ...] = (400, 422)) -> str:
    answer = served.client.request(
        method, path, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in status, answer.text[:500]
    message = answer.json()["error"]["message"]
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "/v1/passages", {"passages": [{**PASSAGE, "fields": {"year": LONG}}]}, "year"),
        ("POST", "/v1/passages", {"passages": [{**PASSAGE, "fields": {"year": "m " * 900_000}}]}, "no int"),
        ("POST", "/v1/passages", {"passages": [{**PASSAGE, "fields": {"year": 10**4000}}]}, "year"),
        ("POST", "/v1/passages", {"passages": [{**PASSAGE, "fields": {LONG: 1}}]}, "at most 128"),
        ("POST", "/v1/passages", {"passages": [{**PASSAGE, "fields": {LONG: {}}}]}, "passages.0.fields.m"),
        ("POST", "/v1/passages", {"passages": [{**PASSAGE, LONG: 1}]}, "passages.0.m"),
        ("POST", "/v1/passages", {"passages": [{**PASSAGE, "id": LONG}]}, "passages.0.id"),
        ("POST", "/v1/passages", {"passages": [{**PASSAGE, "title": LONG}]}, "passages.0.title"),
        ("POST", "/v1/search", {"query": "tea", "filter": {LONG: 1}}, "at most 128"),
        ("POST", "/v1/search", {"query": "tea", "filter": {"x" * 120: 1}}, "no field"),
        ("POST", "/v1/search", {"query": "tea", "filter": {"year": LONG}}, "filter.year: 3000000 characters"),
        ("POST", "/v1/search", {"query": "tea", "filter": {"year": [LONG]}}, "filter.year"),
        ("POST", "/v1/search", {"query": "tea", "filter": {"year": LONG[:1999]}}, "year"),
        ("POST", "/v1/search", {"query": "tea", "filter": f"{LONG[:1900]} = 1"}, "no field"),
        ("POST", "/v1/search", {"query": "tea", "filter": f"lang = {LONG[:1900]}"}, "expected a value"),
        ("POST", "/v1/search", {"query": "tea", "filter": f"lang = 1 {'x y ' * 450}"}, "and, or, or the end"),
        ("POST", "/v1/search", {"query": "tea", LONG: 1}, "is not a known name"),
        ("POST", "/v1/search", {"query": "tea", "\ud800" * 100: 1}, "unicode"),
        ("POST", "/v1/search", {"query": "tea", "\u202e" * 100: 1}, "is not a known name"),
        ("POST", "/v1/search", {"query": "tea", "a\nb": 1}, "is not a known name"),
        ("POST", "/v1/search", {"query": "tea", "mode": LONG}, "mode"),
        ("POST", "/v1/search", {"query": "tea", "explain": LONG}, "explain"),
        ("POST", "/v1/embeddings", {"input": "tea", "input_type": LONG}, "input_type"),
        ("POST", "/v1/embeddings", {"input": "tea", "dimensions": 10**4000}, "dimensions"),
        ("POST", "/v1/rerank", {"query": "tea", "documents": [{LONG: 1}]}, "documents.0.text: is missing"),
        ("DELETE", "/v1/passages", {"ids": [LONG]}, "ids.0"),
        ("DELETE", "/v1/passages", {"filter": {LONG: 1}}, "at most 128"),
    ],
)
def test_what_an_error_says_of_a_request_is_bounded(serve, method, path, body, words):
    served = serve(writable=True)
    started = time.process_time()
    message = refusal(served, method, path, body)
    assert time.process_time() - started < 2
    assert words in message
    assert max(map(len, message.split("'"))) < 2 * LONGEST_SHOWN
    assert "m" * (LONGEST_SHOWN + 1) not in message
    assert len(message) <= 400


@pytest.mark.parametrize(
    "value", ["x" * 10**6, "x y " * 10**6, "\\'" * 10**6, "'" * 10**6, "'\"" * 10**6, 10**4000, ["x"] * 10**5]
)
@pytest.mark.parametrize("kind", [DataError, SettingsError])
def test_values_in_messages_of_other_rooms_are_cut(value, kind):
    started = time.thread_time()
    problem = as_problem(kind(f"field year is {value!r}, which is no int; mend it"))
    assert time.thread_time() - started < 2
    assert problem.status == 400
    assert problem.message.startswith("field year is ")
    assert len(problem.message) <= LONGEST_LINE + 1
    if isinstance(value, str | int) and "'" not in str(value):
        assert problem.message.endswith("which is no int; mend it")
        assert len(problem.message) < 2 * LONGEST_SHOWN


def test_short_messages_stay_as_they_are():
    for message in (
        "passage 'it\\'s': field year is \"it's\", which is no int; mend it or its type",
        "the model's vectors have 3 dimensions, and the index's have 128; use the model's own index then",
    ):
        assert bounded(message) == message
    assert brief("x" * LONGEST_SHOWN) == "x" * LONGEST_SHOWN
    assert brief("a\x1b\u202e\ud800") == "a\\x1b\\u202e\\ud800"


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/embeddings", {"input": ["tea", None]}, "input.1: must be a string"),
        ("/v1/embeddings", {"input": ["tea", True]}, "input.1: must be a string"),
        ("/v1/embeddings", {"input": {}}, "input: must be a string or an array"),
        ("/v1/embeddings", {}, "input: is missing"),
        (
            "/v1/rerank",
            {"query": "tea", "documents": ["tea", None]},
            "documents.1: must be a string or an object",
        ),
        ("/v1/rerank", {"query": "tea", "documents": ["a", {"txt": "b"}]}, "documents.1.text: is missing"),
        ("/v1/passages", {"passages": [PASSAGE, None]}, "passages.1: must be an object"),
        (
            "/v1/passages",
            {"passages": [{**PASSAGE, "fields": {"a": 1, "b": {"c": 1}}}]},
            "passages.0.fields.b: must be a string, a number, a boolean or an array",
        ),
        (
            "/v1/passages",
            {"passages": [{**PASSAGE, "fields": {"a": ["x", {}]}}]},
            "passages.0.fields.a.1: must be a string, a number or a boolean",
        ),
        (
            "/v1/search",
            {"query": "tea", "filter": {"lang": ["en", None]}},
            "filter.lang.1: must be a string, a number or a boolean",
        ),
        ("/v1/search", {"query": "tea", "filter": 7}, "filter: must be a string or an object"),
        ("/v1/search", {"query": "tea", "k": 1.5, "explain": 1}, "k: must be an integer (and 1 more)"),
        ("/v1/search", {"query": "tea", "colour": "red"}, "colour: is not a known name"),
        ("/v1/search", [], "body: must be an object"),
        ("/v1/search", {"vector": [1, float("nan")]}, "vector: has NaN or infinity"),
        (
            "/v1/passages",
            {"passages": [{**PASSAGE, "fields": {"f" * 200: 1}}]},
            f"passages.0.fields.{'f' * 80}…: is too long: 200, at most 128 are allowed",
        ),
        ("/v1/search", {"query": "tea", "mode": "m" * 33}, "mode: String should have at most 32 characters"),
        (
            "/v1/rerank",
            {"query": "tea", "documents": ["a"] * 100_001},
            "documents: is too long: 100001, at most 100000 are allowed",
        ),
    ],
)
def test_errors_name_the_place_in_the_body_and_what_it_takes(serve, path, body, message):
    """In JSON's words; pydantic's name Python's types, and the functions that look at them."""
    assert refusal(serve(writable=True), "POST", path, body) == message


@pytest.mark.parametrize(
    ("raw", "status", "message"),
    [
        (b'{"query": "tea', 422, "body: is not JSON: Unterminated string starting at character 11"),
        (b'{"query": }', 422, "body: is not JSON: Expecting value at character 11"),
        (b"", 422, "body: is missing"),
        (b'{"k": ' + b"9" * 5000 + b"}", 400, "too many digits"),
        (b"\xff\xfe{", 400, "not UTF-8"),
        (b"[" * 100_000, 400, "nested too deep"),
    ],
)
def test_what_is_no_json_is_said_to_be_none(served, raw, status, message):
    answer = served.client.post("/v1/search", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text/plain", "is sent as text/plain"),
        ("application/x-www-form-urlencoded", "is sent as application/x-www-form-urlencoded"),
        ("x" * 5000, "x" * LONGEST_SHOWN + "…"),
        ("", "has no Content-Type"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/embeddings", "/v1/rerank", "/v1/passages"])
def test_a_body_of_another_content_type_is_told_so(serve, path, kind, words):
    answer = serve(writable=True).client.post(
        path, content=b'{"query": "tea"}', headers={"Content-Type": kind}
    )
    assert answer.status_code == 415
    message = answer.json()["error"]["message"]
    assert words in message
    assert message.endswith("; send JSON as application/json")
    assert len(message) < 200
