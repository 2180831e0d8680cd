"""Which files of a folder are documents."""

import contextlib
import errno
import os
import sys
from pathlib import Path

import pytest

from ernie_search.data.files import walk as walk_module
from ernie_search.data.files.walk import walk
from ernie_search.errors import DataError


def put(root: Path, *names: str, text: str = "words\n") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root: Path, **options: object) -> list[str]:
    return [one.path for one in walk(root, **options).files]


def reasons(root: Path, **options: object) -> dict[str, str]:
    return {one.path: one.reason for one in walk(root, **options).skipped}


def test_hidden_files_and_products_of_tools_are_left_out(tmp_path):
    put(tmp_path, "a.md", "sub/b.txt", ".hidden.md", ".git/config", "node_modules/x.js", "__pycache__/y.py")
    put(tmp_path, "env/pyvenv.cfg", "env/lib/z.py", "yarn.lock", "app.min.js", "i/index.json")
    put(tmp_path, "i/commits/1.json", "s/manifest.json", "s/shard-00000.parquet")
    assert found(tmp_path) == ["a.md", "sub/b.txt"]


def test_the_order_is_that_of_paths_and_sizes_are_known(tmp_path):
    put(tmp_path, "b/c.md", "b.md", "a.md")
    files = walk(tmp_path).files
    assert [one.path for one in files] == ["a.md", "b.md", "b/c.md"]
    assert {(one.size, one.mtime_ns) for one in files} == {
        (6, (tmp_path / name).stat().st_mtime_ns) for name in ("a.md", "b.md", "b/c.md")
    }


def test_gitignore_files_count_nested_ones_too_and_the_nearest_decides(tmp_path):
    put(tmp_path, "a.log", "keep.log", "build/x.md", "docs/b.log", "docs/c.md", "docs/build/y.md", "d/tmp.md")
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n/build/\n")
    (tmp_path / "docs" / ".gitignore").write_text("!b.log\nc.md\n")
    (tmp_path / "d" / ".gitignore").write_text("tmp.*\n")
    assert found(tmp_path) == ["docs/b.log", "docs/build/y.md", "keep.log"]


def test_the_gitignore_of_the_repository_around_counts(tmp_path):
    put(tmp_path, ".git/HEAD", "docs/a.md", "docs/_build/b.md", "docs/deep/_build/c.md")
    (tmp_path / ".gitignore").write_text("docs/_build/\ndeep/_build\n")
    assert found(tmp_path / "docs") == ["a.md", "deep/_build/c.md"]
    (tmp_path / ".gitignore").write_text("docs/\n")  # named all the same, so it is meant
    assert len(found(tmp_path / "docs")) == 3


def test_without_a_repository_nothing_above_counts(tmp_path):
    put(tmp_path, "docs/a.md")
    (tmp_path / ".gitignore").write_text("*.md\n")
    assert found(tmp_path / "docs") == ["a.md"]


def test_links_inside_come_once_and_loops_end(tmp_path):
    root = tmp_path / "docs"
    put(root, "real/a.md", "b.md")
    (root / "again").symlink_to(root / "real")
    (root / "b2.md").symlink_to("b.md")
    (root / "real" / "loop").symlink_to(root)
    (root / "real" / "self").symlink_to("self")
    assert found(root) == ["b.md", "real/a.md"]
    assert reasons(root) == {"real/self": "a link that leads nowhere"}


def test_what_a_link_alone_reaches_is_taken(tmp_path):
    put(tmp_path, ".store/deep/a.md")
    (tmp_path / "shown").symlink_to(".store")
    assert found(tmp_path) == ["shown/deep/a.md"]


def test_links_that_lead_out_are_named(tmp_path):
    put(tmp_path, "docs/a.md", "secret/b.md")
    (tmp_path / "docs" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "docs" / "out.md").symlink_to(tmp_path / "secret" / "b.md")
    assert found(tmp_path / "docs") == ["a.md"]
    assert set(reasons(tmp_path / "docs").values()) == {"a link that leads out of the folder"}


def test_empty_and_large_files_are_named(tmp_path):
    put(tmp_path, "a.md", "big.md", "empty.md")
    (tmp_path / "empty.md").write_text("")
    with open(tmp_path / "big.md", "wb") as handle:
        handle.truncate(2 << 30)  # sparse: two gigabytes that take no disk
    assert found(tmp_path) == ["a.md"]
    assert reasons(tmp_path) == {"big.md": "larger than 50 MB", "empty.md": "empty"}


def test_excluded_folders_and_special_files(tmp_path):
    put(tmp_path, "a.md", "out/b.md")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.md")
    assert found(tmp_path, exclude=[tmp_path / "out"]) == ["a.md"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.md")).write_text("words")
    assert found(tmp_path) == ["caf\udce9.md"]


def test_a_single_file_and_none(tmp_path):
    put(tmp_path, ".hidden.md")
    assert found(tmp_path / ".hidden.md") == [".hidden.md"]
    with pytest.raises(DataError, match="no such file or folder"):
        walk(tmp_path / "absent")


def test_what_the_system_refuses_is_named_and_may_pass(tmp_path, monkeypatch):
    put(tmp_path, "a.md", "b.md", "c/d.md", "e/f.md")
    (tmp_path / "link.md").symlink_to(tmp_path / "a.md")
    (tmp_path / "lost.md").symlink_to(tmp_path / "none.md")
    scan, resolve = os.scandir, Path.resolve

    class Entry:
        def __init__(self, entry):
            self.entry, self.name, self.path = entry, entry.name, entry.path

        def __getattr__(self, name):
            return getattr(self.entry, name)

        def stat(self):
            if self.name == "b.md":
                raise PermissionError(errno.EACCES, "Permission denied")
            return self.entry.stat()

    @contextlib.contextmanager
    def refusing(place):
        if Path(place).name == "c":
            raise OSError(errno.EIO, "Input/output error")
        if Path(place).name == "e":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        with scan(place) as entries:
            yield map(Entry, entries)

    def resolving(path, strict=False):
        if path.name == "link.md":
            raise PermissionError(errno.EACCES, "Permission denied")
        return resolve(path, strict)

    walker = walk_module._Walker(tmp_path.resolve(), [], 1 << 20, walk_module.Walk())
    monkeypatch.setattr(walk_module.os, "scandir", refusing)
    monkeypatch.setattr(Path, "resolve", resolving)
    walker.folder(walker.root, "", [])
    walker.links()
    assert [one.path for one in walker.found.files] == ["a.md"]
    assert sorted((one.path, one.reason, one.passing) for one in walker.found.skipped) == [
        ("b.md", "cannot be read (Permission denied)", True),
        ("c/", "cannot be read (Input/output error)", True),
        ("link.md", "cannot be read (Permission denied)", True),
        ("lost.md", "a link that leads nowhere", False),
    ]
