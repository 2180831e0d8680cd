"""Runs and qrels as files that other tools read: TREC's columns, and BEIR's tab-separated qrels."""

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from ernie_search.errors import DataError
from ernie_search.evaluation.quick_run import read_quickly
from ernie_search.evaluation.ranking import ranked
from ernie_search.files import atomic_write
from ernie_search.trec_lines import BLANK, GRADES, add_score, cut, read_lines, read_run_lines
from ernie_search.types import Qrels, Run

QRELS_COLUMNS = "query 0 passage grade (TREC) or query, passage and grade between tabs (BEIR)"
BEIR_HEADER = ("query-id", "corpus-id", "score")
HEADER_NAMES = (
    {"query-id", "query_id", "queryid", "query", "qid"},
    {"score", "relevance", "rel", "label", "grade"},
)
"""First and last column of a header. Only these make one: "q1 p1 x" is a broken line, not a header."""


def read_run(path: Path | str) -> Run:
    """Read a TREC run file: ``query Q0 passage rank score tag``, plain or gzip.

    As in trec_eval the score decides the order. Plain files go through a reader of columns; any other, and
    any with a fault, line by line.

    Raises:
        DataError: missing, unreadable or cut file, an empty one, or, with the line: a wrong number of
            columns, a score that is no number, a rank that contradicts the score, a passage named twice
            for a question.
    """
    path = Path(path)
    found = read_quickly(path)
    if found is not None:
        return found
    run: Run = {}
    for number, query_id, passage_id, score in read_run_lines(path):
        add_score(run.setdefault(query_id, {}), passage_id, score, path, number, query_id)
    return run


def write_run(
    path: Path | str, run: Run | Iterable[tuple[str, Mapping[str, float]]], tag: str = "ernie-search"
) -> None:
    """Write a TREC run file, best passage first (rank 1), gzip if ``path`` ends in ``.gz``.

    ``run`` may come as pairs of query id and its passages' scores, which are written as they come: a long
    run need not be held in memory.

    Scores are written so that they read back as the same number. A question without passages has no
    line, so it is absent when read back (and counts 0 when measured, as before).

    Raises:
        DataError: an id or the tag is empty or holds white space, which this format cannot carry.
        EvaluationError: a NaN score.
        StorageError: the disk refused; nothing is left behind.
    """
    _writable(tag)
    _write_lines(
        Path(path),
        (
            f"{_writable(query_id)} Q0 {_writable(passage_id)} {rank} {float(scores[passage_id])!r} {tag}"
            for query_id, scores in (run.items() if isinstance(run, Mapping) else run)
            for rank, passage_id in enumerate(ranked(scores, query_id), start=1)
        ),
    )


def read_qrels(path: Path | str) -> Qrels:
    """Read judgements: TREC's four columns, or BEIR's three with or without header; plain or gzip.

    Raises:
        DataError: missing, unreadable, cut or empty file, or, with the line: a wrong number of columns,
            a grade that is no whole number of 32 bits, a passage judged twice in different ways.
    """
    path = Path(path)
    qrels: Qrels = {}
    first = True
    for number, line in read_lines(path):
        columns = line.split("\t")
        if len(columns) != 3:
            columns = BLANK.split(line)
            if len(columns) != 4:
                raise DataError(f"{path}:{number}: {len(columns)} columns, qrels have {QRELS_COLUMNS}")
            columns = [columns[0], columns[2], columns[3]]
        query_id, passage_id, grade_text = (column.strip() for column in columns)
        is_header = first and query_id.lower() in HEADER_NAMES[0] and grade_text.lower() in HEADER_NAMES[1]
        first = False
        if is_header:
            continue
        try:
            grade = int(grade_text)
        except ValueError:
            raise DataError(
                f"{path}:{number}: the grade {cut(grade_text)!r} is not a whole number; "
                f"columns are {QRELS_COLUMNS}"
            ) from None
        if grade not in GRADES:
            raise DataError(
                f"{path}:{number}: the grade {cut(grade_text)!r} is none of 32 bits; write a smaller one"
            )
        grades = qrels.setdefault(query_id, {})
        if grades.setdefault(passage_id, grade) != grade:
            raise DataError(
                f"{path}:{number}: passage {passage_id!r} has grades {grades[passage_id]} and {grade} "
                f"for query {query_id!r}; remove one"
            )
    if not qrels:
        raise DataError(f"{path}: holds no judgement; columns are {QRELS_COLUMNS}")
    return qrels


def write_qrels(path: Path | str, qrels: Qrels) -> None:
    """Write judgements: with BEIR's tabs and header if ``path`` ends in ``.tsv`` or ``.tsv.gz``, else TREC's.

    Raises:
        DataError: an id is empty or holds white space.
        StorageError: the disk refused; nothing is left behind.
    """
    path = Path(path)
    beir = path.name.removesuffix(".gz").endswith(".tsv")
    form = "{}\t{}\t{}" if beir else "{} 0 {} {}"
    lines = (
        form.format(_writable(query_id), _writable(passage_id), int(grade))
        for query_id, grades in qrels.items()
        for passage_id, grade in grades.items()
    )
    _write_lines(path, lines, header="\t".join(BEIR_HEADER) if beir else None)


def _writable(text: str) -> str:
    """``text`` if it can be one column."""
    if text.split() != [text]:
        raise DataError(
            f"the id or tag {text!r} is empty or holds white space, which TREC files cannot carry; rename it"
        )
    return text


def _write_lines(path: Path, lines: Iterable[str], header: str | None = None) -> None:
    with atomic_write(path, "wb") as handle:
        if path.suffix == ".gz":
            # no name and time inside: the same content gives the same bytes
            with gzip.GzipFile(filename="", mode="wb", fileobj=handle, mtime=0) as packed:
                _write_to(packed, lines, header)
        else:
            _write_to(handle, lines, header)


def _write_to(handle: IO[bytes] | gzip.GzipFile, lines: Iterable[str], header: str | None) -> None:
    if header is not None:
        handle.write(f"{header}\n".encode())
    for line in lines:
        handle.write(f"{line}\n".encode())
