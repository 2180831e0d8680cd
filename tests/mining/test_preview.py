"""The preview: lists spread over the whole, their own texts, and no other collection's."""

from pathlib import Path

import pytest

from ernie_search.data import MemoryCollection
from ernie_search.errors import DataError, SettingsError
from ernie_search.mining import TrainingList, preview, write_lists
from ernie_search.types import Passage, Query

COLLECTION = MemoryCollection(
    "crops",
    "memory",
    [Passage(f"p{n}", f"text {n}", f"title {n}") for n in range(20)],
    [Query(f"q{n}", f"question {n}?") for n in range(10)],
    {"train": {f"q{n}": {f"p{n}": 1} for n in range(10)}},
)
LISTS = [
    TrainingList(f"q{n}", (f"p{n}",), (f"p{n + 1}", f"p{n + 5}"), (2.5,), (1.5, -3.0), (4, 0))
    for n in range(10)
]


def test_texts_scores_and_ranks(tmp_path: Path) -> None:
    lists = write_lists(
        tmp_path / "l", LISTS, data_fingerprint=COLLECTION.fingerprint, about={"split": "train"}
    )
    shown = preview(lists, COLLECTION, 2)
    assert [one.query.text for one in shown] == ["question 0?", "question 5?"]
    assert [(p.passage.text, p.score, p.rank) for p in shown[1].positives] == [("text 5", 2.5, None)]
    negatives = [(p.passage.title, p.score, p.rank) for p in shown[1].negatives]
    assert negatives == [("title 6", 1.5, 4), ("title 10", -3.0, 0)]
    assert [one.query.id for one in preview(lists, COLLECTION, 99)] == [f"q{n}" for n in range(10)]
    with pytest.raises(SettingsError, match="ask for at least 1"):
        preview(lists, COLLECTION, 0)


def test_another_collection_is_refused(tmp_path: Path) -> None:
    bare = [TrainingList("q1", ("p1",), ("gone",))]
    other = write_lists(tmp_path / "a", bare, data_fingerprint="feed", about={})
    with pytest.raises(DataError, match="mined from another collection"):
        preview(other, COLLECTION)
    lists = write_lists(tmp_path / "b", bare, data_fingerprint=COLLECTION.fingerprint, about={})
    with pytest.raises(DataError, match=r"'gone' of .* is not in it"):
        preview(lists, COLLECTION)
