"""The retriever for LlamaIndex."""

import asyncio

import pytest

pytest.importorskip("llama_index.core", reason="the extra ernie-search[llamaindex] is not installed")

from llama_index.core.schema import MetadataMode, QueryBundle

from ernie_search.integrations.llamaindex import ErnieSearchRetriever, RetrievalError
from ernie_search.search import Searcher
from integrations_index import KEY

QUESTION = "where does tea grow"


def test_nodes_have_ids_scores_and_metadata(store):
    hits = Searcher.open(store).search(QUESTION, 2)
    retriever = ErnieSearchRetriever(str(store), similarity_top_k=2)
    nodes = retriever.retrieve(QUESTION)
    expected = [(hit.id, hit.score, hit.text) for hit in hits]
    assert [(one.node_id, one.score, one.text) for one in nodes] == expected
    assert nodes[0].node.ref_doc_id == "tea"
    assert nodes[0].metadata["year"] == 1998
    shown = nodes[0].node.get_content(MetadataMode.LLM)
    assert "title: Tea" in shown
    assert "score" not in shown
    assert asyncio.run(retriever.aretrieve(QueryBundle(QUESTION))) == nodes


def test_over_a_service_and_with_a_filter(address):
    retriever = ErnieSearchRetriever(url=address, api_key=KEY, filter={"lang": "fr"})
    assert [one.node_id for one in retriever.retrieve("thé")] == ["thé"]
    assert [one.node_id for one in asyncio.run(retriever.aretrieve("thé"))] == ["thé"]


def test_errors_are_value_errors_in_one_line(store, tmp_path, address):
    with pytest.raises(ValueError, match="no index") as caught:
        ErnieSearchRetriever(tmp_path / "none")
    assert caught.value.__suppress_context__
    with pytest.raises(RetrievalError, match="refused \\(401\\)"):
        ErnieSearchRetriever(url=address).retrieve(QUESTION)
    with pytest.raises(RetrievalError, match="k=0"):
        ErnieSearchRetriever(store, similarity_top_k=0).retrieve(QUESTION)
