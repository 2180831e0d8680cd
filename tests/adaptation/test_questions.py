"""The file of questions: what a person may write into it, and what is said of what does not fit."""

import json
from pathlib import Path

import pytest

from ernie_search.adaptation import Question, known, read_questions, write_questions
from ernie_search.errors import DataError


def test_questions_come_back_as_they_were_written(tmp_path: Path):
    made = [
        Question("where tea grows", "p1", "span", 7),
        Question("茶 산지", "p2", "keywords", 7, split="held-out"),
        Question("who drinks it?", "p1", id="mine-1"),
    ]
    assert write_questions(tmp_path / "q.jsonl", made) == 3
    assert read_questions(tmp_path / "q.jsonl") == made


def test_a_persons_own_line_needs_a_text_and_a_passage(tmp_path: Path):
    path = tmp_path / "q.jsonl"
    path.write_text('\ufeff{"text": "who grows tea?", "passage": "p1"}\n\n', encoding="utf-8")
    (one,) = read_questions(path)
    assert (one.kind, one.split, one.seed) == ("own", "train", 0)
    assert one.id == Question("who grows tea?", "p1").id  # the same in every run
    assert one.id != Question("who grows tea?", "p2").id


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "broken JSON"),
        ('["a"]', "a list where an object belongs"),
        ('{"text": "a b"}', "'passage' is missing"),
        ('{"text": 3, "passage": "p"}', "'text' is missing or no string"),
        ('{"text": " ", "passage": "p"}', "empty 'text'"),
        ('{"text": "a", "passage": "p 1"}', "white space in 'passage'"),
        ('{"text": "a", "passage": "p", "kind": "spam"}', "did you mean 'span'"),
        ('{"text": "a", "passage": "p", "kind": ["span"]}', "is unknown"),
        ('{"text": "a", "passage": "p", "split": "test"}', "split 'test' is unknown"),
        ('{"text": "a", "passage": "p", "seed": true}', "no whole number"),
        ('{"text": "a", "passage": "p", "pasage": "p"}', "did you mean 'passage'"),
        ('{"text": "first", "passage": "p"}', "stands there twice"),
        ('{"text": "\\ud800", "passage": "p"}', "half a surrogate pair"),
    ],
)
def test_a_faulty_line_is_named_by_its_number(tmp_path: Path, line: str, said: str):
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"text": "first", "passage": "p"}}\n{line}\n')
    with pytest.raises(DataError, match=r"q\.jsonl:2: ") as error:
        read_questions(path)
    assert said in str(error.value)


def test_an_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "q.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no question"):
        read_questions(tmp_path / "q.jsonl")


def test_dangling_passages_are_named_and_counted():
    some = [Question(f"question {n}", f"p{n % 9}") for n in range(18)]
    there, dangling = known(some, {"p0", "p1"})
    assert {one.passage for one in there} == {"p0", "p1"}
    assert len(dangling) == 14
    assert str(dangling).startswith("14 questions are of passages that the collection does not hold ('p2', ")
    assert "and 2 more" in str(dangling)


def test_a_line_holds_the_documented_keys(tmp_path: Path):
    write_questions(tmp_path / "q.jsonl", [Question("a b", "p", "span", 1)])
    assert list(json.loads((tmp_path / "q.jsonl").read_text())) == [
        *("id", "text", "passage", "kind", "seed", "split")
    ]
