"""Questions and answers from files beside a run: JSON lines, or tab-separated columns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ernie_search.errors import DataError
from ernie_search.files import JSON
from ernie_search.trec_lines import read_lines
from ernie_search.types import Query, checked_query


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
