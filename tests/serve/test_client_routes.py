"""Embeddings and rerank, against the model itself and through the real clients."""

import asyncio
import base64
import json

import httpx
import numpy as np
import pytest

from ernie_search.search import maxsim
from ernie_search.serve.context import as_json_list
from tiny_service import stub

TEXTS = ["Tea grows in Assam.", "Rice stands in water."]


def vectors(task: str) -> np.ndarray:
    return stub().encode_joint(TEXTS, task).dense


def test_floats_and_base64_are_the_model_s_vectors(served):
    for task in ("query", "passage"):
        body = {"model": "any", "input": TEXTS, "input_type": task}
        floats = served.post("/v1/embeddings", body).json()
        packed = served.post("/v1/embeddings", {**body, "encoding_format": "base64"}).json()
        assert [one["index"] for one in floats["data"]] == [0, 1]
        for place, expected in enumerate(vectors(task)):
            assert np.allclose(floats["data"][place]["embedding"], expected, atol=1e-6)
            raw = np.frombuffer(base64.b64decode(packed["data"][place]["embedding"]), "<f4")
            assert np.array_equal(raw, expected)
        assert floats["usage"]["prompt_tokens"] == 10


@pytest.mark.parametrize(
    ("body", "task"),
    [
        ({}, "passage"),
        ({"input_type": "search_query"}, "query"),
        ({"input_type": "search_document"}, "passage"),
        ({"model": "ernie-search:query"}, "query"),
    ],
)
def test_the_kind_of_text(served, body, task):
    served.model.calls.clear()
    assert served.post("/v1/embeddings", {"input": "tea", **body}).status_code == 200
    assert served.model.calls == [(task, 1)]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": []}, "at least one"),
        ({"input": ["a", " "]}, "input.1: is empty"),
        ({"input": [[1, 2, 3]]}, "check_embedding_ctx_length"),
        ({"input": [1, 2, 3]}, "check_embedding_ctx_length"),
        ({"input": ["a"] * 2049}, "at most 2048"),
        ({"input": "x" * 20_001}, "at most 20000"),
        ({"input": "tea", "dimensions": 64}, "128"),
        ({"input": ["\ud800"]}, "surrogate"),
        ({"input": "tea", "encoding_format": "hex"}, "encoding_format"),
        ({}, "input"),
    ],
)
def test_refusals(served, body, words):
    answer = served.raw("/v1/embeddings", body)
    assert answer.status_code in (400, 422)
    assert words in answer.json()["error"]["message"]


def test_models_one_by_one(served):
    listed = served.client.get("/v1/models").json()["data"]
    assert [one["id"] for one in listed] == ["ernie-search", "ernie-search:query"]
    for one in listed:
        assert served.client.get(f"/v1/models/{one['id']}").json() == one
    for name in ("nobody", "x" * 5000):
        answer = served.client.get(f"/v1/models/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == (
            "no model of this name; there are ernie-search and ernie-search:query"
        )


@pytest.mark.parametrize("count", [1000, 2048])
@pytest.mark.parametrize("form", ["float", "base64"])
def test_as_many_texts_as_openai_takes(served, count, form):
    """LangChain's OpenAIEmbeddings sends 1,000 at a time."""
    words = ("tea", "rice", "wheat", "hill")
    texts = [f"{words[place % 4]} {place}" for place in range(count)]
    answer = served.post("/v1/embeddings", {"input": texts, "encoding_format": form})
    assert answer.status_code == 200, answer.text[:500]
    data = answer.json()["data"]
    assert [one["index"] for one in data] == list(range(count))
    for place in (0, 15, 16, count - 1):
        given = data[place]["embedding"]
        found = np.frombuffer(base64.b64decode(given), "<f4") if form == "base64" else given
        assert np.allclose(found, stub().encode_joint([texts[place]], "passage").dense[0], atol=1e-6)


def test_as_many_documents_as_cohere_takes(served):
    documents = [f"rice {place}" for place in range(1000)]
    documents[617] = "tea"
    found = served.post("/v1/rerank", {"query": "tea", "documents": documents, "top_n": 1}).json()
    assert [one["index"] for one in found["results"]] == [617]


def test_options_set_how_many_texts_are_taken(serve):
    served = serve(limits={"texts": 5, "documents": 4})
    assert served.post("/v1/embeddings", {"input": ["tea"] * 5}).status_code == 200
    assert served.post("/v1/embeddings", {"input": ["tea"] * 6}).status_code == 400
    assert served.post("/v1/rerank", {"query": "tea", "documents": ["a"] * 4}).status_code == 200
    assert served.post("/v1/rerank", {"query": "tea", "documents": ["a"] * 5}).status_code == 400
    assert served.client.get("/v1/info").json()["limits"]["texts"] == 5


