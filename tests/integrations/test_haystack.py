"""The component for Haystack 2."""

import asyncio

import pytest

pytest.importorskip("haystack", reason="the extra ernie-search[haystack] is not installed")

from haystack import Pipeline
from haystack.core.errors import ComponentError, PipelineRuntimeError, SerializationError
from haystack.errors import FilterError
from haystack.utils import Secret
from haystack.utils.filters import document_matches_filter

from ernie_search.integrations.haystack import ErnieSearchRetriever, RetrievalError
from ernie_search.integrations.haystack_filters import condition_of
from ernie_search.search import Searcher
from integrations_index import KEY

QUESTION = "where does tea grow"


def ids(answer):
    return [one.id for one in answer["documents"]]


def test_documents_have_ids_scores_and_meta(store):
    hits = Searcher.open(store).search(QUESTION, 2)
    component = ErnieSearchRetriever(store, top_k=2)
    component.warm_up()
    found = component.run(query=QUESTION)["documents"]
    expected = [(hit.id, hit.score, hit.text) for hit in hits]
    assert [(one.id, one.score, one.content) for one in found] == expected
    assert found[0].meta == {
        **{"lang": "en", "year": 1998, "id": "tea", "passage": "tea", "title": "Tea", "source": "tea"},
    }
    assert asyncio.run(component.run_async(query=QUESTION))["documents"] == found
    assert len(component.run(query=QUESTION, top_k=1)["documents"]) == 1


OLD = {"field": "meta.year", "operator": "<", "value": 2004}
FILTERS = [
    {"field": "meta.lang", "operator": "==", "value": "fr"},
    {"field": "meta.year", "operator": ">=", "value": 2001},
    {"field": "lang", "operator": "not in", "value": ["fr", "de"]},
    {
        "operator": "OR",
        "conditions": [
            {"field": "meta.year", "operator": "in", "value": [1998, 2010]},
            {
                "operator": "AND",
                "conditions": [
                    {"field": "meta.lang", "operator": "!=", "value": 'a "quoted" \\ one'},
                    {
                        "operator": "NOT",
                        "conditions": [{"field": "meta.year", "operator": "<", "value": 2004}],
                    },
                ],
            },
        ],
    },
]


@pytest.mark.parametrize("filters", FILTERS)
def test_filters_mean_what_they_mean_to_haystack(store, address, filters):
    every = ErnieSearchRetriever(store).run(query=QUESTION)["documents"]
    expected = {one.id for one in every if document_matches_filter(filters, one)}
    assert 0 < len(expected) < len(every)
    assert set(ids(ErnieSearchRetriever(store, filters=filters).run(query=QUESTION))) == expected
    service = ErnieSearchRetriever(url=address, api_key=Secret.from_token(KEY))
    assert set(ids(service.run(query=QUESTION, filters=filters))) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"field": "meta.year", "operator": "~", "value": 1}, "unknown operator '~'"),
        ({"field": "meta.a b", "operator": "==", "value": 1}, "field 'a b' cannot be asked for"),
        ({"field": "meta.year", "operator": "==", "value": None}, "'None' is no text, number or truth value"),
        ({"field": "meta.year", "operator": "in", "value": 3}, "takes a list of values"),
        ({"operator": "XOR", "conditions": []}, "'XOR' over 0 conditions"),
        ({"conditions": [3]}, "has no operator"),
    ],
)
def test_filters_that_cannot_be_said(filters, message):
    with pytest.raises(FilterError, match=message):
        condition_of(filters)


def test_our_filters_pass():
    assert condition_of('lang = "fr"') == 'lang = "fr"'
    assert condition_of({"lang": "fr"}) == {"lang": "fr"}
    assert condition_of({}) is None


def test_a_pipeline_is_written_and_read(store, monkeypatch):
    monkeypatch.setenv("SEARCH_KEY", KEY)
    pipeline = Pipeline()
    key = Secret.from_env_var("SEARCH_KEY")
    pipeline.add_component("search", ErnieSearchRetriever(store, top_k=1, filters=FILTERS[0], api_key=key))
    text = pipeline.dumps()
    assert KEY not in text
    again = Pipeline.loads(text, allowed_modules=[ErnieSearchRetriever.__module__])
    assert again.dumps() == text
    assert ids(again.run({"search": {"query": "thé"}})["search"]) == ["thé"]
    several = ErnieSearchRetriever([str(store)]).to_dict()
    assert several["init_parameters"]["store"] == [str(store)]
    with pytest.raises(SerializationError, match="an open index has no address"):
        ErnieSearchRetriever(Searcher.open(store)).to_dict()


def test_an_asynchronous_pipeline(store):
    pipeline = Pipeline()
    pipeline.add_component("search", ErnieSearchRetriever(store, top_k=1))
    found = asyncio.run(pipeline.run_async({"search": {"query": QUESTION}}))
    assert ids(found["search"]) == ["tea"]


def test_errors_are_haystacks_in_one_line(store, tmp_path, address):
    with pytest.raises(ComponentError, match="no index") as caught:
        ErnieSearchRetriever(str(tmp_path / "none")).warm_up()
    assert caught.value.__suppress_context__
    with pytest.raises(RetrievalError, match="refused \\(401\\)"):
        ErnieSearchRetriever(url=address).run(query=QUESTION)
    pipeline = Pipeline()
    pipeline.add_component("search", ErnieSearchRetriever(store, filters="colour = 1"))
    with pytest.raises(PipelineRuntimeError, match="no field 'colour'"):
        pipeline.run({"search": {"query": QUESTION}})
