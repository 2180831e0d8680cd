"""Lines of text files: gzip by name or by bytes, faults with their places, and reading on after them."""

import gzip
from pathlib import Path

import pytest

from ernie_search._util.lines import parsed, read_all_lines, read_lines
from ernie_search.errors import DataError


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_gzip_is_known_by_its_bytes_whatever_the_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfone\r\n\r\ntwo"))
    assert list(read_all_lines(path)) == [(1, "one"), (2, ""), (3, "two")]
    assert list(read_lines(path)) == [(1, "one"), (3, "two")]


def test_a_fault_is_reported_and_reading_continues_if_the_caller_wishes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"1\ncaf\xe9\nx\n4\n")
    errors: list[DataError] = []
    lines = ((f"a.txt:{number}", line) for number, line in read_lines(path, errors.append))
    assert list(parsed(lines, int, errors.append)) == [("a.txt:1", 1), ("a.txt:4", 4)]
    assert [str(error).partition(": ")[0].rpartition("/")[2] for error in errors] == ["a.txt:2", "a.txt:3"]
    with pytest.raises(DataError, match=r"a\.txt:2: not UTF-8 at byte 4"):
        list(read_lines(path))


def test_utf16_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one\ntwo".encode("utf-16"))
    with pytest.raises(DataError, match=r"a\.txt:1: UTF-16 text"):
        list(read_lines(tmp_path / "a.txt"))
