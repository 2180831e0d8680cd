"""Runs, qrels, questions and answers as files that other tools read and write."""

import gzip
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from ernie_search._util.files import JSON, atomic_write
from ernie_search._util.trec import BLANK, GRADES, GZIP_MAGIC, add_score, cut, read_lines, read_run_lines
from ernie_search.errors import DataError
from ernie_search.evaluation.measures import ranked
from ernie_search.types import Qrels, Query, Run, checked_query

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


def read_quickly(path: Path) -> Run | None:
    """A run file's scores; ``None`` if any line is not plain enough to be sure of it.

    Only files in which every line has six columns with one and the same blank between them, whole-number
    ranks that agree with the scores, no NaN and no passage twice. A file that this returns is read in the
    same way, passage order included, by ``read_run_lines``; that reader also says what is wrong, and where.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if packed else open(path, "rb") as head:
            delimiter = "\t" if b"\t" in head.readline(4096) else " "
        with pa.input_stream(str(path), compression="gzip" if packed else None) as stream:
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
            an id that is empty or holds white space, a grade that is no whole number of 32 bits, a passage
            judged twice in different ways.
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
        for one in (query_id, passage_id):
            if BLANK.split(one) != [one] or not one:
                raise DataError(
                    f"{path}:{number}: the id {cut(one)!r} is empty or holds white space, which runs cannot "
                    "carry; rename it"
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


def read_queries(path: Path | str) -> list[Query]:
    """Questions from JSON lines (``_id``, ``text``; other keys are kept as fields) or ``id<TAB>text`` lines.

    Raises:
        DataError: missing, unreadable, cut or empty file, or, with the line: neither of both forms, a key
            that is missing or no string, an id twice or with white space, an empty question.
    """
    path = Path(path)
    found: dict[str, Query] = {}
    for number, line in read_lines(path):
        if line.startswith("{"):
            values = _object(path, number, line)
            query_id, text = _string(path, number, values, "_id"), _string(path, number, values, "text")
            fields = {key: value for key, value in values.items() if key not in ("_id", "text")}
        else:
            query_id, tab, text = line.partition("\t")
            fields = {}
            if not tab:
                raise DataError(
                    f'{path}:{number}: neither an object with "_id" and "text" nor id and text between a tab'
                )
        if query_id in found:
            raise DataError(f"{path}:{number}: query {query_id!r} stands there twice; remove one")
        try:
            found[query_id] = checked_query(Query(query_id, text, fields))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    if not found:
        raise DataError(f"{path}: holds no question")
    return list(found.values())


def read_answers(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Answers from JSON lines ``{"_id": ..., "answers": [...]}``: question id -> answer strings.

    Raises:
        DataError: as ``read_queries``, or answers that are no list of strings with at least one word each.
    """
    path = Path(path)
    found: dict[str, tuple[str, ...]] = {}
    for number, values in _objects(path):
        query_id, answers = _string(path, number, values, "_id"), values.get("answers")
        texts = answers if isinstance(answers, list) else []
        if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
            raise DataError(
                f"{path}:{number}: 'answers' of {query_id!r} is not a list of strings that are not empty; "
                "mend it, or leave the question out"
            )
        if query_id in found:
            raise DataError(
                f"{path}:{number}: query {query_id!r} stands there twice; put its answers together"
            )
        found[query_id] = tuple(texts)
    if not found:
        raise DataError(f'{path}: holds no answers; a line is {{"_id": ..., "answers": [...]}}')
    return found


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(path):
        yield number, _object(path, number, line)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        values = JSON.decode(line)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise DataError(f"{path}:{number}: not a JSON object; one object a line")
    return values


def _string(path: Path, number: int, values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path}:{number}: {key!r} is missing, empty, or no string")
    return value


def check_questions(path: Path, run: Run, questions: Collection[str]) -> None:
    """DataError, with the line, for the first question of the run that is none of ``questions``.

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
    """DataError, with the line, for the first passage of the run that is none of ``passages`` (streamed)."""
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


SelfHits = Literal["drop", "keep"]
"""What to do with a hit whose id is the question's own."""


def drop_self_hits(run: Run, qrels: Qrels | None = None) -> tuple[Run, int]:
    """The run without hits whose id is the question's own, and how many questions had one.

    In ArguAna (and in any collection where a passage asks for its like) the best hit of a question is
    the question itself, which nobody judged; BEIR's published figures leave it out. A pair that is judged
    relevant stays: there the two ids are equal, and the passage is meant.

    Args:
        run: left as it is; lists without a self-hit are shared with the result.
        qrels: what is judged relevant.
    """
    kept: Run = {}
    dropped = 0
    for query, scores in run.items():
        relevant: Mapping[str, int] = (qrels or {}).get(query, {})
        if query in scores and relevant.get(query, 0) <= 0:
            kept[query] = {passage: score for passage, score in scores.items() if passage != query}
            dropped += 1
        else:
            kept[query] = scores
    return kept, dropped


def self_hits_note(name: str, dropped: int) -> str | None:
    """What to say of it; ``None`` where nothing was dropped."""
    if not dropped:
        return None
    return (
        f"{name}: a hit with the question's own id was dropped for {dropped:,} questions, as for ArguAna "
        "(--self-hits keep leaves them in)"
    )
