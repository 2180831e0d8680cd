"""Files of questions, and of answers, that come without a collection."""

from pathlib import Path
from typing import Any

from ernie_search._util.lines import parsed, read_lines
from ernie_search.data.readers import object_of, read_objects
from ernie_search.errors import DataError
from ernie_search.types import Query, checked_query


def read_queries(path: Path | str) -> list[Query]:
    """Questions from JSON lines (``_id``, ``text``; other keys are kept as fields) or ``id<TAB>text`` lines.

    Raises:
        DataError: missing, unreadable, cut or empty file, or, with the line: neither of both forms, a key
            that is missing or no string, an id twice or with white space, an empty question.
    """
    path = Path(path)
    lines = ((f"{path}:{number}", line) for number, line in read_lines(path))
    found: dict[str, Query] = {}
    for where, query in parsed(lines, _query):
        if query.id in found:
            raise DataError(f"{where}: query {query.id!r} stands there twice; remove one")
        found[query.id] = query
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
    for where, (query_id, answers) in read_objects(path, _answers):
        if query_id in found:
            raise DataError(f"{where}: query {query_id!r} stands there twice; put its answers together")
        found[query_id] = answers
    if not found:
        raise DataError(f'{path}: holds no answers; a line is {{"_id": ..., "answers": [...]}}')
    return found


def _query(line: str) -> Query:
    if line.startswith("{"):
        row = object_of(line)
        fields = {key: value for key, value in row.items() if key not in ("_id", "text")}
        return checked_query(Query(_string(row, "_id"), _string(row, "text"), fields))
    query_id, tab, text = line.partition("\t")
    if not tab:
        raise ValueError('neither an object with "_id" and "text" nor id and text between a tab')
    return checked_query(Query(query_id, text))


def _answers(row: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    query_id, answers = _string(row, "_id"), row.get("answers")
    texts = answers if isinstance(answers, list) else []
    if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
        raise ValueError(
            f"'answers' of {query_id!r} is not a list of strings that are not empty; "
            "correct it, or leave the question out"
        )
    return query_id, tuple(texts)


def _string(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key!r} is missing, empty, or no string")
    return value
