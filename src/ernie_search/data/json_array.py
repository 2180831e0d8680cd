"""A large JSON file of objects, one after the other: an array is never held as a whole."""

import codecs
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from ernie_search.data.collection import BrokenOffError, Report, stop
from ernie_search.data.jsonl import BOM, UTF16, damaged, json_name, open_bytes
from ernie_search.errors import DataError
from ernie_search.files import JSON

Item = TypeVar("Item")

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
