"""TREC files line by line: runs, and judgements in TREC's and BEIR's columns."""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ernie_search._util.lines import Placed, Report, read_lines, stop
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Qrels, check_id

RUN_COLUMNS = "query Q0 passage rank score tag"
QRELS_COLUMNS = "query-id, corpus-id, score, separated by tabs (or TREC's four: query 0 passage score)"
GRADES = range(-(2**31), 2**31)
"""The grades that judgements may have: the field's tools count them in 32 bits."""
TOO_LARGE = "does not fit into 32 bits; write a smaller grade: 0, 1, 2, ..."
BLANK = re.compile("[ \t]+")
"""What is between columns. ``str.split`` would also cut ids at a no-break space."""

QUERY_NAMES = frozenset(("query-id", "query_id", "queryid", "qid", "query", "topic"))
PASSAGE_NAMES = frozenset(
    (
        *("corpus-id", "corpus_id", "corpusid", "passage-id", "passage_id", "pid"),
        *("docid", "doc-id", "doc_id", "docno", "doc"),
    )
)
GRADE_NAMES = frozenset(("score", "relevance", "rel", "label", "grade", "judgement", "judgment"))
"""Names of a header's columns. Only where all three occur is a line a header: "q1 p1 x" is a fault."""


def read_run_lines(path: Path, *, scattered: bool = True) -> Iterator[tuple[int, str, str, float]]:
    """Line number, query id, passage id and score of each line of a run.

    The score decides; a rank that is a whole number is compared with that of the question's line before.

    Args:
        path: plain or gzip.
        scattered: whether a question's lines may have others between them. Then the last line of every
            question is remembered; without, memory does not grow with the questions.

    Raises:
        DataError: as ``read_lines``; a file without lines; or, with the line: a wrong number of columns, a
            score that is not a number, a rank that contradicts the score.
    """
    empty = True
    current, before = "", None
    left: dict[str, tuple[str, float] | None] = {}
    for number, line in read_lines(path):
        columns = BLANK.split(line.strip(" \t"))
        if len(columns) != 6:
            raise DataError(f"{path}:{number}: {len(columns)} columns, a run has 6: {RUN_COLUMNS}")
        query_id, _, passage_id, rank, score_text, _ = columns
        try:
            score = float(score_text)
        except ValueError:
            score = math.nan
        if math.isnan(score):
            raise DataError(
                f"{path}:{number}: the score {score_text!r} is not a number; columns are {RUN_COLUMNS}"
            )
        if query_id != current:
            if scattered:
                left[current] = before
            current, before = query_id, left.get(query_id)
        if before is not None and _contradict(rank, score, *before):
            raise DataError(
                f"{path}:{number}: rank {rank} with score {score:g} contradicts rank {before[0]} with score "
                f"{before[1]:g} of query {query_id!r}; a higher score is better: negate distances, or write "
                "the ranks again"
            )
        before = (rank, score)
        empty = False
        yield number, query_id, passage_id, score
    if empty:
        raise DataError(f"{path}: holds no line of a run; columns are {RUN_COLUMNS}")


def cut(text: str, length: int = 80) -> str:
    """The beginning of a text, as much as a message may hold."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _contradict(rank: str, score: float, other_rank: str, other: float) -> bool:
    """Whether the better score has the worse rank. Equal scores, equal ranks and other marks say nothing."""
    if score == other or not (rank.isdecimal() and other_rank.isdecimal()):
        return False
    return (int(rank) - int(other_rank)) * (1 if score > other else -1) > 0


def add_score(
    scores: dict[str, float], passage_id: str, score: float, path: Path, number: int, query_id: str
) -> None:
    """Add a line's score to those of its question; DataError for a passage that is named twice."""
    if passage_id in scores:
        raise DataError(
            f"{path}:{number}: passage {passage_id!r} is named twice for query {query_id!r}; remove one"
        )
    scores[passage_id] = score


