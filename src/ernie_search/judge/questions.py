"""The questions to judge: lines of a file, as people have them, or those of a collection."""

import json
from pathlib import Path
from typing import Any

from ernie_search._util.lines import read_lines
from ernie_search.data import open_collection
from ernie_search.data.collection import all_questions
from ernie_search.errors import DataError
from ernie_search.types import Query, checked_query


def read_questions(source: str | Path, split: str = "test") -> list[Query]:
    """The questions of a file, or of a collection where ``source`` is no file.

    Args:
        source: a file with a question a line: plain text, ``id<TAB>text``, or an object with ``text`` and, if
            it likes, ``_id``; a question without an id gets that of its line, ``q7``. Else a collection.
        split: of the collection; one without any split, as before its first judgement, gives all questions.

    Raises:
        DataError: no question, or, with the line: one that cannot be read, is empty or stands there twice.
    """
    path = Path(source)
    if not path.is_file():
        collection = open_collection(source)
        if not collection.splits:  # nothing is judged yet, which is why somebody judges
            return all_questions(collection) or collection.queries(split)
        return collection.queries(split)
    ids: dict[str, int] = {}
    texts: dict[str, int] = {}
    found = []
    for number, line in read_lines(path):
        try:
            query = _query(line, f"q{number}")
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        for what, key, seen in (("id", query.id, ids), ("question", query.text, texts)):
            if key in seen:
                raise DataError(
                    f"{path}:{number}: the same {what} as in line {seen[key]} ({key!r:.80}); remove one"
                )
            seen[key] = number
        found.append(query)
    if not found:
        raise DataError(f"{path}: holds no question; write one a line")
    return found


def _query(line: str, own_id: str) -> Query:
    """The question of a line; ValueError says what is wrong with it."""
    if line.lstrip().startswith("{"):
        row = _object(line)
        if not isinstance(row.get("text"), str):
            raise ValueError('an object without "text", or one that is no string; write {"text": "..."}')
        return checked_query(Query(row.get("_id", own_id), row["text"].strip()))
    before, tab, after = line.partition("\t")
    return checked_query(Query(before.strip(), after.strip()) if tab else Query(own_id, line.strip()))


def _object(line: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("begins as a JSON object and is none; correct the line") from None
    return row
