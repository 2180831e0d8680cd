"""DPR's questions with answers (nq-test.qa.csv): a question, a tab, a list of answers as Python writes it."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ernie_search.data.collection import Report, stop
from ernie_search.data.columns import make_query
from ernie_search.data.delimited import read_rows
from ernie_search.data.examples import text_id
from ernie_search.errors import DataError
from ernie_search.types import Query

ENDINGS = (".csv", ".csv.gz")


def is_qas(path: Path) -> bool:
    """Whether the file's name is that of such a file; other files of answers are JSON lines."""
    return path.name.endswith(ENDINGS)


def answer_list(text: str) -> list[str]:
    """The answers of a cell: a list as Python or JSON writes it; ValueError says what is wrong with it."""
    value: Any = None
    for read in (ast.literal_eval, json.loads):  # DPR's own script calls eval, which would run anything
        try:
            value = read(text.strip())
            break
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    if not isinstance(value, list) or not value:
        raise ValueError(f"{text[:40]!r} is no list of answers, as ['1912', 'in 1912']; mend the line")
    if not all(isinstance(one, str) and one.strip() for one in value):
        raise ValueError("an answer is empty or no text; put each in quotes")
    return value


def read_qas(path: Path, report: Report = stop) -> Iterator[tuple[str, Query]]:
    """Each question with its place; its answers are the field ``answers``.

    The id is made of the text, so it is that of the same question in DPR's training files. A question that
    stands there twice counts twice, as in DPR: the second has ``-2`` after its id.

    Raises:
        DataError: a line without two columns, an empty question, what is no list of answers; an empty file.
    """
    seen: dict[str, int] = {}
    for number, cells in read_rows(path, "\t", report=report):
        where = f"{path}:{number}"
        if len(cells) != 2:
            report(
                DataError(f"{where}: {len(cells)} columns where question and answers belong, between a tab")
            )
            continue
        try:
            identifier = text_id(cells[0])
            times = seen[identifier] = seen.get(identifier, 0) + 1
            answers = {"answers": answer_list(cells[1])}
            query = make_query(identifier if times == 1 else f"{identifier}-{times}", cells[0], answers)
        except ValueError as error:
            report(DataError(f"{where}: {error}"))
            continue
        yield where, query
    if not seen:
        report(DataError(f"{path}: holds no question; a line is a question, a tab, ['answer', ...]"))
