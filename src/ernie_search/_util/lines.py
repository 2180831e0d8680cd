"""Text files line by line, plain or gzip; faults have places, and the caller decides whether to continue."""

import contextlib
import gzip
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from ernie_search.errors import DataError

Raw = TypeVar("Raw")
Item = TypeVar("Item")
Placed = Iterator[tuple[str, Item]]
"""Items with their places ("corpus.jsonl:12")."""

BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8 text."""
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""What UTF-16 text begins with."""
GZIP_MAGIC = b"\x1f\x8b"


class BrokenOffError(DataError):
    """A fault after which nothing more of the file can be read: a cut .gz, broken JSON in the middle."""


Report = Callable[[DataError], None]
"""Called with each fault. If it returns, the reader skips the faulty item and continues."""


def stop(error: DataError) -> None:
    """The usual report: raise the error."""
    raise error


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, unpacked if its name or its first bytes say gzip.

    Raises:
        DataError: it is missing or cannot be read.
    """
    try:
        raw = open(path, "rb")  # noqa: SIM115 - the caller closes what is returned
        if path.suffix != ".gz" and raw.peek(2)[:2] != GZIP_MAGIC:
            return raw
        raw.close()
        return cast(IO[bytes], gzip.open(path, "rb"))
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
    """Each line that is not blank, with its number from 1; see ``read_all_lines``, whose errors it raises."""
    return ((number, line) for number, line in read_all_lines(path, report) if line.strip())


def read_all_lines(path: Path, report: Report = stop) -> Iterator[tuple[int, str]]:
    """Each line without its end, blank ones too, with its number from 1; tolerates a UTF-8 BOM and CRLF.

    Raises:
        DataError: missing file, damaged or truncated .gz, a line that is not UTF-8.
    """
    number = 0
    with open_bytes(path) as handle:
        try:
            for raw in handle:
                number += 1
                if number == 1:
                    if raw.startswith(UTF16):
                        report(BrokenOffError(f"{path}:1: UTF-16 text; save the file as UTF-8"))
                        return
                    raw = raw.removeprefix(BOM)
                try:
                    line = raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    where = f"{path}:{number}: not UTF-8 at byte {error.start + 1} of the line"
                    report(DataError(f"{where}; save the file as UTF-8"))
                    continue
                yield number, line
        except (EOFError, zlib.error, OSError) as error:
            report(damaged(path, number + 1, error))


def parsed(
    items: Iterable[tuple[str, Raw]], parse: Callable[[Raw], Item], report: Report = stop
) -> Placed[Item]:
    """Each item as ``parse`` makes it, with its place.

    Args:
        items: places ("corpus.jsonl:12") and what stands there.
        parse: raises ValueError with what is wrong, which is reported with the place.
        report: see :data:`Report`.
    """
    with closed_at_end(items):
        for where, raw in items:
            try:
                item = parse(raw)
            except ValueError as error:
                report(DataError(f"{where}: {error}"))
                continue
            yield where, item


@contextlib.contextmanager
def closed_at_end(items: Iterable[Any]) -> Iterator[None]:
    """Close a generator, and with it the file that it reads, however the block ends.

    An error keeps the generators of its traceback alive, and their files open, for as long as it is kept.
    """
    try:
        yield
    finally:
        if isinstance(items, Generator):
            items.close()
