"""Titles on and off, of any format, and MS MARCO's from a file beside its passages."""

import gzip
import json
import re
import sys
from pathlib import Path

import pytest

from ernie_search.data import find_problems, open_collection
from ernie_search.data.sources import take_titles_off
from ernie_search.errors import DataError

sys.path.append(str(Path(__file__).parent))
from real_forms import DPR, DPR_TSV, marco


@pytest.fixture
def folder(tmp_path):
    return marco(tmp_path / "msmarco")


def titles(source):
    return {passage.id: passage.title for passage in open_collection(source).passages()}


def test_the_option_is_taken_off_and_others_stay(tmp_path):
    assert take_titles_off("x?titles=none") == ("x", True)
    assert take_titles_off("x?negatives=none&titles=none&split=dev") == ("x?negatives=none&split=dev", True)
    assert take_titles_off("x?titles=t.tsv") == ("x?titles=t.tsv", False)
    odd = tmp_path / "a?titles=none"
    odd.mkdir()
    assert take_titles_off(str(odd)) == (str(odd), False)


def test_dpr_and_beir_with_and_without(tmp_path):
    (tmp_path / "nq-train.json").write_text(json.dumps(DPR))
    (tmp_path / "psgs_w100.tsv").write_text(DPR_TSV)
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "Tea", "text": "It grows."}\n{"_id": "2", "text": "It flows."}\n'
    )
    plain = f"dpr:{tmp_path / 'nq-train.json'},{tmp_path / 'psgs_w100.tsv'}"
    off = f"{plain}?titles=none"
    assert titles(plain)["7"] == "The Road"
    assert set(titles(off).values()) == {""}
    assert titles(f"beir:{tmp_path}") == {"1": "Tea", "2": ""}
    assert titles(f"beir:{tmp_path}?titles=none") == {"1": "", "2": ""}
    one, other = open_collection(plain), open_collection(off)
    assert (one.splits, one.qrels("train")) == (other.splits, other.qrels("train"))
    assert one.queries("train") == other.queries("train")
    assert one.fingerprint != other.fingerprint
    assert other.source == off
    assert next(other.passages()).full_text == "Cormac McCarthy wrote it"
    assert find_problems(other) == []


@pytest.mark.parametrize("name", ["para.title.txt", "titles.tsv.gz", "mine.tsv"])
def test_marco_takes_titles_from_a_file_in_the_same_order(folder, name):
    before = open_collection(f"marco:{folder}").fingerprint
    content = b"0\tSuccess\n2\t-\n"  # 1 has no line, 2 has RocketQA's sign for none
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    source = f"marco:{folder}?titles=mine.tsv" if name == "mine.tsv" else f"marco:{folder}"
    assert titles(source) == {"0": "Success", "1": "", "2": ""}
    assert open_collection(source).fingerprint != before
    assert find_problems(open_collection(source)) == []
    assert titles(f"marco:{folder}?titles=none") == {"0": "", "1": "", "2": ""}


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("1\tTea\n0\tSuccess\n", "titles.tsv:2", "no passage '0' after those of the lines before"),
        ("9\tTea\n", "titles.tsv:1", "no passage '9'"),
        ("0\tTea\tmore\n", "titles.tsv:1", "3 columns where id, title belong"),
        ("\tTea\n", "titles.tsv:1", "an empty id"),
    ],
)
def test_what_is_wrong_with_the_titles_has_its_line(folder, content, place, words):
    (folder / "titles.tsv").write_text(content)
    errors = [str(error) for error in find_problems(open_collection(f"marco:{folder}"))]
    assert errors[0].startswith(f"{folder / place}: ")
    assert words in errors[0]


def test_a_file_of_titles_that_is_not_there(folder):
    with pytest.raises(DataError, match=re.escape("absent.tsv: no such file of titles")):
        open_collection(f"marco:{folder}?titles=absent.tsv")
