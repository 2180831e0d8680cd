"""MS MARCO's folder, in its own form."""

import gzip
import re
import sys
from pathlib import Path

import pytest

from ernie_search.data import find_problems, inspect_collection, open_collection
from ernie_search.errors import DataError
from ernie_search.types import Query

sys.path.append(str(Path(__file__).parent))
from real_forms import marco


@pytest.fixture
def folder(tmp_path):
    return marco(tmp_path / "msmarco")


def test_reads_everything(folder):
    collection = open_collection(f"marco:{folder}")
    assert collection.splits == ["train", "dev", "extra"]
    texts = {passage.id: passage.text for passage in collection.passages()}
    assert texts["0"] == 'The presence of "communication amid minds'
    assert collection.qrels("train") == {"121352": {"0": 1}, "634306": {"2": 1}}
    assert collection.queries("dev") == [Query("7", "what is tea")]
    assert collection.qrels("extra") == {"121352": {"0": 1, "2": 1, "1": 0}}
    assert [q.id for _, q in collection.located_queries()].count("7") == 1
    assert find_problems(collection) == []
    assert (collection.name, inspect_collection(collection)[1].passages) == ("msmarco", 3)


def test_small_sets_keep_their_name_beside_whole_ones(folder):
    (folder / "qrels.dev.tsv").write_text("7\t0\t1\t1\n1048578\t0\t2\t1\n")
    assert open_collection(f"marco:{folder}").splits == ["train", "dev", "dev.small", "extra"]


def test_packed(folder):
    before = list(open_collection(f"marco:{folder}").passages())
    path = folder / "collection.tsv"
    packed = gzip.compress(path.read_bytes())
    (folder / "collection.tsv.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"both collection\.tsv and collection\.tsv\.gz"):
        open_collection(f"marco:{folder}")
    path.unlink()
    after = open_collection(f"marco:{folder}")
    assert list(after.passages()) == before
    (folder / "collection.tsv.gz").write_bytes(packed[:-12])
    assert "collection.tsv.gz:" in str(find_problems(after)[0])
    assert "ends in the middle" in str(find_problems(after)[0])


def test_triples_of_texts(tmp_path):
    (tmp_path / "triples.train.small.tsv").write_text(
        "is a bug\tyes a bug\tno bug\nis a bug\tyes a bug\tother\nwhat\tother\tno bug\n"
    )
    collection = open_collection(f"marco:{tmp_path}")
    ids = {passage.text: passage.id for passage in collection.passages()}
    assert list(ids) == ["yes a bug", "no bug", "other"]
    first, second = collection.queries("train")
    assert collection.qrels("train") == {
        first.id: {ids["yes a bug"]: 1, ids["no bug"]: 0, ids["other"]: 0},
        second.id: {ids["other"]: 1, ids["no bug"]: 0},
    }


@pytest.mark.parametrize(
    ("name", "content", "place", "message"),
    [
        ("collection.tsv", b"0\ta\n1\tb\tc\n", "collection.tsv:2", "3 columns where id, passage belong"),
        ("collection.tsv", b"\xef\xbb\xbf0\ta\r\n1\t \r\n", "collection.tsv:2", "empty 'text'"),
        ("collection.tsv", b"0\ta\n\tb\n", "collection.tsv:2", "an empty id"),
        ("collection.tsv", b"0\ta\n1\tcaf\xe9\n", "collection.tsv:2", "not UTF-8 at byte 6"),
        ("queries.train.tsv", b"121352\ta\n121352\tb\n634306\tc\n", "queries.train.tsv:2", "duplicate id"),
        ("qrels.train.tsv", b"121352\t0\t9\t1\n", "qrels.train.tsv:1", "judges passage '9'"),
        (
            "qidpidtriples.extra.tsv",
            b"121352\t0\n",
            "qidpidtriples.extra.tsv:1",
            "2 columns where question id",
        ),
    ],
)
def test_faults(folder, name, content, place, message):
    (folder / name).write_bytes(content)
    errors = [str(error) for error in find_problems(open_collection(f"marco:{folder}"))]
    assert errors[0].startswith(f"{folder / place}: ")
    assert message in errors[0]
    assert "\n" not in errors[0]


def test_folders_that_are_none(tmp_path, folder):
    with pytest.raises(DataError, match="no such folder"):
        open_collection(f"marco:{tmp_path / 'absent'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no collection\.tsv and no triples"):
        open_collection(f"marco:{tmp_path / 'empty'}")
    with pytest.raises(DataError, match=re.escape(f"did you mean 'marco:{folder}'?")):
        open_collection(str(folder))
