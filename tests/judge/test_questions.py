"""Questions as people have them, and one line for what is wrong with them."""

import pytest

from ernie_search.errors import DataError
from ernie_search.judge import read_questions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("how do I rotate logs\n\n  why? \n", [("q1", "how do I rotate logs"), ("q3", "why?")]),
        ("a7\trotate logs\nb8\twhy?\n", [("a7", "rotate logs"), ("b8", "why?")]),
        ('{"text": "rotate"}\n{"_id": "x", "text": "why?"}', [("q1", "rotate"), ("x", "why?")]),
        ("\ufeffqué\r\nwhy\r\n", [("q1", "qué"), ("q2", "why")]),
    ],
)
def test_each_form_is_read(tmp_path, text, expected):
    (tmp_path / "questions").write_text(text, encoding="utf-8")
    assert [(one.id, one.text) for one in read_questions(str(tmp_path / "questions"))] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no question"),
        (b"one\none\n", r":2: the same question as in line 1"),
        (b"a\tone\na\ttwo\n", r":2: the same id as in line 1"),
        (b'one\n{"text": 3}', r':2: an object without "text"'),
        (b"{one", ":1: begins as a JSON object"),
        (b"one\n\xff\n", ":2: not UTF-8"),
        (b"a b\tone\n", ":1: white space in"),
        (b"a\t \n", ":1: empty 'text'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    (tmp_path / "questions").write_bytes(text)
    with pytest.raises(DataError, match=message) as caught:
        read_questions(str(tmp_path / "questions"))
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_a_collection(tmp_path):
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    (tmp_path / "set" / "corpus.jsonl").write_text('{"_id": "p", "text": "tea"}\n')
    (tmp_path / "set" / "queries.jsonl").write_text('{"_id": "q", "text": "tea?"}\n')
    (tmp_path / "set" / "qrels" / "dev.tsv").write_text("q\tp\t1\n")
    assert [one.text for one in read_questions(str(tmp_path / "set"), "dev")] == ["tea?"]
    with pytest.raises(DataError, match="no split 'test'"):
        read_questions(str(tmp_path / "set"))


def test_a_collection_without_judgements_gives_all_its_questions(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "p", "text": "tea grows in Assam"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "a", "text": "tea?"}\n{"_id": "b", "text": "rice?"}\n')
    assert [one.id for one in read_questions(str(tmp_path))] == ["a", "b"]
