"""DPR's questions with answers: the lists as Python and as JSON write them, and what is wrong with a file."""

import gzip
import json
import re
import sys
from pathlib import Path

import pytest

from ernie_search._util import lines
from ernie_search.data import open_collection
from ernie_search.data.dpr import answer_list, is_qas, read_qas
from ernie_search.errors import DataError

sys.path.append(str(Path(__file__).parent))
from real_forms import DPR

LINES = (
    "who got the first nobel prize in physics\t['Wilhelm Conrad Röntgen']\n"
    'what is the capital\t"[\'Ulan ""B"" Bator\', ""it\'s Ulaanbaatar""]"\n'  # quoted, as csv.writer does
    'when was it\t["May 18 , 2018", "2018"]\r\n'
    "who got the first nobel prize in physics\t['Röntgen']\n"
)


def test_reads_every_form(tmp_path):
    path = tmp_path / "nq-test.qa.csv"
    path.write_bytes(LINES.encode())
    found = [query for _, query in read_qas(path)]
    assert [query.fields["answers"] for query in found] == [
        ["Wilhelm Conrad Röntgen"],
        ['Ulan "B" Bator', "it's Ulaanbaatar"],
        ["May 18 , 2018", "2018"],
        ["Röntgen"],
    ]
    assert found[3].id == f"{found[0].id}-2"  # asked twice, so it counts twice
    packed = tmp_path / "nq-test.qa.csv.gz"
    packed.write_bytes(gzip.compress(LINES.encode()))
    assert [query for _, query in read_qas(packed)] == found
    assert is_qas(packed)
    assert not is_qas(tmp_path / "answers.jsonl")


def test_the_id_is_that_of_the_same_question_in_the_training_files(tmp_path):
    (tmp_path / "nq-train.json").write_text(json.dumps(DPR[:1]))
    (tmp_path / "q.csv").write_text(f"{DPR[0]['question']}\t['Linda Davis']\n")
    ((_, query),) = read_qas(tmp_path / "q.csv")
    (same,) = open_collection(f"dpr:{tmp_path / 'nq-train.json'}").queries("train")
    assert (query.id, query.fields) == (same.id, same.fields)


def test_nothing_is_run():
    with pytest.raises(ValueError, match="is no list of answers"):
        answer_list("__import__('os').listdir('.')")


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("who\n", "q.csv:1", "1 columns where question and answers belong"),
        ("who\t['x']\nwho is\tWilhelm\n", "q.csv:2", "'Wilhelm' is no list of answers"),
        ("who\t[]\n", "q.csv:1", "'[]' is no list of answers"),
        ("who\t['x', 1912]\n", "q.csv:1", "an answer is empty or no text"),
        ("who\t['x', ' ']\n", "q.csv:1", "an answer is empty or no text"),
        (" \t['x']\n", "q.csv:1", "empty 'text'"),
        ("\n", "q.csv", "holds no question"),
    ],
)
def test_what_is_wrong_has_its_line(tmp_path, content, place, words):
    path = tmp_path / "q.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        list(read_qas(path))
    assert str(caught.value).startswith(f"{tmp_path / place}: ")


def test_a_fault_leaves_no_file_open(tmp_path, monkeypatch):
    path = tmp_path / "q.csv"
    path.write_text("who\t[]\nwho\t['x']\n")
    opened = []
    original = lines.open_bytes
    monkeypatch.setattr(lines, "open_bytes", lambda one: opened.append(original(one)) or opened[-1])
    with pytest.raises(DataError, match="no list of answers"):
        list(read_qas(path))
    assert [handle.closed for handle in opened] == [True]
