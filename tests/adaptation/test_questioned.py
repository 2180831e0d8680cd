"""The collection that is learnt from: passages as they are, made questions beside a person's."""

import pytest

from ernie_search.adaptation.questioned import HELD_OUT, LABELLED, QuestionedCollection
from ernie_search.adaptation.questions import Question
from ernie_search.data import MemoryCollection
from ernie_search.errors import DataError
from ernie_search.types import Query
from tiny_adapt import collection, passages

MADE = [
    Question("rain in assam", "p0", "span", id="s0"),
    Question("rice roads", "p1", "keywords", id="k1", split="held-out"),
]


def test_made_questions_have_their_own_passage_as_label_and_passages_stay():
    found = QuestionedCollection(collection(), MADE)
    assert found.splits == ["train", HELD_OUT]
    assert found.qrels("train") == {"s0": {"p0": 1}}
    assert found.qrels(HELD_OUT) == {"k1": {"p1": 1}}
    assert [one.text for one in found.queries(HELD_OUT)] == ["rice roads"]
    assert list(found.passages()) == passages()
    with pytest.raises(DataError, match="no split 'test'"):
        found.qrels("test")


def test_without_dev_a_fifth_of_the_labelled_questions_measures_and_none_is_in_both():
    found = QuestionedCollection(collection(labels=40), MADE)
    learnt, held = set(found.qrels("train")) - {"s0"}, set(found.qrels(LABELLED))
    assert learnt | held == {f"q{row}" for row in range(40)}
    assert not learnt & held
    assert 2 <= len(held) <= 16
    assert found.labels == len(learnt)
    assert "test" not in found.splits


def test_dev_measures_and_train_is_learnt_from():
    queries = [Query("a", "where?"), Query("b", "when?"), Query("c", "nothing relevant")]
    qrels = {"train": {"a": {"p1": 1}, "c": {"p1": 0}}, "dev": {"b": {"p2": 2}}}
    found = QuestionedCollection(MemoryCollection("x", "memory", passages(5), queries, qrels), MADE)
    assert found.qrels("train") == {"a": {"p1": 1}, "s0": {"p0": 1}}
    assert found.qrels(LABELLED) == {"b": {"p2": 2}}
    without = QuestionedCollection(found.inner, MADE, labels=False)
    assert without.splits == ["train", HELD_OUT]
    assert without.labels == 0


def test_the_fingerprint_is_of_passages_and_questions():
    whole = QuestionedCollection(collection(), MADE).fingerprint
    assert whole == QuestionedCollection(collection(), MADE).fingerprint
    others = [
        QuestionedCollection(collection(), MADE[:1]).fingerprint,
        QuestionedCollection(collection(59), MADE).fingerprint,
        QuestionedCollection(collection(labels=3), MADE).fingerprint,
        collection().fingerprint,
    ]
    assert len({whole, *others}) == 5


def test_a_made_question_with_an_id_of_a_labelled_one_is_refused():
    with pytest.raises(DataError, match="have the id 'q0'"):
        QuestionedCollection(collection(labels=3), [Question("rain", "p0", id="q0")])
