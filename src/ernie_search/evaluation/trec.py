"""Runs and judgements as TREC files, and checks of a run file against questions and passages."""

import contextlib
import gzip
from collections.abc import Collection, Iterable, Mapping
from itertools import chain, pairwise
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from ernie_search._util.files import atomic_write
from ernie_search._util.lines import GZIP_MAGIC
from ernie_search._util.trec import add_score, read_run_lines
from ernie_search.errors import DataError
from ernie_search.evaluation.measures import ranked
from ernie_search.types import Qrels, Run

BLOCK = 16 * 2**20
"""Bytes parsed at a time."""
NAMES = pa.dictionary(pa.int32(), pa.string())
COLUMNS = {
    "query": NAMES,
    "q0": NAMES,
    "passage": NAMES,
    "rank": pa.int64(),
    "score": pa.float64(),
    "tag": NAMES,
}


BEIR_HEADER = "query-id\tcorpus-id\tscore"


def read_run(path: Path | str) -> Run:
    """Read a TREC run file: ``query Q0 passage rank score tag``, plain or gzip.

    As in trec_eval the score decides the order. Plain files go through a reader of columns; any other, and
    any with a fault, line by line.

    Raises:
        DataError: missing, unreadable or cut file, an empty one, or, with the line: a wrong number of
            columns, a score that is not a number, a rank that contradicts the score, a passage named twice
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


def read_quickly(path: Path) -> Run | None:
    """A run file's scores by columns, fast; ``None`` if any line is not plain enough for that.

    Only files in which every line has six columns with one and the same blank between them, whole-number
    ranks that agree with the scores, no NaN and no passage twice. A file that this returns is read in the
    same way, passage order included, by ``read_run_lines``; that reader also says what is wrong, and where.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if packed else open(path, "rb") as head:
            delimiter = "\t" if b"\t" in head.readline(4096) else " "
        with open(path, "rb") as raw, pa.input_stream(raw, compression="gzip" if packed else None) as stream:
            table = csv.read_csv(
                stream,
                read_options=csv.ReadOptions(column_names=list(COLUMNS), block_size=BLOCK),
                parse_options=csv.ParseOptions(delimiter=delimiter, quote_char=False, escape_char=False),
                convert_options=csv.ConvertOptions(
                    column_types=COLUMNS, null_values=[], strings_can_be_null=False
                ),
            ).unify_dictionaries()
    except (pa.ArrowException, OSError, EOFError):
        return None
    if not table.num_rows:
        return None
    columns = {name: table[name].combine_chunks() for name in COLUMNS}
    known = {
        name: column.dictionary.to_pylist() for name, column in columns.items() if table[name].type == NAMES
    }
    if any(not name or " " in name or "\t" in name for names in known.values() for name in names):
        return None  # two blanks in a row, or blanks of both kinds
    scores = columns["score"].to_numpy()
    queries, ranks = columns["query"].indices.to_numpy(), columns["rank"].to_numpy()
    starts = [0, *(np.flatnonzero(queries[1:] != queries[:-1]) + 1).tolist(), len(scores)]
    together = len(starts) - 1 == len(known["query"])
    order = slice(None) if together else np.argsort(queries, kind="stable")
    if np.isnan(scores).any() or _contradict(queries[order], ranks[order], scores[order]):
        return None
    passages = np.array(known["passage"], dtype=object)[columns["passage"].indices.to_numpy()].tolist()
    values = scores.tolist()
    run: Run = {}
    for start, stop in pairwise(starts):
        own = run.setdefault(known["query"][queries[start]], {})
        before = len(own)
        own.update(zip(passages[start:stop], values[start:stop], strict=True))
        if len(own) != before + stop - start:
            return None  # a passage twice
    return run


def _contradict(queries: NDArray[np.int32], ranks: NDArray[np.int64], scores: NDArray[np.float64]) -> bool:
    """Whether a line contradicts the one before it, of the same question; a question's lines together."""
    same, better, worse = queries[1:] == queries[:-1], scores[1:] > scores[:-1], scores[1:] < scores[:-1]
    wrong = (ranks[1:] > ranks[:-1]) & better | (ranks[1:] < ranks[:-1]) & worse
    return bool((same & wrong).any())


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
    _write_lines(path, chain([BEIR_HEADER] if beir else [], lines))


def _writable(text: str) -> str:
    """The text, refused if it cannot be one column."""
    if text.split() != [text]:
        raise DataError(
            f"the id or tag {text!r} is empty or holds white space, which TREC files cannot carry; rename it"
        )
    return text


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with contextlib.ExitStack() as stack:
        handle: IO[bytes] | gzip.GzipFile = stack.enter_context(atomic_write(path, "wb"))
        if path.suffix == ".gz":
            # no name and time inside: the same content gives the same bytes
            handle = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=handle, mtime=0))
        for line in lines:
            handle.write(f"{line}\n".encode())


def check_questions(path: Path, run: Run, questions: Collection[str]) -> None:
    """Raise DataError, with the line, for the first question of the run that is not among ``questions``.

    A question that exists but has no judgement is no fault: it is left out of the measures and counted.
    """
    unknown = {query for query in run if query not in questions}
    if unknown:
        number, query, _ = _first(path, unknown, set())
        raise DataError(
            f"{path}:{number}: query {query!r} is not among the {len(questions)} questions "
            f"({len(unknown)} of the run are not); give the questions that were asked"
        )


def check_passages(path: Path, run: Run, passages: Iterable[str]) -> None:
    """Raise DataError, with the line, for the first passage of the run that is not among ``passages``."""
    unknown = {passage for scores in run.values() for passage in scores}
    unknown.difference_update(passages)
    if unknown:
        number, query, passage = _first(path, set(), unknown)
        raise DataError(
            f"{path}:{number}: passage {passage!r} (query {query!r}) is not in the collection "
            f"({len(unknown)} of the run are not); give the collection that was searched"
        )


def _first(path: Path, queries: set[str], passages: set[str]) -> tuple[int, str, str]:
    """The first line that names one of them. The file is read again: runs are kept without line numbers."""
    for number, query, passage, _ in read_run_lines(path):
        if query in queries or passage in passages:
            return number, query, passage
    raise DataError(f"{path}: changed while it was read; run the command again")
