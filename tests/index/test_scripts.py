"""Words in Chinese, Thai and Arabic from the real XQuAD: all backends find what an independent BM25 finds."""

import numpy as np
import pytest

from ernie_search.data import open_collection
from ernie_search.index import Eq, make_batch
from ernie_search.index.bm25 import K1, B
from ernie_search.mining import BM25
from index_helpers import new_index

LANGUAGES = ("zh", "th", "ar")
QUESTIONS = 25


@pytest.fixture(scope="module")
def xquad(shared_data):
    """240 paragraphs of each language, and its first questions with their paragraph."""
    collection = open_collection(str(shared_data / "xquad"))
    passages = [one for one in collection.passages() if one.id[:2] in LANGUAGES]
    right = {query: next(iter(found)) for query, found in collection.qrels("test").items()}
    queries = {
        language: [one for one in collection.queries("test") if one.id.startswith(language)][:QUESTIONS]
        for language in LANGUAGES
    }
    return passages, queries, right


@pytest.fixture(scope="module", params=["memory", "lance", "qdrant"])
def index(request, xquad, tmp_path_factory):
    if request.param == "qdrant":
        pytest.importorskip("qdrant_client", reason="the extra 'qdrant' is not installed")
    made = new_index(
        request.param,
        tmp_path_factory.mktemp("scripts") / "s",
        tokens="none",
        token_dim=0,
        fields={"language": "str"},
    )
    passages = xquad[0]
    made.upsert(
        make_batch(
            model_name="stub",
            model_fingerprint="f00d",
            ids=[one.id for one in passages],
            titles=[one.title for one in passages],
            texts=[one.text for one in passages],
            fields=[f'{{"language": "{one.id[:2]}"}}' for one in passages],
            dense=np.zeros((len(passages), made.spec.dim), np.float32),
        )
    )
    made.commit()
    yield made
    made.close()


def found(rankings, queries, right, depth):
    return sum(right[one.id] in ids[:depth] for one, ids in zip(queries, rankings, strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_find_the_paragraph(index, xquad, language):
    passages, queries, right = xquad
    asked = queries[language]
    rankings = index.bm25([one.text for one in asked], 10, where=Eq("language", language))
    ours = [ranking.ids for ranking in rankings]
    assert all(one.startswith(language) for ids in ours for one in ids)
    # bm25s, which mining uses; it ranks all languages, so those of another are passed over.
    run = BM25(passages, None, k1=K1, b=B).search(asked, 100)
    theirs = [[one for one in run[query.id] if one.startswith(language)] for query in asked]
    for depth in (1, 10):
        assert found(ours, asked, right, depth) >= found(theirs, asked, right, depth) - 2
    assert found(theirs, asked, right, 10) > 0.75 * QUESTIONS
