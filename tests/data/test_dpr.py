"""DPR's files, in its own form."""

import gzip
import json
import re
import sys
from pathlib import Path

import pytest

from ernie_search.data import find_problems, inspect_collection, open_collection
from ernie_search.errors import DataError
from ernie_search.types import Passage

sys.path.append(str(Path(__file__).parent))
from real_forms import DPR, DPR_TSV


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "biencoder-nq-train.json").write_text(json.dumps(DPR, indent=4))
    (tmp_path / "biencoder-nq-dev.json.gz").write_bytes(gzip.compress(json.dumps(DPR[:1]).encode()))
    (tmp_path / "psgs_w100.tsv").write_text(DPR_TSV)
    return tmp_path


def test_questions_alone(folder):
    collection = open_collection(f"dpr:{folder / 'biencoder-nq-train.json'}")
    assert collection.splits == ["train"]
    passages = {passage.id: passage for passage in collection.passages()}
    assert list(passages) == ["11828866", "11828871", "7"]
    assert passages["7"] == Passage("7", "Cormac McCarthy wrote it", "The Road")
    first, second = collection.queries("train")
    assert (first.text, first.fields) == (DPR[0]["question"], {"answers": ["Linda Davis"]})
    assert collection.qrels("train") == {
        first.id: {"11828866": 1, "11828871": 0},
        second.id: {"7": 1, "11828866": 0},
    }
    assert find_problems(collection) == []
    assert re.fullmatch("[0-9a-f]{16}", first.id)


def test_folder_and_no_negatives(folder):
    collection = open_collection(f"dpr:{folder}?negatives=none")
    assert collection.splits == ["train", "dev"]
    assert [p.id for p in collection.passages()] == ["7", "11828866", "11828871"]
    assert list(collection.passages())[1].text == 'Does He Love You "Does He Love You" is a song'
    assert {grade for row in collection.qrels("train").values() for grade in row.values()} == {1}
    assert collection.queries("dev")[0] == collection.queries("train")[0]
    assert find_problems(collection) == []


def test_passages_alone(folder):
    collection = open_collection(f"dpr:{folder / 'psgs_w100.tsv'}")
    assert (collection.splits, inspect_collection(collection)[1].passages) == ([], 3)


def test_a_question_without_positives_is_not_judged(folder):
    rows = [*DPR, {**DPR[0], "question": "nothing found?", "positive_ctxs": []}]
    (folder / "biencoder-nq-train.json").write_text(json.dumps(rows))
    collection = open_collection(f"dpr:{folder / 'biencoder-nq-train.json'}")
    assert len(collection.qrels("train")) == 2
    assert len(list(collection.located_queries())) == 3


def test_fingerprint_follows_content_and_options(folder):
    source = f"dpr:{folder / 'biencoder-nq-train.json'}"
    before = open_collection(source).fingerprint
    assert open_collection(f"{source}?negatives=none").fingerprint != before
    (folder / "biencoder-nq-train.json").write_text(json.dumps(DPR[:1]))
    assert open_collection(source).fingerprint != before


@pytest.mark.parametrize(
    ("name", "content", "place", "message"),
    [
        ("p.tsv", "id\ttxt\ttitle\n", "p.tsv:1", "no column 'text'; did you mean 'txt'?"),
        ("p.tsv", "id\ttext\ttitle\n1\tx\n", "p.tsv:2", "2 columns where the header has 3"),
        ("p.tsv", "id\ttext\ttitle\r\n1\tx\ty\r\n2\t \t \r\n", "p.tsv:3", "empty 'text'"),
        ("p.tsv", 'id\ttext\ttitle\n1\tx\ty\n2\t"x\ty\n3\tz\tz\n', "p.tsv:3", "a quote that is never closed"),
        ("q.json", '[\n{"question": "x", "positive_ctx": []}]', "q.json:2", "did you mean 'positive_ctx'"),
        ("q.json", '[\n{"question": 7.5, "positive_ctxs": []}]', "q.json:2", "'question' is a number"),
        ("q.json", '[{"question": "x", "positive_ctxs": "y"}]', "q.json:1", "'positive_ctxs' is a string"),
        (
            "q.json",
            '[{"question": "x", "answers": 7, "positive_ctxs": []}]',
            "q.json:1",
            "'answers' is a number",
        ),
        ("q.json", '[{"question": "x", "positive_ctxs": [{"id": "3"}]}]', "q.json:1", "no 'text'"),
    ],
)
def test_faults(tmp_path, name, content, place, message):
    (tmp_path / name).write_text(content, newline="")
    errors = [str(error) for error in find_problems(open_collection(f"dpr:{tmp_path / name}"))]
    assert errors[0].startswith(f"{tmp_path / place}: ")
    assert message in errors[0]


def test_faults_of_the_source(folder):
    for rest, message in [
        ("absent.json", "no such file"),
        (f"{folder}?negative=none", "did you mean 'negatives'"),
        (f"{folder}?negatives=all", "give 'hard' or 'none'"),
        (f"{folder}/psgs_w100.tsv,{folder}/psgs_w100.tsv", "name one passage file"),
        (f"{folder}/biencoder-nq-train.json,{folder}", "a second file of split 'train'"),
        ("", "nothing named after the colon"),
    ]:
        with pytest.raises(DataError, match=re.escape(message)):
            open_collection(f"dpr:{rest}")
