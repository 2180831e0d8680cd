"""A folder as a collection, and a snapshot of it that knows what changed."""

import errno
import hashlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import pytest

from ernie_search.data import open_collection, validate
from ernie_search.data.files import FilesSnapshot, State, open_files, read_state
from ernie_search.data.files import reading as reading_module
from ernie_search.errors import DataError


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("# A\n\nfirst\n")
    (folder / "sub" / "b.txt").write_text("second\n")
    rest(folder)
    return folder


def rest(folder: Path, seconds: float = 100) -> None:
    """Let every file be old."""
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def test_a_folder_and_a_file_need_no_format(docs):
    for source in (f"files:{docs}", str(docs)):
        collection = open_collection(source)
        validate(collection)
        assert [one.text for one in collection.passages()] == ["first", "second"]
        assert (collection.name, collection.splits, collection.source) == ("docs", [], f"files:{docs}")
    assert [one.text for one in open_collection(str(docs / "a.md")).passages()] == ["first"]


def test_a_folder_that_was_meant_as_beir_is_not_taken_for_documents(docs):
    (docs / "queries.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"no corpus\.jsonl .*files:"):
        open_collection(str(docs))


def test_options(docs):
    (docs / "a.md").write_text("one two three four five six")
    assert len(list(open_collection(f"files:{docs}?words=3").passages())) == 3
    for bad in ("words=0", "words=x", "word=3"):
        with pytest.raises(DataError, match="word"):
            open_collection(f"files:{docs}?{bad}")


def test_nothing_to_read(tmp_path):
    (tmp_path / "a.md").write_text("")
    with pytest.raises(DataError, match=r"no file that can be read \(1 skipped: a\.md \(empty\)\)"):
        list(open_files(str(tmp_path)).passages())
    with pytest.raises(DataError, match="no such file or folder"):
        open_files(str(tmp_path / "absent"))


def test_the_fingerprint_is_of_names_contents_and_cut(docs):
    before = open_files(str(docs)).fingerprint
    rest(docs, 500)
    assert open_files(str(docs)).fingerprint == before != open_files(f"{docs}?words=7").fingerprint
    (docs / "a.md").write_text("# A\n\nFirst\n")
    changed = open_files(str(docs)).fingerprint
    (docs / "a.md").rename(docs / "c.md")
    assert len({before, changed, open_files(str(docs)).fingerprint}) == 3


def test_a_missing_reader_is_said_once_with_the_command(docs, monkeypatch):
    (docs / "x.pdf").write_bytes(b"%PDF")
    (docs / "y.docx").write_bytes(b"PK")
    monkeypatch.setattr(reading_module.office.importlib.util, "find_spec", lambda name: None)
    snapshot = FilesSnapshot(open_files(str(docs)))
    from ernie_search.data.files import say_skipped

    said = say_skipped(snapshot.skipped)
    assert said.startswith("2 skipped: x.pdf (its reader is not installed), y.docx")
    assert said.endswith('pip install "ernie-search[files]"')
    monkeypatch.undo()
    if not all(map(importlib.util.find_spec, ("pdfminer", "mammoth"))):
        return
    later = FilesSnapshot(open_files(str(docs)), snapshot.state)  # both are looked at again
    assert all("not installed" not in one.reason for one in later.skipped)


def counted(monkeypatch) -> list[str]:
    """The files that are opened from now on."""
    opened: list[str] = []
    read = reading_module.read_stable

    def noting(place):
        opened.append(place.name)
        return read(place)

    monkeypatch.setattr(reading_module, "read_stable", noting)
    return opened


def test_a_snapshot_reads_what_changed_alone(docs, monkeypatch):
    before = FilesSnapshot(open_files(str(docs))).state
    opened = counted(monkeypatch)
    again = FilesSnapshot(open_files(str(docs)), before)
    assert (opened, again.unchanged, again.count, again.total) == ([], True, 0, 2)
    (docs / "sub" / "b.txt").unlink()
    (docs / "c.md").write_text("third")
    last = FilesSnapshot(open_files(str(docs)), before)
    assert opened == ["c.md"]
    assert [one.text for one in last.passages()] == [one.text for one in last.passages()] == ["third"]
    assert last.replaces == before.files["sub/b.txt"].ids("sub/b.txt")
    assert (last.changed, last.gone, last.unchanged) == (1, 1, False)


def test_a_file_that_changed_just_before_is_hashed(docs, monkeypatch):
    about = (docs / "a.md").stat()
    (docs / "a.md").write_text("# A\n\nFIRST\n")  # of the same size, and then of the same time
    now = time.time_ns()
    os.utime(docs / "a.md", ns=(now, now))
    before = FilesSnapshot(open_files(str(docs))).state
    (docs / "a.md").write_text("# A\n\nfirst\n")
    os.utime(docs / "a.md", ns=(now, now))
    assert (docs / "a.md").stat().st_size == about.st_size
    opened = counted(monkeypatch)
    found = FilesSnapshot(open_files(str(docs)), before)
    assert opened == ["a.md"]
    assert [one.text for one in found.passages()] == ["first"]


def test_a_touched_file_is_hashed_but_not_cut(docs):
    before = FilesSnapshot(open_files(str(docs))).state
    rest(docs, 50)
    found = FilesSnapshot(open_files(str(docs)), before)
    assert (found.unchanged, found.count, found.changed) == (True, 0, 0)
    assert found.state.files["a.md"].mtime_ns != before.files["a.md"].mtime_ns


def test_a_file_that_changes_while_it_is_read(docs, monkeypatch):
    monkeypatch.setattr(reading_module.time, "sleep", lambda seconds: None)
    read, times = Path.read_bytes, [2]

    def changing(path):
        data = read(path)
        if path.name == "a.md" and times[0]:
            times[0] -= 1
            path.write_text(f"# A\n\nagain {times[0]}\n")
        return data

    monkeypatch.setattr(Path, "read_bytes", changing)
    assert [one.text for one in open_files(str(docs)).passages()] == ["again 0", "second"]
    times[0] = 1000
    snapshot = FilesSnapshot(open_files(str(docs)))
    assert [(one.path, one.reason[:27]) for one in snapshot.skipped] == [
        ("a.md", "changes while it is read; t")
    ]
    times[0] = 0
    later = FilesSnapshot(open_files(str(docs)), snapshot.state)
    assert [one.fields["path"] for one in later.passages()] == ["a.md"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(docs):
    (docs / "a.md").chmod(0)
    snapshot = FilesSnapshot(open_files(str(docs)))
    assert [one.path for one in snapshot.skipped] == ["a.md"]


def changing(path: Path) -> bytes:
    data = READ(path)
    if path.name == "a.md":
        path.write_text("x" * (len(data) + 1))
    return data


def refusing(path: Path) -> bytes:
    if path.name == "a.md":
        raise OSError(errno.EIO, "Input/output error")
    return READ(path)


READ = Path.read_bytes


@pytest.mark.parametrize("read", [changing, refusing])
def test_what_was_read_before_stays_where_the_reason_may_pass(docs, monkeypatch, read):
    before = FilesSnapshot(open_files(str(docs))).state
    (docs / "a.md").write_text("# A\n\nnew text\n")
    os.utime(docs / "a.md", (0, 0))
    with monkeypatch.context() as patch:
        patch.setattr(reading_module.time, "sleep", lambda seconds: None)
        patch.setattr(Path, "read_bytes", read)
        found = FilesSnapshot(open_files(str(docs)), before)
        assert [one.path for one in found.skipped] == ["a.md"]
        assert (found.unchanged, found.replaces, found.total, found.changed, found.gone) == (
            True,
            [],
            2,
            0,
            0,
        )
        kept = found.state.files["a.md"]
        assert (kept.sha256, kept.passages) == (before.files["a.md"].sha256, before.files["a.md"].passages)
        again = FilesSnapshot(open_files(str(docs)), found.state)
        assert [one.path for one in again.skipped] == ["a.md"]
    (docs / "a.md").write_text("# A\n\nnew text\n")
    os.utime(docs / "a.md", (0, 0))  # whatever its time says, it is read again
    later = FilesSnapshot(open_files(str(docs)), found.state)
    assert ([one.text for one in later.passages()], later.skipped) == (["new text"], [])
    assert later.replaces == before.files["a.md"].ids("a.md")


def test_a_folder_that_cannot_be_listed_keeps_its_passages(docs, monkeypatch):
    (docs / "sub2").mkdir()
    (docs / "sub2" / "c.txt").write_text("third")
    before = FilesSnapshot(open_files(str(docs))).state
    scan = os.scandir

    def refusing(place):
        if Path(place).name == "sub":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(place)

    (docs / "sub2" / "c.txt").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        found = FilesSnapshot(open_files(str(docs)), before)
    assert [(one.path, one.reason) for one in found.skipped] == [
        ("sub/", "cannot be read (Permission denied)")
    ]
    assert (found.replaces, found.gone) == (before.files["sub2/c.txt"].ids("sub2/c.txt"), 1)
    assert found.state.files["sub/b.txt"].passages == before.files["sub/b.txt"].passages
    later = FilesSnapshot(open_files(str(docs)), found.state)
    assert (later.unchanged, later.skipped, later.gone) == (True, [], 0)
    assert later.state.files["sub/b.txt"] == before.files["sub/b.txt"]


def test_files_that_other_readers_read_are_read_again(docs, monkeypatch, tmp_path):
    before = FilesSnapshot(open_files(str(docs))).state
    before.write(tmp_path)
    place = tmp_path / "sync" / f"{before.data}.json"
    head = json.loads(place.read_text().splitlines()[1])
    del head["readers"]  # as it was written before there was one
    text = json.dumps(head)
    place.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")
    old = read_state(tmp_path, before.data)
    assert (old.readers, old.files) == (0, before.files)
    assert FilesSnapshot(open_files(str(docs)), before).count == 0
    assert FilesSnapshot(open_files(str(docs)), old).count == 2
    monkeypatch.setattr("ernie_search.data.files.snapshot.READERS_VERSION", before.readers + 1)
    found = FilesSnapshot(open_files(str(docs)), before)
    assert (found.before, found.replaces, found.count) == (None, None, 2)
    assert FilesSnapshot(open_files(str(docs)), found.state).count == 0


def test_a_state_on_disk_is_whole_or_not_there(docs, tmp_path):
    state = FilesSnapshot(open_files(str(docs))).state
    state.files["caf\udce9"] = state.files["a.md"]
    state.write(tmp_path)
    assert read_state(tmp_path, state.data) == state
    assert isinstance(state, State)
    path = tmp_path / "sync" / f"{state.data}.json"
    whole = path.read_bytes()
    for bad in (b"", whole[:-20], whole.replace(b"a.md", b"A.md"), b"{}\n{}"):
        path.write_bytes(bad)
        assert read_state(tmp_path, state.data) is None
    assert read_state(tmp_path, "other") is None
