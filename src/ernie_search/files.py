"""Files that are either whole or absent: atomic writes, fingerprints, manifests."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ernie_search.errors import StorageError

MANIFEST = "manifest.json"

FULL_DISK_SIGNS = ("os error 28", "os error 122", "inline_container.cc")
"""ENOSPC and EDQUOT as Rust prints them; the place in torch's zip writer that misses the bytes it wrote."""


def fsync_directory(path: Path) -> None:
    """Make renames inside ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one line that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"{path}: the disk is full; free some space and run again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(f"{path}: not writable ({error.strerror}); choose another place") from error
        raise
    except Exception as error:
        # safetensors and torch.save hide the system's own error in errors of theirs.
        if any(sign in str(error) for sign in FULL_DISK_SIGNS):
            raise StorageError(
                f"{path}: the disk is full; free some space and run the same command again"
            ) from error
        raise


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that appears under its name only when the block ends well.

    Args:
        path: the final name; its folder is made if needed.
        mode: "w" (UTF-8 text) or "wb".

    Raises:
        StorageError: the disk is full or not writable. Nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            fsync_directory(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def remove_unfinished(path: Path) -> None:
    """Remove what killed calls of :func:`atomic_write` left beside ``path``; none may be under way."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its place when the block ends well.

    A folder that already stands there is replaced in two renames. A kill between the two leaves the old
    one under another name, from where :func:`recover_directory` (called here first) brings it back.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    old = path.with_name(f".{path.name}.old")
    with storage_errors(path):
        recover_directory(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            sync_tree(temporary)
            if path.exists():
                os.rename(path, old)
            os.rename(temporary, path)
        except BaseException:
            recover_directory(path)
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_directory(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def recover_directory(path: Path) -> None:
    """Undo a replacement by :func:`atomic_directory` that was killed between its two renames."""
    old = path.with_name(f".{path.name}.old")
    if old.is_dir() and not path.exists():
        os.rename(old, path)


def sync_tree(folder: Path) -> None:
    """fsync every file and folder below ``folder``."""
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(root, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_directory(Path(root))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON."""
    with atomic_write(path) as handle:
        json.dump(value, handle, indent=2, ensure_ascii=False, sort_keys=True)
        handle.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is a StorageError that names file and line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise StorageError(f"{path}{where}: not readable as JSON; delete the file and run again") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


SETTLED = 2.0
"""Seconds after its last change from which a file's time tells it from any later state: some file systems
count in steps of two."""


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a file, read once per process as long as its size, time and place on disk stay the same."""
    now = path.stat()
    if time.time() - now.st_mtime < SETTLED:
        return sha256_file(path)
    return _sha256_of(path, (now.st_size, now.st_mtime_ns, now.st_ino))


@lru_cache(maxsize=4096)
def _sha256_of(path: Path, _state: tuple[int, int, int]) -> str:
    return sha256_file(path)


def fingerprint(*values: Any) -> str:
    """16 hex digits that change when any of the JSON-able ``values`` changes."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """``"; did you mean X?"`` for the nearest known name, else the list of all."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
