"""Run and qrels files: round trips, what other tools read of ours, and broken files."""

import gzip
import os
from pathlib import Path

import pytest

from ernie_search.errors import DataError, EvaluationError
from ernie_search.evaluation import read_qrels, read_run, write_qrels, write_run
from ernie_search.types import Qrels, Run

RUN: Run = {
    "q1": {"b": 0.1 + 0.2, "a": 0.1 + 0.2, "c": 1e-30},
    "вопрос": {"文书": -3.5, "مقطع": float("-inf")},
}
QRELS: Qrels = {"q1": {"a": 1, "b": 0, "c": -2}, "вопрос": {"文书": 3}}


@pytest.mark.parametrize("name", ["x.trec", "x.run.gz", "new/folder/x.run", os.fsdecode(b"x\xff.trec")])
def test_run_round_trip(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / name, RUN)
    assert read_run(tmp_path / name) == RUN


@pytest.mark.parametrize("name", ["dev.tsv", "dev.tsv.gz", "dev.qrels", "dev.txt.gz"])
def test_qrels_round_trip(tmp_path: Path, name: str) -> None:
    write_qrels(tmp_path / name, QRELS)
    assert read_qrels(tmp_path / name) == QRELS


def test_lines_of_a_run(tmp_path: Path) -> None:
    write_run(tmp_path / "x", {"q": {"b": 2.0, "c": 3.0, "a": 2.0}}, tag="mine")
    assert (tmp_path / "x").read_text() == "q Q0 c 1 3.0 mine\nq Q0 a 2 2.0 mine\nq Q0 b 3 2.0 mine\n"


def test_ir_measures_reads_what_we_write(tmp_path: Path) -> None:
    ir_measures = pytest.importorskip("ir_measures", reason="the extra 'measures' is not installed")
    write_run(tmp_path / "x.run", RUN)
    write_qrels(tmp_path / "x.qrels", QRELS)
    assert {(d.query_id, d.doc_id, d.score) for d in ir_measures.read_trec_run(str(tmp_path / "x.run"))} == {
        (q, p, s) for q, scores in RUN.items() for p, s in scores.items()
    }
    assert {
        (d.query_id, d.doc_id, d.relevance) for d in ir_measures.read_trec_qrels(str(tmp_path / "x.qrels"))
    } == {(q, p, g) for q, grades in QRELS.items() for p, g in grades.items()}


def test_gzip_bytes_are_the_same_each_time_and_under_any_name(tmp_path: Path) -> None:
    write_run(tmp_path / "a.gz", RUN)
    write_run(tmp_path / "b.gz", RUN)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    (tmp_path / "c").write_bytes((tmp_path / "a.gz").read_bytes())  # known by its bytes, not by its name
    assert read_run(tmp_path / "c") == RUN


