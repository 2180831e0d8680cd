"""Judgement files with and without header, in BEIR's form and TREC's."""

import pytest

from ernie_search._util.trec import read_qrels
from ernie_search.errors import DataError

EXPECTED = {"q1": {"p1": 2, "p2": 0}, "q2": {"p1": -1}}


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\tp1\t2\nq1\tp2\t0\nq2\tp1\t-1\n",
        "q1\tp1\t2\nq1\tp2\t0\nq2\tp1\t-1",
        "q1 p1 2\nq1 p2 0\nq2  p1 -1\n",
        "q1 0 p1 2\nq1 0 p2 0\nq2 0 p1 -1\n",
        "q1\tQ0\tp1\t2\nq1\tQ0\tp2\t0\nq2\tQ0\tp1\t-1\n",
        "qid\titer\tdocid\trel\nq1\t0\tp1\t2\nq1\t0\tp2\t0\nq2\t0\tp1\t-1\n",
        "corpus-id\tquery-id\tscore\np1\tq1\t2\np2\tq1\t0\np1\tq2\t-1\n",
        "q1\tp1\t2\nq1\tp1\t2\nq1\tp2\t0\n\nq2\tp1\t-1\n",
    ],
)
def test_forms(tmp_path, text):
    path = tmp_path / "dev.tsv"
    path.write_text(text)
    assert read_qrels(path) == EXPECTED


def test_numeric_ids_without_header(tmp_path):
    path = tmp_path / "dev.tsv"
    path.write_text("1\t2\t1\n")
    assert read_qrels(path) == {"1": {"2": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1\tp1\thigh\n", r"dev\.tsv:1: 'high' is neither an integer relevance nor a known header"),
        ("q1\tp1\t1\nq1\tp2\t0.5\n", r"dev\.tsv:2: relevance '0\.5' is not an integer"),
        ("q1\tp1\t2147483648\n", r"dev\.tsv:1: relevance '2147483648' does not fit into 32 bits"),
        ("q1\tp1\t-2147483649\n", r"dev\.tsv:1: relevance '-2147483649' does not fit into 32 bits"),
        (f"q1\tp1\t1\nq1\tp2\t{'9' * 9999}\n", r"dev\.tsv:2: relevance '9{77}\.\.\.' is not an integer"),
        (f"q1\tp1\t1\nq1\tp2\t{'9' * 999}\n", r"dev\.tsv:2: relevance '9{77}\.\.\.' does not fit"),
        ("query-id\tcorpus-id\tscore\nq1\tp1\n", r"dev\.tsv:2: 2 columns where the first line has 3"),
        ("q1,p1,1\n", r"dev\.tsv:1: 1 columns; a qrels file has"),
        ("q1\tp1\t1\n\tp2\t1\n", r"dev\.tsv:2: an empty id"),
        ("q1\tp1\t1\nq1\tp 2\t1\n", r"dev\.tsv:2: white space in 'corpus-id' 'p 2', which run files"),
        ("q 1\t0\tp1\t1\n", r"dev\.tsv:1: white space in 'query-id' 'q 1'"),
        ("q1\tp1\t1\nq1\tp1\t2\n", r"dev\.tsv:2: 'q1' and 'p1' were judged 1 before"),
        ("query-id\tcorpus-id\tscore\n", r"dev\.tsv has no questions"),
        ("", r"dev\.tsv has no questions"),
    ],
)
def test_faults(tmp_path, text, message):
    path = tmp_path / "dev.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_qrels(path)
