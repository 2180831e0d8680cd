"""Judgement files: BEIR's three columns with or without header, and TREC's four."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ernie_search._util.trec import GRADES, cut
from ernie_search.data.collection import Judgement, Report, stop
from ernie_search.data.readers import read_lines
from ernie_search.errors import DataError
from ernie_search.types import Qrels, check_id

QUERY_NAMES = frozenset({"query-id", "query_id", "queryid", "qid", "query", "topic"})
PASSAGE_NAMES = frozenset(
    {
        "corpus-id",
        "corpus_id",
        "corpusid",
        "docid",
        "doc-id",
        "doc_id",
        "docno",
        "pid",
        "passage-id",
        "passage_id",
        "doc",
    }
)
GRADE_NAMES = frozenset({"score", "relevance", "rel", "label", "grade", "judgement", "judgment"})
FORMS = "query-id, corpus-id, score, separated by tabs (or TREC's four columns: query 0 passage score)"
TOO_LARGE = "does not fit into 32 bits; write a smaller grade: 0, 1, 2, ..."

Columns = tuple[int, int, int, int]
"""How many columns, and which of them are query, passage and grade."""


def as_integer(cell: str) -> int | None:
    """The cell as a whole number, or None."""
    try:
        return int(cell)
    except ValueError:
        return None


def cells_of(line: str) -> list[str]:
    """The line's columns: by tabs if it has any, else by spaces."""
    return [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()


def columns_of(cells: list[str]) -> tuple[Columns, bool] | None:
    """What the file's first line says of its columns and whether it is a header; None if it is neither."""
    names = [cell.lower() for cell in cells]
    places = [
        [i for i, name in enumerate(names) if name in known]
        for known in (QUERY_NAMES, PASSAGE_NAMES, GRADE_NAMES)
    ]
    if len(cells) in (3, 4) and all(len(found) == 1 for found in places):
        return (len(cells), places[0][0], places[1][0], places[2][0]), True
    if len(cells) in (3, 4) and as_integer(cells[-1]) is not None:
        return (len(cells), 0, len(cells) - 2, len(cells) - 1), False
    return None


def check_judgement(row: Judgement) -> None:
    """Refuse a judgement that run files and measures cannot hold.

    Raises:
        ValueError: an id with white space (see ``check_id``), or a grade that is none of 32 bits.
    """
    check_id(row.query, "query-id")
    check_id(row.passage, "corpus-id")
    if row.grade not in GRADES:
        raise ValueError(f"relevance {cut(str(row.grade))!r} {TOO_LARGE}")


def read_judgements(path: Path, report: Report = stop) -> Iterator[tuple[str, Judgement]]:
    """Each judgement with its place ("dev.tsv:12").

    Raises:
        DataError: columns that cannot be told apart, a wrong number of them, an id that is empty or holds
            white space, a grade that is not an integer, or none of 32 bits.
    """
    columns: Columns | None = None
    for number, line in read_lines(path, report):
        where, cells = f"{path}:{number}", cells_of(line)
        if columns is None:
            told = columns_of(cells)
            if told is None and len(cells) in (3, 4):
                report(
                    DataError(
                        f"{where}: {cells[-1]!r} is neither an integer relevance nor a known header; {FORMS}"
                    )
                )
                columns = (len(cells), 0, len(cells) - 2, len(cells) - 1)
                continue
            if told is None:
                report(DataError(f"{where}: {len(cells)} columns; a qrels file has {FORMS}"))
                return
            columns, header = told
            if header:
                continue
        width, query, passage, grade = columns
        if len(cells) != width:
            report(DataError(f"{where}: {len(cells)} columns where the first line has {width}; {FORMS}"))
            continue
        value = as_integer(cells[grade])
        if value is None:
            report(
                DataError(f"{where}: relevance {cut(cells[grade])!r} is not an integer; write 0, 1, 2, ...")
            )
            continue
        if not cells[query] or not cells[passage]:
            report(DataError(f"{where}: an empty id; {FORMS}"))
            continue
        row = Judgement(cells[query], cells[passage], value)
        try:
            check_judgement(row)
        except ValueError as error:
            report(DataError(f"{where}: {error}"))
            continue
        yield where, row


def contradiction(where: str, row: Judgement, earlier: int) -> DataError:
    """The error for a pair that has two grades."""
    return DataError(
        f"{where}: {row.query!r} and {row.passage!r} were judged {earlier} before; keep one line"
    )


def gather(rows: Iterable[tuple[str, Judgement]], what: str) -> Qrels:
    """Located judgements as one mapping; DataError for two grades of one pair, or for no rows of ``what``."""
    qrels: Qrels = {}
    for where, row in rows:
        grades = qrels.setdefault(row.query, {})
        if grades.setdefault(row.passage, row.grade) != row.grade:
            raise contradiction(where, row, grades[row.passage])
    if not qrels:
        raise DataError(f"{what} has no questions; add judgements or leave the split out")
    return qrels


def read_qrels(path: Path) -> Qrels:
    """The whole file, in its order.

    Raises:
        DataError: what ``read_judgements`` raises, two grades for one pair, a file without judgements.
    """
    return gather(read_judgements(path), f"{path}: the split")
