"""Commits of an index on disk: which files, with which checksums, and who may write, read or remove them.

LanceDB writes new files beside old ones and never fsyncs. A commit here is one small JSON file that names a
version of its table and every file's SHA-256; ``index.json`` says which commit counts, and is replaced
atomically after everything that it needs is on the disk. Whatever no commit names is a killed writer's, and
the next writer removes it.

    index.json   commits/00000007.json   passages.lance/...   codec.npz   projection.npz
    statistics-00000007.bin   writer.lock
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ernie_search._util.files import (
    atomic_write,
    fingerprint,
    fsync_directory,
    fsync_file,
    lock,
    sha256_file,
    storage_errors,
)
from ernie_search.errors import IndexStateError
from ernie_search.index.projection import PROJECTION

FORMAT = 2
"""Goes up when an index written by an older version can no longer be read."""
INDEX_FILE, COMMITS, LOCK, CODEC = "index.json", "commits", "writer.lock", "codec.npz"
TABLE = "passages"
DATA = f"{TABLE}.lance"
STATISTICS = "statistics-*.bin"
"""Numbered by the commit that they were counted for, since no file changes once a commit names it."""
HINT = "latest_version_hint.json"
"""LanceDB's note of its newest version: changes in place, and nothing is lost without it."""
HASH_THREADS = 4
"""SHA-256 lets go of the GIL; more threads than this wait for the disk."""


@dataclass(slots=True)
class Commit:
    """One durable state of an index.

    Attributes:
        number: counts up.
        version: of LanceDB's table.
        passages, tokens: counts, to verify.
        written_at: seconds since 1970, before the version was written; what is younger is not pruned.
        pruning: files of older versions are being removed, so some of ``files`` may be missing.
        spec: the index's, as JSON.
        files: path below the index's folder -> size in bytes and SHA-256.
        origin: where the passages come from, as JSON; None if that is not known.
        uncounted: passages added, replaced or removed since its statistics were counted.
    """

    number: int
    version: int
    passages: int
    tokens: int
    written_at: float
    pruning: bool
    spec: dict[str, Any]
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    origin: dict[str, str] | None = None
    uncounted: int = 0

    @property
    def statistics(self) -> str | None:
        """The name of the newest file of statistics; None in an index of before there were any."""
        return max((name for name in self.files if fnmatch(name, STATISTICS)), default=None)


def is_index(folder: Path) -> bool:
    """Whether an index was made here."""
    return (folder / INDEX_FILE).is_file()


def check_kinds(folder: Path) -> None:
    """Refuse a folder where one of an index's files belongs, and the other way round.

    Raises:
        IndexStateError: naming it.
    """
    for name in (INDEX_FILE, LOCK, CODEC, PROJECTION):
        if (folder / name).is_dir():
            raise IndexStateError(f"{folder / name}: is a folder, where a file belongs; move it away")
    for name in (COMMITS, DATA):
        if (folder / name).is_file():
            raise IndexStateError(f"{folder / name}: is a file, where a folder belongs; move it away")


def read_commit(folder: Path) -> Commit:
    """The commit that counts.

    Raises:
        IndexStateError: there is no index, or its own files are damaged.
    """
    pointer = folder / INDEX_FILE
    check_kinds(folder)
    if not pointer.is_file():
        raise IndexStateError(
            f"{folder}: no {INDEX_FILE}, so not an index; make one with: ernie-search index"
        )
    value = _whole_json(pointer)
    if value.get("format") != FORMAT:
        raise IndexStateError(
            f"{pointer}: format {value.get('format')!r}, this version reads {FORMAT}; "
            "make the index again: ernie-search index SOURCE --output DIR"
        )
    if value.pop("check", "") != fingerprint(value):
        raise IndexStateError(
            f"{pointer}: its bytes changed since it was written; restore the index from a copy"
        )
    try:
        path = commit_path(folder, int(value["commit"]))
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raw = b""
        if hashlib.sha256(raw).hexdigest() != value["sha256"]:
            if int(_whole_json(pointer).get("commit", 0)) != int(value["commit"]):
                return read_commit(folder)  # a writer committed between our two looks
            raise IndexStateError(f"{path}: missing, or its bytes changed; restore the index from a copy")
        content = json.loads(raw)
        files = {name: (int(size), str(digest)) for name, (size, digest) in content.pop("files").items()}
        return Commit(**content, files=files)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # whole, but not written by us
        raise IndexStateError(
            f"{pointer}: not an index's ({error}); restore the index from a copy"
        ) from error


