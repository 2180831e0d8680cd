"""A fault is told once: what only follows from a line that could not be read is not told as well."""

import gzip

import pytest

from ernie_search.data import BeirCollection, MemoryCollection, convert, find_problems, validate
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query

PASSAGES = [{"_id": "p1", "text": "a"}, {"_id": "p2", "text": "b"}]


def places(folder):
    """Where each problem is, without the folder's own path."""
    return [
        str(error).replace(f"{folder}/", "").split(": ")[0] for error in find_problems(BeirCollection(folder))
    ]


@pytest.mark.parametrize("line", ['{"_id": "q2", "text":', '{"_id": "q2", "text": ""}', '{"_id": 2}', "[]"])
def test_a_judgement_of_a_question_that_could_not_be_read(make_folder, line):
    folder = make_folder(
        PASSAGES, [{"_id": "q1", "text": "a"}, line], dev=["q1\tp1\t1", "q2\tp2\t1"], test=["q2\tp2\t1"]
    )
    assert places(folder) == ["queries.jsonl:2"]
    with pytest.raises(DataError, match=r"queries\.jsonl:2: [^\n]*[^)]$"):  # no "(1 more)"
        validate(BeirCollection(folder))


def test_a_judgement_of_a_passage_that_could_not_be_read(make_folder):
    folder = make_folder([PASSAGES[0], "{"], [{"_id": "q1", "text": "a"}], dev=["q1\tp2\t1"])
    assert places(folder) == ["corpus.jsonl:2"]


def test_the_rest_of_a_file_that_breaks_off(make_folder):
    folder = make_folder(PASSAGES, dev=["q1\tp1\t1", "q2\tp2\t1"])
    (folder / "queries.jsonl").unlink()
    lines = "".join(f'{{"_id": "q{n}", "text": "{n * 7919}"}}\n' for n in range(3000)).encode()
    (folder / "queries.jsonl.gz").write_bytes(gzip.compress(lines)[:40])
    (place,) = places(folder)
    assert place.startswith("queries.jsonl.gz:")


def test_faults_of_their_own_are_still_told(make_folder):
    folder = make_folder(
        PASSAGES,
        [{"_id": "q1", "text": "a"}, "{"],
        dev=["q1\tp9\t1", "q1\tp1\tmuch", "q2\tp9\t1", "q2\tp1\t1", "q1\tp2\t1", "q1\tp2\t2"],
    )
    # Line 3 judges a question that may be the broken one, and a passage that is nowhere.
    assert places(folder) == [
        "queries.jsonl:2",
        "qrels/dev.tsv:1",
        "qrels/dev.tsv:2",
        "qrels/dev.tsv:3",
        "qrels/dev.tsv:6",
    ]


def test_an_item_left_out_excuses_its_own_id_alone():
    passages = [Passage("p", "x"), Passage("q", " ")]
    judged = {"dev": {"a": {"p": 1, "q": 1, "gone": 1}}}
    found = find_problems(MemoryCollection("m", "mem", passages, [Query("a", "?")], judged))
    assert ["passage 2: empty 'text'" in str(found[0]), "judges passage 'gone'" in str(found[1])] == [
        True,
        True,
    ]
    assert len(found) == 2


def test_what_is_skipped_is_counted_with_its_consequences(make_folder, tmp_path):
    folder = make_folder(PASSAGES, [{"_id": "q1", "text": "a"}, "{"], dev=["q1\tp1\t1", "q2\tp2\t1"])
    done = convert(BeirCollection(folder), tmp_path / "beir", skip_faulty=True)
    assert done.skipped == 2
    assert "queries.jsonl:2: broken JSON" in done.first
    assert done.collection.qrels("dev") == {"q1": {"p1": 1}}
