"""Faults of run files: each is one line with the file and the line number, however the file is read."""

import gzip
from pathlib import Path

import pytest

from ernie_search._util.trec import read_run_lines
from ernie_search.errors import DataError
from ernie_search.evaluation import read_run
from ernie_search.evaluation.trec import check_passages, check_questions, read_quickly, write_run
from ernie_search.types import Run


def carefully(path: Path) -> Run:
    run: Run = {}
    for _, query, passage, score in read_run_lines(path):
        run.setdefault(query, {})[passage] = score
    return run


PLAIN = "q1 Q0 b 1 2.5 t\nq1 Q0 a 2 1e-30 t\nq2 Q0 a 1 inf t\nq1 Q0 c 3 -4 t\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.replace(" ", "\t").encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.rstrip("\n").encode(),
        gzip.compress(PLAIN.encode(), mtime=0),  # workers collect the same test
        'вопрос Q0 文书 0 1 t\n\nq\'" Q0 "a 0 1 t\nnull Q0 NA 0 0.30000000000000004 t\n'.encode(),
    ],
)
def test_the_reader_of_columns_equals_the_careful_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    found = read_quickly(tmp_path / "x")
    assert found is not None
    assert found == carefully(tmp_path / "x")
    assert [list(scores) for scores in found.values()] == [
        list(scores) for scores in carefully(tmp_path / "x").values()
    ]


@pytest.mark.parametrize(
    "text",
    [
        "q1  Q0 a 1 2.5 t\n",
        "q1 Q0 a 1 2.5 t \n",
        "q1 Q0 a 1 2.5 \n",
        "q1\tQ0\ta b\t1\t2\tt\n",
        "q1 Q0 a - 2.5 t\n",
        "q1 Q0 a 1 nan t\n",
        "q1 Q0 a 1 2 t\nq1 Q0 a 2 1 t\n",
        "q1 Q0 a 1 2 t\nq2 Q0 a 1 1 t\nq1 Q0 a 2 1 t\n",
        "q1 Q0 a 1 1 t\nq1 Q0 b 2 2 t\n",
        "q1 Q0 a 1 1 t\nq2 Q0 a 1 5 t\nq1 Q0 b 2 2 t\nq2 Q0 b 2 4 t\n",
        "\n",
        "",
    ],
)
def test_what_is_unusual_is_left_to_the_careful_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    assert read_quickly(tmp_path / "x") is None


def test_a_long_run_of_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ernie_search.evaluation.trec.BLOCK", 1000)
    run = {f"q{i}": {f"p{(i * 7 + j) % 50}": 1 / (j + 1) for j in range(20)} for i in range(100)}
    write_run(tmp_path / "x.gz", run)
    assert read_quickly(tmp_path / "x.gz") == run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 a 1 1.0 t\nq Q0 b 2 2.0 t\n", r"x:2: rank 2 with score 2 contradicts rank 1 with score 1 of"),
        ("q Q0 a 2 2.0 t\nq Q0 b 1 1.0 t\n", r"x:2: rank 1 with score 1 contradicts rank 2"),
        ("q Q0 a 0 0.1 t\nr Q0 a 0 9 t\nr Q0 b 1 9.5 t\n", r"x:3: rank 1 .* of query 'r'; a higher score"),
        # questions in turn: two lines of one are never neighbours
        ("q Q0 a 1 1 t\nr Q0 a 1 5 t\nq Q0 b 2 2 t\nr Q0 b 2 4 t\n", r"x:3: rank 2 .* rank 1 .* query 'q'"),
        ("q Q0 a 2 2 t\nr Q0 a 1 5 t\nq Q0 b 1 1 t\nr Q0 b 2 4 t\n", r"x:3: rank 1 .* rank 2 .* query 'q'"),
        ("q Q0 a - 2 t\nr Q0 a 1 5 t\nq Q0 b - 3 t\nr Q0 b 2 6 t\n", r"x:4: rank 2 .* rank 1 .* query 'r'"),
    ],
)
def test_ranks_that_contradict_scores(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "x")


@pytest.mark.parametrize(
    "text",
    [
        "q Q0 a 1 1.0 t\nq Q0 b 2 1.0 t\n",  # equal scores
        "q Q0 a 0 1.0 t\nq Q0 b 0 2.0 t\n",  # equal ranks
        "q Q0 b 2 1.0 t\nq Q0 a 1 2.0 t\n",  # the worse line first
        "q Q0 a 1 1.0 t\nr Q0 b 2 2.0 t\n",  # two questions
        "q Q0 a - 1.0 t\nq Q0 b - 2.0 t\n",  # no ranks
        "q Q0 a 1 2 t\nr Q0 a 1 9 t\nq Q0 b 2 1 t\nr Q0 b 2 8 t\n",  # questions in turn
    ],
)
def test_ranks_that_say_nothing_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    assert read_run(tmp_path / "x") == carefully(tmp_path / "x")


def test_a_run_with_its_questions_in_turn_is_read_by_columns(tmp_path: Path) -> None:
    lines = [f"q{query} Q0 p{rank} {rank} {-rank} t\n" for rank in range(9) for query in range(7)]
    (tmp_path / "x").write_text("".join(lines))
    assert read_quickly(tmp_path / "x") == carefully(tmp_path / "x")


def test_unknown_questions_and_passages_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("q1 Q0 a 1 3 t\nq1 Q0 b 2 2 t\nq2 Q0 c 1 1 t\n")
    run = read_run(path)
    check_questions(path, run, {"q1", "q2", "q3"})
    check_passages(path, run, iter("abcd"))
    with pytest.raises(
        DataError, match=r"x:3: query 'q2' is not among the 1 questions \(1 of the run are not\)"
    ):
        check_questions(path, run, {"q1"})
    with pytest.raises(DataError, match=r"x:2: passage 'b' \(query 'q1'\) is not in the collection \(2 of"):
        check_passages(path, run, iter("ad"))
