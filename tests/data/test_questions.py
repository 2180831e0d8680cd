"""Files of questions and answers, and what is wrong with them."""

import json
from pathlib import Path

import pytest

from ernie_search.data.questions import read_answers, read_queries
from ernie_search.errors import DataError


def test_queries_in_both_forms(tmp_path: Path) -> None:
    lines = [{"_id": "1", "text": "who?", "answers": ["x"]}, {"_id": "2", "text": "where?"}]
    (tmp_path / "q.jsonl").write_text(
        "\ufeff" + "\r\n".join(json.dumps(line) for line in lines), encoding="utf-8"
    )
    found = read_queries(tmp_path / "q.jsonl")
    assert [(one.id, one.text) for one in found] == [("1", "who?"), ("2", "where?")]
    assert found[0].fields == {"answers": ["x"]}
    (tmp_path / "q.tsv").write_text("1\twho is\tit?\n")
    assert [(one.id, one.text) for one in read_queries(tmp_path / "q.tsv")] == [("1", "who is\tit?")]


def test_answers(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"_id": "1", "answers": ["x", "y z"]}\n\n')
    assert read_answers(tmp_path / "a") == {"1": ("x", "y z")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"_id": "1", "answers": "x"}\n', r"a:1: 'answers' of '1' is not a list"),
        ('{"_id": "1", "answers": []}\n', r"a:1: 'answers' of '1' is not a list"),
        ('{"_id": "1", "answers": [" "]}\n', r"a:1: 'answers' of '1' is not a list"),
        (
            '{"_id": "1", "answers": ["x"]}\n{"_id": "1", "answers": ["y"]}\n',
            r"a:2: query '1' stands there twice",
        ),
        ('{"_id": 1, "answers": ["x"]}\n', r"a:1: '_id' is missing, empty, or no string"),
        ("[1]\n", r"a:1: a list where an object belongs"),
        ("\n", r"a: holds no answers"),
    ],
)
def test_broken_answers_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(DataError, match=message):
        read_answers(tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("who?\n", r"q:1: neither an object"),
        ('{"_id": "1"}\n', r"q:1: 'text' is missing"),
        ('{"_id": "1", "text": "x"\n', r"q:1: broken JSON"),
        ("1\tx\n1\ty\n", r"q:2: query '1' stands there twice"),
        ("1\tx\n1 a\ty\n", r"q:2: white space in 'id' '1 a'"),
        ("1\tx\n2\t \ty\n3\t\u2003\u3000\n", r"q:3: empty 'text'"),
        ('{"_id": "1 a", "text": "x"}\n', r"q:1: white space in 'id' '1 a'"),
        ('{"_id": "1", "text": "\\ud800"}\n', r"q:1: 'text' holds half a surrogate pair"),
        ("", r"q: holds no question"),
    ],
)
def test_broken_queries_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "q").write_text(text)
    with pytest.raises(DataError, match=message):
        read_queries(tmp_path / "q")
