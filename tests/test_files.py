"""Files are whole or absent, and what replaces a folder can be undone."""

import errno
import os
from pathlib import Path

import pytest

from ernie_search.errors import StorageError
from ernie_search.files import (
    atomic_directory,
    atomic_write,
    did_you_mean,
    fingerprint,
    read_json,
    recover_directory,
    remembered_sha256,
    remove_unfinished,
    sha256_file,
    write_json,
)


def test_a_file_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with atomic_write(target) as handle:
        handle.write("ü")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "ü"
    with pytest.raises(ValueError, match="midway"), atomic_write(target) as handle:
        handle.write("half")
        raise ValueError("midway")
    assert target.read_text(encoding="utf-8") == "ü"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize(("code", "word"), [(errno.ENOSPC, "full"), (errno.EACCES, "not writable")])
def test_the_disk_refusing_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, word: str
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=word) as caught, atomic_write(tmp_path / "file") as handle:
        handle.write("text")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_directory(folder) as temporary:
            (temporary / "file").write_text(content)
    with pytest.raises(ValueError, match="midway"), atomic_directory(folder) as temporary:
        (temporary / "file").write_text("three")
        raise ValueError("midway")
    assert (folder / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_kill_between_the_two_renames_is_undone(tmp_path: Path) -> None:
    old = tmp_path / ".folder.old"
    old.mkdir()
    (old / "file").write_text("kept")
    recover_directory(tmp_path / "folder")
    assert (tmp_path / "folder" / "file").read_text() == "kept"
    recover_directory(tmp_path / "folder")
    assert (tmp_path / "folder" / "file").read_text() == "kept"


def test_json_round_trip_and_broken_json(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"b": [1, "ü"], "a": None})
    assert read_json(path) == {"a": None, "b": [1, "ü"]}
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(StorageError, match=r"value\.json:2"):
        read_json(path)
    with pytest.raises(StorageError, match="no such file"):
        read_json(tmp_path / "absent.json")


def test_fingerprints_follow_content_not_order(tmp_path: Path) -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint("x")) == 16
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_near_names_are_offered() -> None:
    assert did_you_mean("lerning_rate", ["learning_rate", "steps"]) == "; did you mean 'learning_rate'?"
    assert did_you_mean("zzz", ["steps", "seed"]) == "; known: seed, steps"


def test_what_killed_writes_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "run[1].trec"
    kept = [
        path,
        tmp_path / ".run.trec.1.tmp",
        tmp_path / ".run[1].trec.tmp2",
        tmp_path / "run[1].trec.9.tmp",
    ]
    for one in (*kept, tmp_path / ".run[1].trec.77.tmp", tmp_path / ".run[1].trec.8.tmp"):
        one.write_text("x")
    remove_unfinished(path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    read = []

    def hashing(path):
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr("ernie_search.files.sha256_file", hashing)
    path = tmp_path / "file"
    path.write_text("one")
    assert remembered_sha256(path) == sha256_file(path)
    remembered_sha256(path)
    assert len(read) == 2  # written just now: a change at the same moment would have the same time
    os.utime(path, (1e9, 1e9))
    first = remembered_sha256(path)
    assert remembered_sha256(path) == first == sha256_file(path)
    assert len(read) == 3
    path.write_text("two")
    os.utime(path, (1e9 + 1, 1e9 + 1))
    assert remembered_sha256(path) == sha256_file(path) != first
