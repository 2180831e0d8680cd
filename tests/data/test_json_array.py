"""The incremental JSON reader gives what json.load gives, and says where a file is broken."""

import gzip
import json
import re

import pytest

from ernie_search.data import readers as json_array
from ernie_search.data.readers import read_array
from ernie_search.errors import DataError

ROWS = [{"n": n, "text": "é水\n\"'\\" * n, "more": [{"x": None, "y": -1.5e3, "z": True}]} for n in range(30)]


def read(path):
    return list(read_array(path, lambda row: row))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(json_array, "CHUNK", 7)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_as_json_load(tmp_path, indent, ascii_only):
    path = tmp_path / "a.json"
    text = json.dumps(ROWS, indent=indent, ensure_ascii=ascii_only)
    path.write_text(text, encoding="utf-8")
    found = read(path)
    assert [row for _, row in found] == ROWS
    starts = [m.start() for m in re.finditer(r'\{\s*"n"', text)]
    assert [where for where, _ in found] == [f"{path}:{text.count(chr(10), 0, s) + 1}" for s in starts]


def test_bom_crlf_gz_and_objects_in_a_row(tmp_path):
    path = tmp_path / "a.json.gz"
    text = json.dumps(ROWS, indent=1).replace("\n", "\r\n")
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    assert [row for _, row in read(path)] == ROWS
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    assert [row for _, row in read(path)] == ROWS


@pytest.mark.parametrize(
    ("text", "rows"), [("[]", []), (" [ \n ] ", []), ("", []), ('[{"a": 1}]', [{"a": 1}])]
)
def test_small_ones(tmp_path, text, rows):
    path = tmp_path / "a.json"
    path.write_text(text)
    assert [row for _, row in read(path)] == rows


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b'[\n{"a": 1},\n{"a": }\n]', 3, "broken JSON"),
        (b'[\n{"a": 1}\n{"a": 2}]', 3, "'{' after an object"),
        (b'[{"a": 1},\n', 2, "ends inside"),
        (b'[{"a": 1}\n', 2, "the end of the file after an object"),
        (b'[{"a":\n "never closed', 2, "ends inside"),
        (b'[{"a": 1},\n7]', 2, "a number where an object belongs"),
        (b'[{"a": 1},\n{"a": "caf\xe9"}]', 2, "not UTF-8"),
        ('[{"a": 1}]'.encode("utf-16"), 1, "UTF-16"),
        (b'[{"a": 1},' + b"[" * 100_000, 1, "cannot be read"),
    ],
)
def test_faults_name_the_line(tmp_path, content, line, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}:{line}: .*{re.escape(message)}[^\n]*$"):
        read(path)


def test_a_cut_gz(tmp_path):
    path = tmp_path / "a.json.gz"
    whole = gzip.compress(json.dumps([{"n": n * 7919} for n in range(3000)], indent=1).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.json\.gz:\d{3,}: the compressed file ends in the middle"):
        read(path)


def test_what_parse_refuses_is_skipped_if_wished(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"a": 1}, {"a": 0}, {"a": 3}], indent=1))

    def parse(row):
        if not row["a"]:
            raise ValueError("nothing")
        return row["a"]

    errors = []
    assert [item for _, item in read_array(path, parse, errors.append)] == [1, 3]
    assert [str(error) for error in errors] == [f"{path}:5: nothing"]


def test_streams(tmp_path):
    """What is broken at the end is not met before it is asked for."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS)[:-40])
    rows = read_array(path, lambda row: row)
    assert next(rows)[1] == ROWS[0]
    with pytest.raises(DataError):
        list(rows)
