"""Validation finds what reading one file cannot, and goes on after the first problem."""

import re
from pathlib import Path

import pytest

from ernie_search.data import BeirCollection, MemoryCollection, find_problems, open_collection, validate
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query


def problems(folder):
    """The messages, with the folder's own path taken out."""
    return [str(error).replace(f"{folder}/", "") for error in find_problems(BeirCollection(folder))]


def test_a_good_folder_has_none(make_folder):
    folder = make_folder()
    assert problems(folder) == []
    validate(BeirCollection(folder))


def test_duplicates_and_dangling(make_folder):
    folder = make_folder(
        [{"_id": "p1", "text": "a"}, {"_id": "p2", "text": "b"}, {"_id": "p1", "text": "c"}],
        [{"_id": "q1", "text": "a"}, {"_id": "q1", "text": "b"}],
        dev=["query-id\tcorpus-id\tscore", "q1\tp1\t1", "q9\tp1\t1", "q1\tp9\t1", "q1\tp1\t2"],
    )
    found = problems(folder)
    assert [message.split(": ")[0] for message in found] == [
        "corpus.jsonl:3",
        "queries.jsonl:2",
        "qrels/dev.tsv:3",
        "qrels/dev.tsv:4",
        "qrels/dev.tsv:5",
    ]
    assert "duplicate id 'p1'" in found[0]
    assert "duplicate id 'q1'" in found[1]
    assert "judges query 'q9', which is not" in found[2]
    assert "judges passage 'p9', which is not in the corpus" in found[3]
    assert "were judged 1 before" in found[4]


def test_goes_on_after_broken_lines(make_folder):
    folder = make_folder(
        ["{", {"_id": "p1", "text": ""}, {"_id": "p2", "text": "b"}, {"_id": 3, "text": "c"}],
        [{"_id": "q1", "text": "a"}],
        dev=["q1\tp2\t1", "q1\tp2\tmuch"],
    )
    places = [message.split(": ")[0] for message in problems(folder)]
    assert places == ["corpus.jsonl:1", "corpus.jsonl:2", "corpus.jsonl:4", "qrels/dev.tsv:2"]


@pytest.mark.parametrize("content", ["", "query-id\tcorpus-id\tscore\n"])
def test_split_without_questions(make_folder, content):
    found = problems(make_folder(dev=content.encode(), test=["q1\tp1\t1"]))
    assert len(found) == 1
    assert "split 'dev' has no questions" in found[0]


def test_split_without_relevant_passages(make_folder):
    assert "split 'dev' has no relevant passage" in problems(make_folder(dev=["q1\tp1\t0"]))[0]


def test_missing_queries_file(make_folder):
    folder = make_folder()
    (folder / "queries.jsonl").unlink()
    assert "qrels but no queries.jsonl" in problems(folder)[-1]


def test_stops_at_most(make_folder):
    folder = make_folder(["{"] * 50)
    assert len(find_problems(BeirCollection(folder), most=7)) == 7


def test_validate_raises_one_line_with_the_count(make_folder):
    folder = make_folder(["{", "{", {"_id": "p1", "text": "x"}], dev=["q1\tp1\t1"])
    with pytest.raises(DataError, match=r"^[^\n]*corpus\.jsonl:1: broken JSON[^\n]* \(1 more\)$"):
        validate(BeirCollection(folder))


class Plain:
    """A collection that knows no places: only the protocol's own methods."""

    name = source = "plain"
    splits = ("dev",)
    fingerprint = "0"

    def __init__(self, inner):
        self.passages, self.queries, self.qrels = inner.passages, inner.queries, inner.qrels


def test_any_collection_can_be_checked():
    judged = {"dev": {"q": {"p": 1, "absent": 1}, "lost": {"p": 1}}}
    memory = MemoryCollection("m", "mem", [Passage("p", "x"), Passage("p", " ")], [Query("q", "?")], judged)
    for collection, place in ((memory, "mem"), (Plain(memory), "plain")):
        found = [str(error) for error in find_problems(collection)]
        assert found[0].startswith(f"{place}: passage 2: duplicate id 'p'")
        assert found[1].startswith(f"{place}: passage 2: empty 'text'")
        assert "judges passage 'absent'" in found[2]
        assert "judges query 'lost'" in found[3]
    assert "no passages" in str(find_problems(MemoryCollection("m", "mem", [], [], {}))[0])


@pytest.mark.parametrize(
    ("text", "found"), [("?", []), ("other", ["plain: split 'train', query 1: duplicate id"])]
)
def test_one_question_may_be_in_two_splits_and_two_with_one_id_may_not(text, found):
    collection = Plain(MemoryCollection("m", "mem", [Passage("p", "x")], [], {}))
    collection.splits = ("dev", "train")
    collection.queries = lambda split: [Query("q", text if split == "train" else "?")]
    collection.qrels = lambda split: {"q": {"p": 1}}
    assert [str(error).partition(" 'q'")[0] for error in find_problems(collection)] == found


DOCS = Path(__file__).resolve().parents[2] / "docs"
P1, Q1 = {"_id": "p1", "text": "a"}, {"_id": "q1", "text": "a"}
FAULTS = [
    {"corpus": ['{"_id": "p1" "text": "a"}']},
    {"corpus": [P1, "[1]"]},
    {"corpus": [{"_id": "p1"}]},
    {"corpus": [{"_id": 1, "text": "a"}]},
    {"corpus": [{"_id": "p1", "text": ""}]},
    {"corpus": ['{"_id": "p1", "text": "\\ud800"}']},
    {"corpus": [P1, P1]},
    {"corpus": [{"_id": "p 1", "text": "a"}]},
    {"queries": [Q1 | {"answers": "a"}]},
    {"queries": [Q1 | {"text": ""}]},
    {"test": ["q9\tp1\t1"]},
    {"test": ["q1\tp1\t1", "q1\tp1\t2"]},
    {"test": ["query-id\tcorpus-id\tscore", "q1\tp1\tyes"]},
    {"dev": b""},
]


def told(page: str, message: str) -> bool:
    """Whether a page shows a message, whatever the place and the numbers."""
    text = (DOCS / page).read_text(encoding="utf-8")
    said = re.sub(r"\d+", "0", message.partition(": ")[2])
    return f": {said}`" in re.sub(r"\d+", "0", text)


def test_the_pages_show_the_messages_as_they_are(make_folder, tmp_path):
    found = []
    for number, fault in enumerate(FAULTS):
        parts = {"corpus": [P1], "queries": [Q1]} | fault
        folder = make_folder(*(parts.pop("corpus"), parts.pop("queries")), **parts)
        found += problems(folder)[:1]
        assert len(found) == number + 1
        folder.rename(tmp_path / f"done-{number}")
    with pytest.raises(DataError) as caught:
        open_collection("nope")
    found.append(str(caught.value))
    assert [one for one in found if not told("formats.md", one)] == []
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "collection.tsv").write_text("1\ta\tb\n")
    (tmp_path / "m" / "queries.train.tsv").write_text("1\ta\n")
    (tmp_path / "m" / "qrels.train.tsv").write_text("1\t0\t1\t1\n")
    (message, *_) = map(str, find_problems(open_collection(f"marco:{tmp_path / 'm'}")))
    assert told("data.md", message)