def stream_run(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Each question with its scores, one question held at a time.

    A question's lines have to stand together, as every tool writes them. Where they don't, the question
    comes more than once: who streams has to notice. Only ranks of lines that stand together are compared.

    Raises:
        DataError: as ``read_run_lines``, or a passage named twice for a question.
    """
    current, scores = "", dict[str, float]()
    for number, query_id, passage_id, score in read_run_lines(path, scattered=False):
        if query_id != current and scores:
            yield current, scores
            scores = {}
        current = query_id
        add_score(scores, passage_id, score, path, number, query_id)
    yield current, scores


Columns = tuple[int, int, int, int]
"""How many columns a judgement file has, and which of them are query, passage and grade."""


def check_judgement(row: Judgement) -> None:
    """Refuse a judgement that run files and measures cannot hold.

    Raises:
        ValueError: an id with white space (see ``check_id``), or a grade that does not fit into 32 bits.
    """
    check_id(row.query, "query-id")
    check_id(row.passage, "corpus-id")
    if row.grade not in GRADES:
        raise ValueError(f"relevance {cut(str(row.grade))!r} {TOO_LARGE}")


def read_judgements(path: Path, report: Report = stop) -> Placed[Judgement]:
    """Each judgement of a file with its place ("dev.tsv:12").

    Raises:
        DataError: as ``read_lines``; columns that cannot be told apart, a wrong number of them, an id that is
            empty or holds white space, a grade that is no integer of 32 bits.
    """
    columns: Columns | None = None
    for number, line in read_lines(path, report):
        where, cells = f"{path}:{number}", _cells(line)
        if columns is None:
            if len(cells) not in (3, 4):
                report(DataError(f"{where}: {len(cells)} columns; a qrels file has {QRELS_COLUMNS}"))
                return
            columns, header = _columns_of(cells)
            if header:
                continue
            if _integer(cells[-1]) is None:
                what = f"{cut(cells[-1])!r} is neither an integer relevance nor a known header"
                report(DataError(f"{where}: {what}; {QRELS_COLUMNS}"))
                continue
        width, query, passage, grade = columns
        if len(cells) != width:
            what = f"{len(cells)} columns where the first line has {width}"
            report(DataError(f"{where}: {what}; {QRELS_COLUMNS}"))
            continue
        value, shown = _integer(cells[grade]), cut(cells[grade])
        if value is None:
            report(DataError(f"{where}: relevance {shown!r} is not an integer; write 0, 1, 2, ..."))
        elif not cells[query] or not cells[passage]:
            report(DataError(f"{where}: an empty id; {QRELS_COLUMNS}"))
        else:
            row = Judgement(cells[query], cells[passage], value)
            try:
                check_judgement(row)
            except ValueError as error:
                report(DataError(f"{where}: {error}"))
                continue
            yield where, row


def read_qrels(path: Path | str) -> Qrels:
    """Read judgements: TREC's four columns, or BEIR's three with or without header; plain or gzip.

    Raises:
        DataError: what ``read_judgements`` raises, two grades for one pair, a file without judgements.
    """
    return gather_qrels(read_judgements(Path(path)), str(path))


def gather_qrels(rows: Iterable[tuple[str, Judgement]], source: str) -> Qrels:
    """Judgements with their places as one mapping.

    Args:
        source: what to call it in messages.

    Raises:
        DataError: two grades for one pair, or no judgement at all.
    """
    qrels: Qrels = {}
    for where, row in rows:
        grades = qrels.setdefault(row.query, {})
        if grades.setdefault(row.passage, row.grade) != row.grade:
            raise contradiction(where, row, grades[row.passage])
    if not qrels:
        raise no_judgements(source)
    return qrels


def no_judgements(source: str) -> DataError:
    """The error for a file or split that judges nothing."""
    return DataError(f"{source} has no questions; add judgements or leave it out")


def contradiction(where: str, row: Judgement, earlier: int) -> DataError:
    """The error for a pair that has two grades."""
    return DataError(
        f"{where}: {row.query!r} and {row.passage!r} were judged {earlier} before; keep one line"
    )


def _cells(line: str) -> list[str]:
    """The line's columns: by tabs if it has any, else by blanks; TREC's four may have both between them."""
    cells = [cell.strip() for cell in line.split("\t")]
    blanks = BLANK.split(line.strip(" \t"))
    return blanks if len(cells) == 1 or (len(cells) == 2 and len(blanks) == 4) else cells


def _columns_of(cells: list[str]) -> tuple[Columns, bool]:
    """What the file's first line says of its columns, and whether it is a header."""
    places = [
        [i for i, cell in enumerate(cells) if cell.lower() in known]
        for known in (QUERY_NAMES, PASSAGE_NAMES, GRADE_NAMES)
    ]
    if all(len(found) == 1 for found in places):
        return (len(cells), places[0][0], places[1][0], places[2][0]), True
    return (len(cells), 0, len(cells) - 2, len(cells) - 1), False


def _integer(cell: str) -> int | None:
    try:
        return int(cell)
    except ValueError:
        return None
