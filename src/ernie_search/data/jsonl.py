"""JSON-lines files, plain or .gz: one object a line, streamed, each fault with its file and line."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from ernie_search.data.collection import BrokenOffError, Report, stop
from ernie_search.errors import DataError
from ernie_search.files import JSON

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
