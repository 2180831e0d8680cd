"""The retriever for LangChain: LangChain's own tests, and what those don't ask."""

import asyncio

import pytest

pytest.importorskip("langchain_core", reason="the extra ernie-search[langchain] is not installed")
pytest.importorskip("langchain_tests", reason="needs langchain-tests")

from langchain_core.exceptions import LangChainException
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import SecretStr, ValidationError

from ernie_search.integrations.langchain import ErnieSearchRetriever, RetrievalError
from ernie_search.search import Searcher
from integrations_index import KEY

QUESTION = "where does tea grow"


class OwnTests(RetrieversIntegrationTests):
    """LangChain's tests of a retriever."""

    @property
    def retriever_constructor(self):
        return ErnieSearchRetriever

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


class TestOverAStore(OwnTests):
    @pytest.fixture(autouse=True)
    def params(self, store):
        self.given = {"store": str(store)}

    @property
    def retriever_constructor_params(self):
        return self.given


class TestOverAService(OwnTests):
    @pytest.fixture(autouse=True)
    def params(self, address):
        self.given = {"url": address, "api_key": KEY}

    @property
    def retriever_constructor_params(self):
        return self.given


def test_documents_have_id_text_score_and_fields(store):
    hit = Searcher.open(store).search(QUESTION, 1)[0]
    (document,) = ErnieSearchRetriever(store=store, k=1).invoke(QUESTION)
    assert (document.id, document.page_content) == ("tea", hit.text)
    assert document.metadata == {
        **{"lang": "en", "year": 1998, "id": "tea", "passage": "tea", "title": "Tea", "source": "tea"},
        "score": hit.score,
    }


def test_a_call_may_ask_otherwise(store):
    retriever = ErnieSearchRetriever(store=store, filter='lang = "en"')
    assert [one.id for one in retriever.invoke(QUESTION, filter={"lang": "fr"})] == ["thé"]
    assert retriever.invoke(QUESTION, min_score=100.0) == []
    words = Searcher.open(store).search("rice", 5, mode="words")
    found = retriever.invoke("rice", mode="words", filter=None)
    assert [one.metadata["score"] for one in found] == [hit.score for hit in words]
    with pytest.raises(RetrievalError, match="top_k: unknown; a call takes k, mode"):
        retriever.invoke(QUESTION, top_k=3)


def test_many_questions_at_once(store, address):
    for given in ({"store": store}, {"url": address, "api_key": KEY}):
        retriever = ErnieSearchRetriever(**given, k=1)
        found = asyncio.run(retriever.abatch([QUESTION, "rice", "wheat summer"]))
        assert [one[0].id for one in found] == ["tea", "rice", "wheat"]
        assert retriever.batch([QUESTION, "rice", "wheat summer"]) == found


def test_errors_are_langchains_in_one_line(store, tmp_path, address):
    with pytest.raises(LangChainException, match="no index") as caught:
        ErnieSearchRetriever(store=str(tmp_path / "none"))
    assert caught.value.__suppress_context__
    with pytest.raises(LangChainException, match="refused \\(401\\)"):
        ErnieSearchRetriever(url=address, api_key=SecretStr("wrong")).invoke(QUESTION)
    with pytest.raises(LangChainException, match="no field 'colour'"):
        ErnieSearchRetriever(store=store, filter="colour = 1").invoke(QUESTION)
    with pytest.raises(RetrievalError, match="one of them"):
        ErnieSearchRetriever()
    with pytest.raises(ValidationError):
        ErnieSearchRetriever(store=store, k=0)
    assert KEY not in repr(ErnieSearchRetriever(url=address, api_key=KEY))
