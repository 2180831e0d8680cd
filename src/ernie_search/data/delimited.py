"""Tables as text: rows of cells between tabs or commas, quoted as spreadsheets do or not, streamed."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ernie_search.data.collection import Report, stop
from ernie_search.data.jsonl import read_all_lines
from ernie_search.errors import DataError

LONGEST_CELL = 1 << 24
"""Characters. A cell beyond is a quote that was never closed, which would swallow the whole file."""

DELIMITERS = ("\t", ",", ";", "|")

Row = tuple[int, list[str]]
"""A row's line (that of its beginning) and its cells."""


class Feed:
    """Lines for the csv module, remembering where the current row begins."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self.lines = lines
        self.start = 0

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> str:
        number, line = next(self.lines)
        self.start = self.start or number
        return f"{line}\n"


def read_rows(path: Path, delimiter: str, *, quoted: bool = True, report: Report = stop) -> Iterator[Row]:
    """Each row that is not blank.

    Args:
        path: plain or .gz, UTF-8.
        delimiter: one character.
        quoted: a cell may stand in double quotes, and then hold delimiters and line ends. If not, a quote is
            a character like others (as in MS MARCO's files).

    Raises:
        DataError: what reading the lines raises; with the row's line, a quote that is not closed.
    """
    lines = read_all_lines(path, report)
    if not quoted:
        for number, line in lines:
            if line.strip():
                yield number, line.split(delimiter)
        return
    # The limit is the csv module's own and global; its 128 KB are too few for long documents.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    feed = Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.start = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = str(error)
            if "limit" in what or "unexpected end" in what:
                what = "a quote that is never closed"
            report(
                DataError(f"{path}:{feed.start}: {what}; close it, or double a quote that is meant as one")
            )
            continue
        if any(cell.strip() for cell in cells):
            yield feed.start, cells


def delimiter_of(path: Path) -> str:
    """What the first line separates its cells by; a tab where the file is called .tsv."""
    if ".tsv" in path.suffixes:
        return "\t"
    _, line = next(read_all_lines(path), (0, ""))
    return max(DELIMITERS[1:] if "\t" not in line else DELIMITERS, key=line.count)
