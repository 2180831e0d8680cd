"""Files are whole or absent, and what replaces a folder can be undone."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ernie_search._util.files import (
    altered,
    atomic_directory,
    atomic_write,
    behind_link,
    checksums,
    did_you_mean,
    fingerprint,
    json_text,
    read_json,
    recover_directory,
    remembered_sha256,
    remove_unfinished,
    seen_from,
    sha256_file,
    write_json,
)
from ernie_search.errors import StorageError


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


@pytest.mark.parametrize(
    ("code", "word"),
    [
        *((code, "full") for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
        *((code, "not writable") for code in (errno.EACCES, errno.EPERM, errno.EROFS)),
        *((code, "a folder stands where") for code in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST)),
    ],
)
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
    write_json(path, {"b": [1, "ü", float("nan"), -float("inf")], "a": None})
    assert path.read_text(encoding="utf-8").startswith('{\n  "a": null,\n  "b": [')
    found = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert found == read_json(path) == {"a": None, "b": [1, "ü", None, None]}
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


def test_a_huge_name_is_near_to_nothing_at_once() -> None:
    started = time.process_time()
    assert did_you_mean("steps" * 2_000_000, ["steps", "seed"]) == "; known: seed, steps"
    assert time.process_time() - started < 0.1


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


def test_names_that_are_not_utf8_can_be_noted(tmp_path: Path) -> None:
    value = {"path": "caf\udce9", "also": "茶"}
    write_json(tmp_path / "m.json", value)
    assert read_json(tmp_path / "m.json") == value
    assert fingerprint("caf\udce9") != fingerprint("caf\udcea")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso-8859-15"])
def test_json_for_any_encoding_and_any_reader(encoding: str) -> None:
    value = {"numbers": [float("nan"), -float("inf"), 1.5], "text": "\udce9 茶 é \U0001f331"}
    text = json_text(value, encoding)
    found = json.loads(text.encode(encoding).decode(encoding), parse_constant=pytest.fail)
    assert found == {**value, "numbers": [None, None, 1.5]}
    assert ("茶" in json_text("茶", encoding)) == (encoding == "utf-8")


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    """What the system itself does at ``ulimit -f``, in a process of its own."""
    code = (
        "import resource, sys; from pathlib import Path; from ernie_search._util.files import write_json\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); write_json(Path(sys.argv[1]), 'x' * 5000)"
    )
    command = [sys.executable, "-B", "-c", code, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"ernie_search.errors.StorageError: {tmp_path / 'file'}: the disk is full for a file"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_file_belongs_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "plain").touch()
    for target in (tmp_path / "file", tmp_path / "plain" / "file"):
        with pytest.raises(StorageError, match="a folder stands where a file belongs") as caught:
            write_json(target, {})
        assert "\n" not in str(caught.value)
    with pytest.raises(StorageError, match=r"file: cannot be read \(Is a directory\)"):
        read_json(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "plain"]


@pytest.mark.parametrize("text", ["\udcff", "[" * 200_000, "9" * 5000])
def test_json_that_python_cannot_read_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "value.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(StorageError, match="not readable as JSON"):
        read_json(tmp_path / "value.json")


def test_files_stand_where_folders_are_written_for_a_moment(tmp_path: Path) -> None:
    for name in (".folder.tmp", ".folder.old", "folder"):
        (tmp_path / name).write_text("in the way")
    with atomic_directory(tmp_path / "folder") as temporary:
        (temporary / "file").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "file").read_text() == "new"


def test_a_link_to_a_folder_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    real, here = tmp_path / "disk" / "real", tmp_path / "here"
    real.mkdir(parents=True)
    here.mkdir()
    link = here / "link"
    link.symlink_to(real)
    with atomic_directory(link) as temporary:
        assert temporary.parent == real.parent  # one disk, so that a rename is one
        (temporary / "file").write_text("new")
    assert (real / "file").read_text() == "new"
    assert link.is_symlink()
    real.rename(real.with_name(".real.old"))  # a kill between the two renames
    recover_directory(link)
    assert (real / "file").read_text() == "new"
    assert seen_from(link, "../model") == tmp_path / "disk" / "model"
    assert seen_from(here / "link" / "..", "model") == tmp_path / "disk" / "model"
    assert behind_link(here) == here
    (here / "loop").symlink_to(here / "loop")
    with pytest.raises(StorageError, match="leads nowhere"), atomic_directory(here / "loop"):
        pass


def test_the_folder_that_one_stands_in_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with atomic_directory(Path()) as temporary:
        (temporary / "file").write_text("new")
    assert (tmp_path / "here" / "file").read_text() == "new"
    monkeypatch.chdir(tmp_path)


def test_checksums_name_what_was_altered(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a", "deep/b", "card"):
        (tmp_path / name).write_text(name)
    sums = checksums(tmp_path, leave_out=lambda name: name == "card")
    assert list(sums) == ["a", "deep/b"]
    (tmp_path / "card").write_text("another")
    (tmp_path / "more").write_text("more")
    assert altered(tmp_path, sums) is None
    (tmp_path / "deep" / "b").write_text("deep/c")
    assert altered(tmp_path, sums) == "deep/b was altered since it was written (its SHA-256 differs)"
    (tmp_path / "a").unlink()
    (tmp_path / "a").mkdir()
    assert altered(tmp_path, sums) == "a is missing"


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    read = []

    def hashing(path):
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr("ernie_search._util.files.sha256_file", hashing)
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
