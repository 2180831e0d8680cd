"""Records of text files as streams: JSON lines, a large JSON array, rows of cells; each with its place."""

import codecs
import csv
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from ernie_search._util.files import JSON
from ernie_search._util.lines import (
    BOM,
    UTF16,
    BrokenOffError,
    Placed,
    Report,
    closed_at_end,
    damaged,
    open_bytes,
    parsed,
    read_all_lines,
    read_lines,
    stop,
)
from ernie_search.errors import DataError

Item = TypeVar("Item")

JSON_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}

WHITESPACE = re.compile(r"[ \t\r\n]*")
"""What JSON allows between values."""
CHUNK = 1 << 20
"""Bytes read at a time."""
TAIL = 16
"""Characters before the end of what was read in which an error may only mean that the rest is missing: the
longest literal or escape of JSON is shorter."""
LONGEST_CELL = 1 << 24
"""Characters. A cell beyond is a quote that was never closed, which would swallow the whole file."""

DELIMITERS = ("\t", ",", ";", "|")


def json_name(value: Any) -> str:
    """JSON's name of the value's type."""
    return JSON_NAMES.get(type(value), "a number")


def as_object(value: Any) -> dict[str, Any]:
    """The value, which has to be a JSON object; ValueError says what it is instead."""
    if not isinstance(value, dict):
        raise ValueError(f"{json_name(value)} where an object belongs; get or write the file again")
    return value


def object_of(line: str) -> dict[str, Any]:
    """The JSON object of a line; ValueError says in one line what is wrong with it."""
    try:
        value = JSON.decode(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON ({error.msg} at column {error.colno}); one object a line") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"JSON that cannot be read ({str(error).splitlines()[0]})") from None
    return as_object(value)


def read_objects(path: Path, parse: Callable[[dict[str, Any]], Item], report: Report = stop) -> Placed[Item]:
    """Each line's object as ``parse`` makes it, with its place ("corpus.jsonl:12").

    Args:
        parse: raises ValueError with what is wrong, which becomes a DataError with file and line.

    Raises:
        DataError: what ``read_lines`` raises, broken JSON, a line that is no object, what ``parse`` refuses.
    """
    lines = ((f"{path}:{number}", line) for number, line in read_lines(path, report))
    return parsed(lines, lambda line: parse(object_of(line)), report)


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
        """Drop what was used and read more; DataError for a damaged file, or bytes that are not UTF-8."""
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


def read_array(path: Path, parse: Callable[[dict[str, Any]], Item], report: Report = stop) -> Placed[Item]:
    """Each object of a JSON array (or of a file with one object after the other) as ``parse`` makes it.

    Memory: the largest object, and a chunk of 1 MB.

    Args:
        path: plain or .gz.
        parse: raises ValueError with what is wrong, which becomes a DataError with file and line.

    Raises:
        DataError: missing or cut file, not UTF-8, broken JSON (after which nothing more can be read), an
            element that is no object, what ``parse`` refuses.
    """

    def elements() -> Placed[Any]:
        with open_bytes(path) as handle:
            try:
                for line, value in values(Window(path, handle)):
                    yield f"{path}:{line}", value
            except BrokenOffError as error:
                report(error)

    return parsed(elements(), lambda value: parse(as_object(value)), report)


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


def allow_long_cells() -> None:
    """Let the csv module read cells up to :data:`LONGEST_CELL`.

    Its limit is global, so each reader sets it for itself: what a file gives must not depend on which other
    file was read before it.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))


def read_rows(path: Path, delimiter: str, *, quoted: bool = True, report: Report = stop) -> Placed[list[str]]:
    """The cells of each row that is not blank, with its place (the line on which it begins).

    Args:
        path: plain or .gz, UTF-8.
        delimiter: one character.
        quoted: a cell may stand in double quotes, and then hold delimiters and line ends. If not, a quote is
            a character like others (as in MS MARCO's files).

    Raises:
        DataError: what reading the lines raises; a quote that is never closed.
    """
    lines = read_all_lines(path, report)
    with closed_at_end(lines):
        if not quoted:
            for number, line in lines:
                if line.strip():
                    yield f"{path}:{number}", line.split(delimiter)
            return
        allow_long_cells()
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
                    DataError(
                        f"{path}:{feed.start}: {what}; close it, or double a quote that is meant as one"
                    )
                )
                continue
            if any(cell.strip() for cell in cells):
                yield f"{path}:{feed.start}", cells


def delimiter_of(path: Path) -> str:
    """The character that separates the first line's cells; a tab where the file is called .tsv."""
    if ".tsv" in path.suffixes:
        return "\t"
    _, line = next(read_all_lines(path), (0, ""))
    return max(DELIMITERS[1:] if "\t" not in line else DELIMITERS, key=line.count)