def test_windows_files_and_blank_lines_are_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfq1 Q0 a 1 2.5 t\r\n\r\nq1\tQ0\tb\t2\t1 t\r\n\n")
    assert read_run(tmp_path / "x") == {"q1": {"a": 2.5, "b": 1.0}}
    (tmp_path / "y").write_bytes(b"\xef\xbb\xbfquery-id\tcorpus-id\tscore\r\nq1\ta\t1\r\n")
    assert read_qrels(tmp_path / "y") == {"q1": {"a": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq-1\ta\t2\n",
        "Query_ID\tdoc\tRelevance\nq-1\ta\t2\n",
        "q-1\ta\t2\n",
        "\nq-1\ta\t2\nq-1\ta\t2\n",
    ],
)
def test_beir_qrels_with_and_without_header(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    assert read_qrels(tmp_path / "x") == {"q-1": {"a": 2}}


@pytest.mark.parametrize("text", ["q1 0 a 2\n", "q1\t0\ta\t2\n", "q1  Q0  a\t2", "q1 a 2\n"])
def test_trec_qrels(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    assert read_qrels(tmp_path / "x") == {"q1": {"a": 2}}


def test_ids_with_a_no_break_space_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("q\u00a01 Q0 a\u3000b 1 1.0 t\n", encoding="utf-8")
    assert read_run(tmp_path / "x") == {"q\u00a01": {"a\u3000b": 1.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 a 1 1.0 t\nq Q0 b 1.0 t\n", r"x:2: 5 columns, a run has 6: query Q0 passage rank score tag"),
        ("q Q0 a 1 1.0 my tag\n", r"x:1: 7 columns"),
        ("q Q0 a 1 nan t\n", r"x:1: the score 'nan' is not a number"),
        ("q Q0 a 1 high t\n", r"x:1: the score 'high' is not a number"),
        ("q Q0 a 1 2 t\nr Q0 a 1 2 t\n\nq Q0 a 2 1 t\n", r"x:4: passage 'a' is named twice for query 'q'"),
        ("\n\n", "x: holds no line of a run"),
    ],
)
def test_broken_runs_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1\ta\tx\nq1\tb\t1\n", r"x:1: 'x' is neither an integer relevance nor a known header"),
        ("q1 0 a 1\nq1 0 b 0.5\n", r"x:2: relevance '0.5' is not an integer"),
        ("q1 0 a 2147483648\n", r"x:1: relevance '2147483648' does not fit into 32 bits"),
        (f"q1 0 a 1\nq1 0 b -{'9' * 999}\n", r"x:2: relevance '-9{76}\.\.\.' does not fit into 32 bits"),
        ("q1\ta\t1\nq 1\ta\t1\n", r"x:2: white space in 'query-id'"),
        ("q1\ta\t1\nq1\t\t1\n", r"x:2: an empty id"),
        ("q1\ta\n", r"x:1: 2 columns"),
        (
            "query-id\tcorpus-id\tscore\nquery-id\tcorpus-id\tscore\n",
            r"x:2: relevance 'score' is not an integer",
        ),
        ("q1 0 a 1\nq1 0 a 2\n", r"x:2: 'q1' and 'a' were judged 1 before"),
        ("query-id\tcorpus-id\tscore\n", "x has no questions"),
    ],
)
def test_broken_qrels_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(DataError, match=message):
        read_qrels(tmp_path / "x")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: no such file"):
        read_run(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read"):
        read_qrels(tmp_path)
    (tmp_path / "latin").write_bytes(b"q Q0 a 1 1.0 t\n" * 1 + b"q Q0 caf\xe9 1 1.0 t\n")
    with pytest.raises(DataError, match="latin:2: not UTF-8"):
        read_run(tmp_path / "latin")


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip after all"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress("".join(f"q{i} Q0 a{i * 7919} 1 {i / 7} t\n" for i in range(20_000)).encode())
    (tmp_path / "x.gz").write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "flipped": whole[:5000] + bytes(b ^ 255 for b in whole[5000:5100]) + whole[5100:],
            "not gzip after all": b"\x1f\x8bnothing",
        }[damage]
    )
    with pytest.raises(DataError, match=r"x\.gz:\d+: the compressed file (ends in the middle|is damaged)"):
        read_run(tmp_path / "x.gz")


@pytest.mark.parametrize("bad", ["", "two words", "tab\tbed", " lead", "no\u00a0break"])
def test_ids_that_are_no_column_are_refused_and_leave_nothing(tmp_path: Path, bad: str) -> None:
    for run in ({"q": {"a": 1.0, bad: 0.5}}, {"q": {"a": 1.0}, bad: {"a": 0.5}}):
        with pytest.raises(DataError, match="is empty or holds white space"):
            write_run(tmp_path / "x", run)
    with pytest.raises(DataError, match="white space"):
        write_run(tmp_path / "x.gz", RUN, tag=bad)
    with pytest.raises(DataError, match="white space"):
        write_qrels(tmp_path / "x.tsv", {"q": {bad: 1}})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    write_run(tmp_path / "x.gz", RUN)
    with pytest.raises(EvaluationError, match="NaN"):
        write_run(tmp_path / "x.gz", {"q": {"a": 1.0}, "r": {"a": float("nan")}})
    assert read_run(tmp_path / "x.gz") == RUN
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.gz"]