def test_others_get_their_turn_while_a_long_answer_is_written():
    turns = []

    async def other() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    async def main():
        beside = asyncio.create_task(other())
        answer = await as_json_list("data", ({"index": place} for place in range(1000)), {"model": "é"})
        beside.cancel()
        return answer

    body = json.loads(asyncio.run(main()).body)
    assert body == {"data": [{"index": place} for place in range(1000)], "model": "é"}
    assert len(turns) > 20


def test_long_requests_let_questions_in(served):
    served.model.calls.clear()
    served.post("/v1/embeddings", {"input": ["tea"] * 40})
    assert served.model.calls == [("passage", 16), ("passage", 16), ("passage", 8)]


def test_rerank_is_maxsim(served):
    documents = [*TEXTS, "", "tea"]
    found = served.post("/v1/rerank", {"query": "tea in water", "documents": documents}).json()
    model = stub()
    asked = model.encode_joint(["tea in water"], "query").tokens[0]
    expected = maxsim(asked, model.encode_joint(documents, "passage").tokens)
    order = sorted(range(4), key=lambda place: (-expected[place], place))
    assert [one["index"] for one in found["results"]] == order
    assert [one["relevance_score"] for one in found["results"]] == pytest.approx(
        [float(expected[place]) for place in order], abs=1e-5
    )


def test_rerank_holds_the_token_matrices_of_one_piece(served, monkeypatch):
    scored = []

    def counted(asked, passages):
        scored.append(len(passages))
        return maxsim(asked, passages)

    monkeypatch.setattr("ernie_search.serve.worker.maxsim", counted)
    served.model.calls.clear()
    documents = [f"tea {place}" for place in range(40)]
    found = served.post("/v1/rerank", {"query": "tea", "documents": documents}).json()["results"]
    assert sorted(one["index"] for one in found) == list(range(40))
    assert scored == [16, 16, 8]
    assert served.model.calls == [("passage", 16), ("query", 1), ("passage", 16), ("passage", 8)]


def test_rerank_options(served):
    body = {
        "query": "tea",
        "documents": [{"text": one} for one in TEXTS],
        "top_n": 1,
        "return_documents": True,
    }
    for path in ("/v1/rerank", "/v2/rerank"):
        found = served.post(path, body).json()
        assert [one["document"] for one in found["results"]] == [{"text": TEXTS[0]}]
    assert served.post("/v1/rerank", {"query": "tea", "documents": []}).status_code == 422
    assert served.post("/v1/rerank", {"query": "tea", "documents": ["a"] * 1001}).status_code == 400
    assert served.post("/v1/rerank", {**body, "model": "cross"}).status_code == 501


def test_the_openai_client(live):
    openai = pytest.importorskip("openai", reason="the client is a development extra: pip install openai")
    with (
        live() as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0) as client,
    ):
        for options in ({}, {"encoding_format": "float"}):
            answer = client.embeddings.create(
                model="ernie-search", input=TEXTS, extra_body={"input_type": "query"}, **options
            )
            found = np.asarray([one.embedding for one in answer.data])
            assert np.allclose(found, vectors("query"), atol=1e-6)
        assert next(one.id for one in client.models.list()) == "ernie-search"
        assert client.models.retrieve("ernie-search:query").id == "ernie-search:query"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nobody")
        with pytest.raises(openai.BadRequestError, match="is empty"):
            client.embeddings.create(model="ernie-search", input=[""])


def test_the_openai_client_s_key(live):
    openai = pytest.importorskip("openai", reason="the client is a development extra: pip install openai")
    key = "0123456789abcdef"
    with live(keys=(key,)) as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as client:
            assert client.embeddings.create(model="x", input="tea").data
        with (
            openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.embeddings.create(model="x", input="tea")


def test_the_cohere_client(live):
    cohere = pytest.importorskip("cohere", reason="the client is a development extra: pip install cohere")
    with live() as address, httpx.Client() as connection:
        client = cohere.ClientV2(api_key="unused", base_url=address, httpx_client=connection)
        answer = client.rerank(model="ernie-search", query="where does tea grow", documents=TEXTS, top_n=1)
        assert [one.index for one in answer.results] == [0]
        assert answer.results[0].relevance_score > 0
