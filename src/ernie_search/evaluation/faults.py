"""What a run file must not hold beside judgements of its own: questions and passages that nobody knows."""

from collections.abc import Collection, Iterable
from pathlib import Path

from ernie_search.errors import DataError
from ernie_search.trec_lines import read_run_lines
from ernie_search.types import Run


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
