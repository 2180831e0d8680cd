"""Locks of files: who is kept out, who is let in, and that no part of the core needs POSIX to be imported."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_search._util.files import fsync_directory, fsync_file, lock

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ernie_search"
POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
CORE = ("_util", "data", "encoding", "evaluation", "index", "search")


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def test_one_holds_it_alone_until_its_descriptor_is_closed(tmp_path):
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    lock(first)
    lock(first)  # again is no harm
    for shared in (False, True):
        with pytest.raises(BlockingIOError):
            lock(second, shared=shared)
    os.close(first)
    lock(second)
    os.close(second)


def test_many_share_it_while_nobody_holds_it_alone(tmp_path):
    first, second, third = (opened(tmp_path / "lock") for _ in range(3))
    lock(first, shared=True)
    lock(second, shared=True, wait=True)
    with pytest.raises(BlockingIOError):
        lock(third)
    os.close(first)
    os.close(second)
    lock(third)
    os.close(third)


def test_another_process_is_kept_out_and_a_killed_one_lets_go(tmp_path):
    code = (
        "import os, sys; from ernie_search._util.files import lock\n"
        "lock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        mine = opened(tmp_path / "lock")
        with pytest.raises(BlockingIOError):
            lock(mine)
        child.kill()
        child.wait()
    lock(mine, wait=True)
    os.close(mine)


def test_files_and_folders_are_made_durable(tmp_path):
    (tmp_path / "a").write_text("a")
    fsync_file(tmp_path / "a")
    fsync_directory(tmp_path)


def test_no_module_imports_what_only_posix_has():
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path}:{node.lineno}" for name in names if name.split(".")[0] in POSIX_ONLY]
        if "import fcntl" in path.read_text(encoding="utf-8"):
            found.append(f"{path}: fcntl")
    assert found == []


WITHOUT_FCNTL = """
import importlib, os, sys, types
from pathlib import Path

sys.modules["fcntl"] = None

held = {}
fake = types.ModuleType("portalocker")  # the real one needs fcntl wherever it does not find Windows
class Flags:
    EXCLUSIVE, SHARED, NON_BLOCKING = 1, 2, 4
class LockException(Exception): pass
class AlreadyLocked(LockException): pass
def lock(descriptor, flags):
    holders = held.setdefault(os.fstat(descriptor).st_ino, {})
    others = {one: kind for one, kind in holders.items() if one != descriptor and alive(one)}
    if others and (flags & 1 or 1 in others.values()):
        raise AlreadyLocked()
    holders[descriptor] = flags & 3
def alive(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
fake.LockFlags, fake.LockException, fake.AlreadyLocked, fake.lock = Flags, LockException, AlreadyLocked, lock
sys.modules["portalocker"] = fake

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
for room in sys.argv[3:]:
    for path in sorted((source / room).rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        if parts[-1] not in ("__init__", "ray", "qdrant", "qdrant_points"):
            importlib.import_module(".".join(parts))

from ernie_search.errors import IndexStateError
from ernie_search.index import lance_files

first = lance_files.lock_for_writing(folder)
try:
    lance_files.lock_for_writing(folder)
except IndexStateError as error:
    assert "another process is writing" in str(error)
else:
    raise SystemExit("a second writer was let in")
os.close(first)
os.close(lance_files.lock_for_writing(folder))
print("well")
"""


def test_the_core_is_imported_and_locks_without_fcntl(tmp_path):
    """Only portalocker knows how a system locks; a double stands in, as it needs fcntl itself here."""
    command = [sys.executable, "-c", WITHOUT_FCNTL, str(SOURCE), str(tmp_path / "index"), *CORE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "well\n", done.stderr
