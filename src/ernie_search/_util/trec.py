"""TREC run files line by line and question by question: for those who measure, and those who mine."""

import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ernie_search.errors import DataError

RUN_COLUMNS = "query Q0 passage rank score tag"
GZIP_MAGIC = b"\x1f\x8b"
GRADES = range(-(2**31), 2**31)
"""The grades that judgements may have: the field's tools count them in 32 bits."""
BLANK = re.compile("[ \t]+")
"""What is between columns. ``str.split`` would also cut ids at a no-break space."""
BLANK_ENDS = " \t\r\n\ufeff"
"""What may stand around a line: also Windows' line ends, and the mark that some editors put first."""


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line that is not blank, plain or gzip.

    Raises:
        DataError: whatever stops the reading: a missing, unreadable or cut file, a line that is not UTF-8.
    """
    number = 0
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            binary: Iterable[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw
            for line in binary:
                # decoded line by line, so that a wrong byte is blamed on its own line
                text = line.decode().strip(BLANK_ENDS)
                number += 1
                if text:
                    yield number, text
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number + 1}: not UTF-8 text; convert the file to UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip data is cut or damaged after line {number}; fetch or write the file again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def read_run_lines(path: Path, *, apart: bool = True) -> Iterator[tuple[int, str, str, float]]:
    """Line number, query id, passage id and score of each line of a run.

    The score decides; a rank that is a whole number is compared with that of the question's line before.

    Args:
        path: plain or gzip.
        apart: whether other questions' lines may stand between. Then the last line of every question is
            remembered; without, memory does not grow with the questions.

    Raises:
        DataError: as ``read_lines``; a file without lines; or, with the line: a wrong number of columns, a
            score that is no number, a rank that contradicts the score.
    """
    empty = True
    current, before = "", None
    left: dict[str, tuple[str, float] | None] = {}
    for number, line in read_lines(path):
        columns = BLANK.split(line)
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
            if apart:
                left[current] = before
            current, before = query_id, left.get(query_id)
        if before is not None and _contradict(rank, score, *before):
            raise DataError(
                f"{path}:{number}: rank {rank} with score {score:g} contradicts rank {before[0]} with score "
                f"{before[1]:g} of query {query_id!r}; a higher score is better: negate distances, or write "
                "the ranks anew"
            )
        before = (rank, score)
        empty = False
        yield number, query_id, passage_id, score
    if empty:
        raise DataError(f"{path}: holds no line of a run; columns are {RUN_COLUMNS}")


def cut(text: str, length: int = 80) -> str:
    """So much of a text as a message may hold."""
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
    for number, query_id, passage_id, score in read_run_lines(path, apart=False):
        if query_id != current and scores:
            yield current, scores
            scores = {}
        current = query_id
        add_score(scores, passage_id, score, path, number, query_id)
    yield current, scores
