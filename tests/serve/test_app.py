"""The app as a whole: health, description, optional packages, and the command."""

import json
import re
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from ernie_search.serve.settings import Limits
from tiny_service import stub


def test_health_and_readiness(served):
    assert served.client.get("/healthz").text == "ok\n"
    assert served.client.get("/readyz").text == "ready\n"
    served.client.app.state.context.service.draining = True
    assert served.client.get("/readyz").status_code == 503
    assert served.client.get("/healthz").status_code == 200


def test_the_description_is_valid_json_with_examples_and_no_way_out(served):
    description = served.client.get("/openapi.json").json()
    paths = description["paths"]
    for name in ("search", "embeddings", "rerank", "passages", "reload", "info", "models"):
        assert f"/v1/{name}" in paths
    assert {"/healthz", "/readyz", "/metrics"} <= set(paths)
    schemas = description["components"]["schemas"]
    for name in ("SearchRequest", "EmbeddingsRequest", "RerankRequest", "UpsertRequest", "DeleteRequest"):
        assert schemas[name]["examples"]
    for path, name in (("/v1/search", "SearchRequest"), ("/v1/embeddings", "EmbeddingsRequest")):
        for example in schemas[name]["examples"]:
            assert served.post(path, example).status_code == 200
    assert served.client.get("/docs").status_code == 404
    assert served.client.get("/redoc").status_code == 404


def test_unknown_addresses_and_methods(served):
    for method, path, status in (("GET", "/nowhere", 404), ("GET", "/v1/search", 405), ("PUT", "/", 405)):
        answer = served.client.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == status


@pytest.mark.parametrize(
    "path", ["/", "/app.js", "/healthz", "/readyz", "/metrics", "/v1/info", "/v1/models"]
)
def test_every_get_has_its_head(served, path):
    asked, full = served.client.head(path), served.client.get(path)
    assert asked.status_code == full.status_code == 200
    assert asked.content == b""
    same = ("content-type", "etag", "content-security-policy")
    assert [asked.headers.get(name) for name in same] == [full.headers.get(name) for name in same]
    assert 'method="HEAD",route="other"' not in served.client.get("/metrics").text


def test_a_head_over_the_wire_has_no_body(live):
    with live() as address, httpx.Client(base_url=address) as client:  # one connection: a body would break it
        for path, status in (("/", 200), ("/readyz", 200), ("/nowhere", 404), ("/v1/search", 405)):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (status, b"")
            assert client.get("/healthz").text == "ok\n"


def test_info_says_what_may_be_asked(served):
    info = served.client.get("/v1/info").json()
    assert info["modes"] == ["words", "dense", "late", "hybrid"]
    assert info["fields"] == {"lang": "str", "year": "int"}
    assert info["default_mode"] == "hybrid"


def test_a_model_named_by_its_path_tells_only_the_last_part(serve):
    client = serve(stub(name="/srv/secret/tea-model/")).client
    assert client.get("/v1/info").json()["model"] == "tea-model"
    listed = client.get("/v1/models").json()["data"]
    assert {one["owned_by"] for one in listed} == {"tea-model"}


def test_pages_are_cached_by_tag(served):
    first = served.client.get("/app.js")
    assert first.headers["content-type"].startswith("text/javascript")
    again = served.client.get("/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def test_the_page_asks_nobody_else():
    from importlib.resources import files

    for one in (files("ernie_search.serve") / "page").iterdir():
        text = one.read_text("utf-8")
        # Comments begin with two slashes and a blank; an address has none.
        assert re.findall(r"\w*:?//(?! )[^\s\"]*", text) in ([], ["http://www.w3.org/2000/svg"])
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text


def test_the_command_s_limits_are_the_service_s(monkeypatch):
    from ernie_search import serve
    from ernie_search.cli import app

    taken = []
    monkeypatch.setattr(serve, "run", lambda settings, say: taken.append(settings.limits))
    options = {"k": 7, "body": 8, "texts": 9, "documents": 10, "queue": 11}
    given = [part for name, value in options.items() for part in (f"--max-{name}", str(value))]
    assert CliRunner().invoke(app, ["serve", "x", *given], catch_exceptions=False).exit_code == 0
    assert CliRunner().invoke(app, ["serve", "x"], catch_exceptions=False).exit_code == 0
    names = ("k", "body_bytes", "texts", "documents", "queue")
    assert [getattr(taken[0], name) for name in names] == list(options.values())
    assert taken[1] == Limits()


WITHOUT = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fastapi", "uvicorn", "starlette", "prometheus_client"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import ernie_search.cli, ernie_search.serve
from ernie_search.cli import app
sys.argv = ["ernie-search", "serve", "nowhere"]
app()
"""


def test_without_the_extra_the_command_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pip install 'ernie-search[serve]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere"),
        (["nowhere", "--host", "0.0.0.0"], "--api-key-file"),
        (["nowhere", "--api-key-file", "no-such-file"], "no-such-file"),
        (["nowhere", "--port", "99999"], "port"),
        (["nowhere", "--writable"], "nowhere"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(monkeypatch, tmp_path, arguments, words):
    from ernie_search.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ERNIE_SEARCH_API_KEYS", raising=False)
    if "--port" not in arguments:
        arguments = [*arguments, "--port", "0"]
    result = CliRunner().invoke(app, ["serve", *arguments], catch_exceptions=False)
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.count("\n") == 1, json.dumps(result.output)
