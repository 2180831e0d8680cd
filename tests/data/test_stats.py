"""Statistics against figures counted by hand."""

import pytest

from ernie_search.data import MemoryCollection, collection_stats, token_lengths
from ernie_search.data.stats import Lengths, Overlap
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query

PASSAGES = [
    Passage("1", "tea grows in rain", "Tea"),
    Passage("2", "rice"),
    Passage("3", "rice"),
    Passage("4", " ".join(["water"] * 20)),
]
QUERIES = [
    Query("a", "where is tea"),
    Query("b", "Where  is TEA"),
    Query("c", "rice"),
    Query("d", "nobody asks"),
    Query("e", "where is tea"),
]
JUDGED = {"train": {"a": {"1": 1, "2": 0}, "c": {"2": 1, "3": 2}}, "test": {"b": {"1": 1}, "e": {"4": 1}}}


@pytest.fixture
def collection():
    return MemoryCollection("m", "mem", PASSAGES, QUERIES, JUDGED)


def test_counted_by_hand(collection):
    stats = collection_stats(collection, limits={"passage": 5, "query": 2})
    assert (stats.passages, stats.titled, stats.duplicates, stats.unjudged) == (4, 0.25, 1, 1)
    # 5 (title and text), 1, 1 and 20 words
    assert stats.lengths == Lengths(6.75, 1, 20, 20, 5, 0.25)
    train, test = stats.splits["train"], stats.splits["test"]
    assert (train.queries, train.judgements, train.positives, train.relevant_passages) == (2, 4, 1.5, 3)
    assert (train.grades, train.repeated) == ((0, 1, 2), 0)
    assert train.lengths == Lengths(2.0, 1, 3, 3, 2, 0.5)
    assert (test.queries, test.repeated) == (2, 1)
    assert stats.overlaps == [Overlap("train", "test", queries=1, passages=1)]


def test_words_have_no_limit_by_themselves(collection):
    stats = collection_stats(collection)
    assert (stats.unit, stats.lengths.limit, stats.lengths.truncated) == ("words", None, None)


@pytest.mark.needs_torch
def test_tokens_as_the_model_cuts_them(collection):
    from transformers import BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tea", "rice", "water", "where", "is", "query"]
    hugging = BertTokenizerFast(vocab={word: place for place, word in enumerate(words)})
    stats = collection_stats(
        collection, token_lengths(hugging, "query ", ""), "tokens", {"query": 6, "passage": 12}
    )
    cut = hugging(
        [passage.full_text for passage in PASSAGES],
        truncation=True,
        max_length=12,
        return_overflowing_tokens=False,
    )
    oracle = sum(1 for one in cut.encodings if one.overflowing) / len(PASSAGES)
    assert stats.lengths.truncated == oracle == 0.25
    assert stats.lengths.longest == 22  # twenty words, [CLS] and [SEP]
    assert stats.splits["train"].lengths.longest == 6  # query where is tea


def test_wrong_collections_are_refused():
    with pytest.raises(DataError, match="mem: passage 1: empty 'text'"):
        collection_stats(MemoryCollection("m", "mem", [Passage("1", " ")], [], {}))
