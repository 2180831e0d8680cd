"""Text files as streams: JSON lines, a large JSON array, rows of cells; each fault has its place."""

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from ernie_search._util.files import JSON
from ernie_search.data.collection import BrokenOffError, Report, stop
from ernie_search.errors import DataError

Item = TypeVar("Item")

BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8 text."""
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""What UTF-16 text begins with."""

JSON_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}


def json_name(value: Any) -> str:
    """What JSON calls the value's type."""
    return JSON_NAMES.get(type(value), "a number")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a plain or .gz file for reading bytes; DataError if that is impossible."""
    try:
        return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else open(path, "rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def damaged(path: Path, line: int, error: Exception) -> BrokenOffError:
    """The error for a file that stopped giving bytes at a line."""
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        return BrokenOffError(f"{path}:{line}: cannot be read further ({error.strerror or error})")
    what = "ends in the middle (truncated)" if isinstance(error, EOFError) else f"is damaged ({error})"
    return BrokenOffError(f"{path}:{line}: the compressed file {what}; get the file again")


def read_lines(path: Path, report: Report = stop) -> Iterator[tuple[int, str]]:
    """Each line that is not blank, with its number from 1; tolerates a UTF-8 BOM and CRLF.

    Raises:
        DataError: as ``read_all_lines``.
    """
    return ((number, line) for number, line in read_all_lines(path, report) if line.strip())


def read_all_lines(path: Path, report: Report = stop) -> Iterator[tuple[int, str]]:
    """Each line without its end, blank ones too, with its number from 1; tolerates a UTF-8 BOM and CRLF.

    Raises:
        DataError: missing file, damaged or truncated .gz, a line that is not UTF-8.
    """
    number = 0
    with open_bytes(path) as handle:
        while True:
            number += 1
            try:
                raw = handle.readline()
            except (EOFError, zlib.error, OSError) as error:
                report(damaged(path, number, error))
                return
            if not raw:
                return
            if number == 1:
                if raw.startswith(UTF16):
                    report(BrokenOffError(f"{path}:1: UTF-16 text; save the file as UTF-8"))
                    return
                raw = raw.removeprefix(BOM)
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                where = f"{path}:{number}"
                report(
                    DataError(
                        f"{where}: not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8"
                    )
                )
                continue
            yield number, line


def read_objects(
    path: Path, parse: Callable[[dict[str, Any]], Item], report: Report = stop
) -> Iterator[tuple[str, Item]]:
    """Each line's object as ``parse`` makes it, with its place ("corpus.jsonl:12").

    Args:
        parse: raises ValueError with what is wrong, which becomes a DataError with file and line.

    Raises:
        DataError: what ``read_lines`` raises, broken JSON, a line that is no object, what ``parse`` refuses.
    """
    for number, line in read_lines(path, report):
        where = f"{path}:{number}"
        try:
            value = JSON.decode(line)
        except json.JSONDecodeError as error:
            report(
                DataError(f"{where}: broken JSON ({error.msg} at column {error.colno}); one object a line")
            )
            continue
        except (ValueError, RecursionError) as error:
            report(DataError(f"{where}: JSON that cannot be read ({str(error).splitlines()[0]})"))
            continue
        if not isinstance(value, dict):
            report(DataError(f"{where}: {json_name(value)} instead of an object with '_id' and 'text'"))
            continue
        try:
            item = parse(value)
        except ValueError as error:
            report(DataError(f"{where}: {error}"))
            continue
        yield where, item


WHITESPACE = re.compile(r"[ \t\r\n]*")
"""What JSON allows between values."""
CHUNK = 1 << 20
"""Bytes read at a time."""
TAIL = 16
"""Characters before the end of what was read in which an error may only mean that the rest is missing: the
longest literal or escape of JSON is shorter."""


class Window:
    """The part of the text that was read and not yet used, with the line that it begins on.

    Args:
        path: for messages.
        handle: gives bytes.
    """

    def __init__(self, path: Path, handle: IO[bytes]) -> None:
        self.path, self.handle = path, handle
        self.text, self.at, self.line = "", 0, 1
        self.ended = False
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._first = True

    def line_of(self, place: int) -> int:
        """The line of a place in ``text``."""
        return self.line + self.text.count("\n", 0, place)

    def more(self) -> None:
        """Drop what was used and read on; DataError for a damaged file, or bytes that are not UTF-8."""
        self.line = self.line_of(self.at)
        self.text, self.at = self.text[self.at :], 0
        try:
            # as much again as there is, so that a long object costs a few attempts, not one a chunk
            data = self.handle.read(max(CHUNK, len(self.text)))
        except (EOFError, zlib.error, OSError) as error:
            raise damaged(self.path, self.line_of(len(self.text)), error) from error
        if self._first:
            self._first = False
            if data.startswith(UTF16):
                raise BrokenOffError(f"{self.path}:1: UTF-16 text; save the file as UTF-8")
            data = data.removeprefix(BOM)
        try:
            self.text += self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line = self.line_of(len(self.text)) + error.object[: error.start].count(b"\n")
            raise BrokenOffError(f"{self.path}:{line}: not UTF-8; save the file as UTF-8") from error
        self.ended = not data

    def peek(self) -> str:
        """The next character that is no white space; "" at the end of the file."""
        while True:
            match = WHITESPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def value(self) -> Any:
        """The JSON value that begins here; DataError, with the line of the fault, if it is broken."""
        while True:
            try:
                value, self.at = JSON.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated string")
                if not self.ended and (unfinished or error.pos >= len(self.text) - TAIL):
                    self.more()
                    continue
                unfinished = unfinished or error.pos >= len(self.text.rstrip())
                where = f"{self.path}:{self.line_of(error.pos)}"
                what = "the file ends inside an object" if unfinished else f"broken JSON ({error.msg})"
                raise BrokenOffError(f"{where}: {what}; get or write the file again") from error
            except (ValueError, RecursionError) as error:
                where, what = f"{self.path}:{self.line_of(self.at)}", str(error).splitlines()[0]
                raise BrokenOffError(f"{where}: JSON that cannot be read ({what})") from error
            return value


def values(window: Window) -> Iterator[tuple[int, Any]]:
    """Each element of an array, or each of several values in a row, with the line that it begins on."""
    if not (inside := window.peek() == "["):
        while window.peek():
            yield window.line_of(window.at), window.value()
        return
    window.at += 1
    if window.peek() == "]":
        return
    while inside:
        window.peek()
        yield window.line_of(window.at), window.value()
        mark = window.peek()
        if mark not in (",", "]"):
            got = repr(mark) if mark else "the end of the file"
            where = f"{window.path}:{window.line_of(window.at)}"
            raise BrokenOffError(
                f"{where}: {got} after an object where ',' or ']' belongs; get the file again"
            )
        window.at += 1
        inside = mark == ","


def read_array(
    path: Path, parse: Callable[[dict[str, Any]], Item], report: Report = stop
) -> Iterator[tuple[str, Item]]:
    """Each object of a JSON array (or of a file with one object after the other) as ``parse`` makes it.

    Memory: the largest object, and a chunk of 1 MB.

    Args:
        path: plain or .gz.
        parse: raises ValueError with what is wrong, which becomes a DataError with file and line.

    Raises:
        DataError: missing or cut file, not UTF-8, broken JSON (after which nothing more can be read), an
            element that is no object, what ``parse`` refuses.
    """
    with open_bytes(path) as handle:
        found = values(Window(path, handle))
        while True:
            try:
                line, value = next(found)
            except StopIteration:
                return
            except BrokenOffError as error:
                report(error)
                return
            where = f"{path}:{line}"
            if not isinstance(value, dict):
                report(DataError(f"{where}: {json_name(value)} where an object belongs; get the file again"))
                continue
            try:
                item = parse(value)
            except ValueError as error:
                report(DataError(f"{where}: {error}"))
                continue
            yield where, item


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