def write_commit(folder: Path, commit: Commit) -> None:
    """Make ``commit`` the one that counts; its files must be on the disk already."""
    path = commit_path(folder, commit.number)
    with atomic_write(path) as handle:
        handle.write(_canonical(asdict(commit)))
    pointer = {"format": FORMAT, "commit": commit.number, "sha256": sha256_file(path)}
    with atomic_write(folder / INDEX_FILE) as handle:
        handle.write(_canonical(pointer | {"check": fingerprint(pointer)}))


def commit_path(folder: Path, number: int) -> Path:
    """``commits/00000007.json``."""
    return folder / COMMITS / f"{number:08d}.json"


def checksums(folder: Path, known: Mapping[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of every file that a commit now would need; new ones are made durable first.

    LanceDB never changes a file that it finished, so what ``known`` has is not read again.
    """
    with storage_errors(folder):
        (folder / DATA / "_versions" / HINT).unlink(missing_ok=True)
        names = sorted(_data_files(folder))
        new = [name for name in names if name not in known]
        for name in new:
            fsync_file(folder / name)
        for directory in sorted({(folder / name).parent for name in new}):
            fsync_directory(directory)
            fsync_directory(directory.parent)
        fsync_directory(folder)
        found = {name: known[name] for name in names if name in known}
        with ThreadPoolExecutor(HASH_THREADS) as threads:
            sizes = [(folder / name).stat().st_size for name in new]
            digests = threads.map(lambda name: sha256_file(folder / name), new)
            found |= dict(zip(new, zip(sizes, digests, strict=True), strict=True))
    return found


def damaged_files(
    folder: Path,
    commit: Commit,
    *,
    all_of_them: bool = True,
    known: Mapping[str, tuple[int, str]] | None = None,
) -> list[str]:
    """A line for every file of a commit that is missing or has other bytes than were written.

    Args:
        folder: of the index.
        commit: whose files.
        all_of_them: without it only those that say what the index is: they are read to open it.
        known: files that were checked before, with their sizes and SHA-256; files never change.
    """
    # LanceDB counts the files of versions down from the largest number, and did count them up.
    numbers = (commit.version, 2**64 - 1 - commit.version)
    opening = {CODEC, PROJECTION, *(f"{DATA}/_versions/{number}.manifest" for number in numbers)}
    about_indexes = re.compile(rf"{re.escape(DATA)}/_indices/[^/]+/metadata\.lance")
    files = {
        name: entry
        for name, entry in commit.files.items()
        if (all_of_them or name in opening or about_indexes.fullmatch(name))
        and (known or {}).get(name) != entry
    }
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        problems = threads.map(lambda item: _problem(folder, item[0], item[1], commit.pruning), files.items())
        return [one for one in problems if one is not None]


def roll_back(folder: Path, commit: Commit) -> None:
    """Remove every file that the commit does not name: the remains of a writer that was killed."""
    with storage_errors(folder):
        for name in _data_files(folder):
            if name not in commit.files:
                (folder / name).unlink()
        for place in (folder, folder / COMMITS):
            for leftover in place.glob(".*.tmp"):
                if leftover.is_file():
                    leftover.unlink()


def remove_older_statistics(folder: Path, commit: Commit) -> None:
    """Remove all files of statistics but the commit's newest; only where no reader holds an older commit."""
    with storage_errors(folder):
        for path in folder.glob(STATISTICS):
            if path.name != commit.statistics:
                path.unlink()


def held_since(folder: Path, current: Commit) -> float | None:
    """Remove the files of older commits that no reader holds; when the oldest still held was written.

    A reader holds a shared lock on its commit's file, and the kernel lets go of it even after kill -9.
    """
    oldest: float | None = None
    for path in sorted((folder / COMMITS).glob("*.json")):
        if path == commit_path(folder, current.number) or not path.is_file():
            continue
        if not _removed_unless_held(path):
            written = float(json.loads(path.read_text(encoding="utf-8"))["written_at"])
            oldest = written if oldest is None else min(oldest, written)
    return oldest


def _removed_unless_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        lock(descriptor)
        if os.name != "nt":
            path.unlink()
            return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    with contextlib.suppress(PermissionError):  # Windows removes no open file: a reader came between
        path.unlink()
    return not path.exists()


def lock_for_writing(folder: Path) -> int:
    """The descriptor that keeps other writers out until it is closed.

    Raises:
        IndexStateError: another writer is at work.
    """
    with storage_errors(folder):
        check_kinds(folder)
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        raise IndexStateError(
            f"{folder}: another process is writing to this index; wait for it, or open it for reading"
        ) from None
    return descriptor


def hold_for_reading(folder: Path) -> tuple[Commit, int]:
    """The commit that counts, and the descriptor that keeps its files from being pruned until closed."""
    while True:
        commit = read_commit(folder)
        try:
            descriptor = os.open(commit_path(folder, commit.number), os.O_RDONLY)
        except FileNotFoundError:  # a writer committed and removed it since
            continue
        lock(descriptor, shared=True, wait=True)
        if commit_path(folder, commit.number).is_file():
            return commit, descriptor
        os.close(descriptor)
        time.sleep(0.01)


class Watch:
    """Notices files that changed since they were checked, at the price of one ``stat`` each."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        """Remember how they look now."""
        self._folder = folder
        self._looks = {name: self._look(name) for name in names}

    def check(self) -> None:
        """Refuse to read on where a file was overwritten; one that was pruned is LanceDB's to miss.

        Raises:
            IndexStateError: naming the file.
        """
        for name, before in self._looks.items():
            now = self._look(name)
            if now is not None and before is not None and now != before:
                raise IndexStateError(
                    f"{self._folder / name}: was overwritten while the index was open; "
                    "close it and run: ernie-search index verify"
                )

    def _look(self, name: str) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size, found.st_mtime_ns, found.st_ino


def _data_files(folder: Path) -> list[str]:
    found = [name for name in (CODEC, PROJECTION) if (folder / name).is_file()]
    found += [path.name for path in folder.glob(STATISTICS) if path.is_file()]
    for root, _, names in os.walk(folder / DATA):
        found += [Path(root, name).relative_to(folder).as_posix() for name in names]
    return found


def _problem(folder: Path, name: str, expected: tuple[int, str], pruning: bool) -> str | None:
    path = folder / name
    try:
        size = path.stat().st_size
        if size != expected[0]:
            return f"{path}: holds {size} bytes, {expected[0]} were written"
        if sha256_file(path) != expected[1]:
            return f"{path}: its bytes changed since it was written (SHA-256 differs)"
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        # Also where a writer prunes it while we look.
        return None if pruning else f"{path}: this file is missing"
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"
    return None


def _canonical(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _whole_json(path: Path) -> dict[str, Any]:
    """A JSON object that is byte for byte as this file writes them."""
    raw = path.read_bytes()
    try:
        value = json.loads(raw)
        whole = isinstance(value, dict) and _canonical(value).encode() == raw
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise IndexStateError(
            f"{path}: its bytes changed since it was written; restore the index from a copy"
        )
    return dict(value)
