"""Who may ask, how much, and what an answer gives away."""

import json
import logging
import socket

import pytest

from ernie_search.serve.guard import Guard
from tiny_service import stub

KEY, OTHER = "0123456789abcdef-one", "0123456789abcdef-two"
QUESTION = {"query": "where does tea grow"}


def test_every_answer_has_the_headers(served):
    for path in ("/", "/healthz", "/v1/info", "/nowhere", "/openapi.json"):
        headers = served.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-request-id"]
        assert "server" not in headers
        assert not [name for name in headers if name.startswith("access-control")]


def test_request_ids_are_kept_if_harmless(served):
    given = served.client.get("/healthz", headers={"X-Request-Id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    forged = served.client.get("/healthz", headers={"X-Request-Id": 'x" evil' + "y" * 100})
    assert forged.headers["x-request-id"] not in ('x" evil' + "y" * 100, "")


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_each_key_opens(serve, key):
    served = serve(keys=(KEY, OTHER))
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"X-API-Key": key},
        {"Authorization": f"bearer {key}"},
    ):
        assert served.post("/v1/search", QUESTION, headers=headers).status_code == 200


@pytest.mark.parametrize("given", ["", KEY[:-1], KEY + "x", "é" * 20, " "])
def test_no_other_key_does(serve, given):
    served = serve(keys=(KEY, OTHER))
    headers = {"Authorization": f"Bearer {given}".encode("latin-1", "replace")} if given else {}
    for method, path in (("POST", "/v1/search"), ("GET", "/metrics"), ("GET", "/v1/info"), ("GET", "/other")):
        answer = served.client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert KEY not in answer.text


def test_page_and_health_need_no_key(serve):
    served = serve(keys=(KEY,))
    for path in (
        "/",
        "/app.js",
        "/cards.js",
        "/document.js",
        "/marks.js",
        "/parts.js",
        "/style.css",
        "/healthz",
        "/readyz",
        "/openapi.json",
    ):
        assert served.client.get(path).status_code == 200


def test_other_sites_pages_are_not_answered(served):
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
    ):
        answer = served.post("/v1/search", QUESTION, headers=headers)
        assert answer.status_code == 403, headers
        assert not [name for name in answer.headers if name.startswith("access-control")]
    own = {"Origin": "http://127.0.0.1:8080", "Host": "127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}
    for headers in (own, {"Host": "localhost:1"}, {"Host": "[::1]:8080"}):
        assert served.post("/v1/search", QUESTION, headers=headers).status_code == 200


def test_an_allowed_host_name_is_answered(serve):
    served = serve(hosts=("search.example",))
    assert served.post("/v1/search", QUESTION, headers={"Host": "search.example"}).status_code == 200


def test_preflights_are_refused(served):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = served.client.options("/v1/search", headers=asked)
    assert answer.status_code in (403, 405)
    assert "access-control-allow-origin" not in answer.headers


def test_a_long_body_is_refused_declared_or_not(serve):
    served = serve(limits={"body_bytes": 1000})
    long = json.dumps({"query": "x" * 2000}).encode()
    kind = {"Content-Type": "application/json"}
    assert served.client.post("/v1/search", content=long, headers=kind).status_code == 413

    def pieces():
        for start in range(0, len(long), 100):
            yield long[start : start + 100]

    assert served.client.post("/v1/search", content=pieces(), headers=kind).status_code == 413


def test_a_body_that_never_ends_is_given_up(live):
    head = b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with live(limits={"seconds": 0.2}) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as slow:
            slow.sendall(head + b'Content-Length: 100\r\n\r\n{"query": ')
            assert slow.recv(64).startswith(b"HTTP/1.1 408 ")


def test_no_trace_and_no_path_in_answers(serve, caplog):
    model = stub()
    served = serve(model)

    def broken(*arguments, **options):
        raise RuntimeError("the secret of /etc/passwd")

    model.encode_joint = broken
    with caplog.at_level(logging.ERROR, logger="ernie_search.serve"):
        answer = served.post("/v1/search", QUESTION)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "/etc" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert "the secret of" in caplog.text  # the log has it


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page/app.js", "//etc/passwd"]
)
def test_no_file_can_be_asked_for(served, path):
    answer = served.client.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_log_lines_tell_no_question_unless_asked(serve, caplog):
    for asked in (False, True):
        served = serve(log_questions=asked, keys=(KEY,))
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="ernie_search.serve"):
            served.post("/v1/search", QUESTION, headers={"X-API-Key": KEY})
        records = [one for one in caplog.records if one.getMessage() == "request"]
        assert len(records) == 1
        values = records[0].values
        assert values["status"] == 200
        assert values["route"] == "/v1/search"
        assert values["request_id"]
        assert (QUESTION["query"] in json.dumps(values)) == asked
        assert KEY not in json.dumps(values)


def test_too_many_under_way_are_refused_but_health_answers(serve):
    served = serve(limits={"in_flight": 1})
    guard = served.client.app.middleware_stack
    while not isinstance(guard, Guard):
        guard = guard.app
    guard.in_flight = 1
    answer = served.post("/v1/search", QUESTION)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert served.client.get("/healthz").status_code == 200
    assert served.client.get("/metrics").status_code == 200
    guard.in_flight = 0
    assert served.post("/v1/search", QUESTION).status_code == 200


def test_a_request_that_takes_too_long_is_ended(serve):
    model = stub()
    served = serve(model, limits={"seconds": 0.05})
    model.delay = 0.3
    answer = served.post("/v1/search", QUESTION)
    assert answer.status_code == 503
    assert "too long" in answer.json()["error"]["message"]


def test_metrics_count_by_route_and_never_by_path(served):
    served.search()
    served.client.get("/some/secret/path")
    text = served.client.get("/metrics").text
    assert 'ernie_search_requests_total{method="POST",route="/v1/search",status="200"} 1.0' in text
    assert 'ernie_search_stage_seconds_count{stage="rank"} 1.0' in text
    assert "secret" not in text
    assert "ernie_search_ready 1.0" in text
