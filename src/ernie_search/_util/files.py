"""Files that are either whole or absent: atomic writes, fingerprints, manifests, and what JSON holds."""

import contextlib
import errno
import glob
import hashlib
import json
import math
import numbers
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ernie_search.errors import StorageError

MANIFEST = "manifest.json"

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, a quota that is used up, and a limit on the size of files (``ulimit -f``, FAT)."""
FULL_DISK_SIGNS = ("os error 28", "os error 122", "os error 27", "inline_container.cc")
"""The same as Rust prints them; the place in torch's zip writer that misses the bytes it wrote."""
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
WRONG_KIND = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)
"""A folder where a file is to be written, or the other way round."""


HALF_PAIR = re.compile("[\ud800-\udfff]")


LONGEST_INTEGER = 14_000
"""Bits of a whole number; Python reads and writes up to 4,300 digits."""


def _finite(text: str) -> float | None:
    """A number as JSON writes it; None for one beyond the range of floats, as 1e400."""
    number = float(text)
    return number if math.isfinite(number) else None


JSON = json.JSONDecoder(parse_constant=lambda name: None, parse_float=_finite)
"""Reads what comes from outside: NaN and infinities, which Python writes though JSON has none, are null."""


def check_text(text: object, name: str) -> None:
    """Refuse what is no text, or cannot be written as one; ValueError says what ``name`` is instead."""
    if not isinstance(text, str):
        raise ValueError(f"{name} is of type {type(text).__name__} where a string belongs")
    if not text.isascii() and HALF_PAIR.search(text):
        raise ValueError(
            f"{name} holds half a surrogate pair, which is no character; write the whole character"
        )


def json_value(value: Any, name: str = "the value") -> Any:
    """A value as JSON has it: null for NaN and infinities, plain numbers for NumPy's.

    Args:
        name: what to call it in messages.

    Raises:
        ValueError: text that cannot be written (see ``check_text``), or a value of a type that JSON lacks.
    """
    if isinstance(value, str):
        check_text(value, name)
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > LONGEST_INTEGER:
            raise ValueError(f"{name} has over {LONGEST_INTEGER * 3 // 10:,} digits; write it as text")
        return value
    if isinstance(value, Mapping):
        found = {}
        for key, one in value.items():
            key = str(key) if isinstance(key, int) else key
            check_text(key, f"a key of {name}")
            found[key] = json_value(one, f"{name}.{key}"[:80])
        return found
    if isinstance(value, list | tuple):
        return [json_value(one, name) for one in value]
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if type(value).__module__ == "numpy" and callable(getattr(value, "tolist", None)):
        return json_value(value.tolist(), name)  # a truth value or an array of NumPy's
    raise ValueError(f"{name} cannot be written as JSON: it is of type {type(value).__name__}")


def json_text(value: Any, encoding: str = "utf-8", *, sort: bool = False) -> str:
    """A value as indented JSON that programs in any language read.

    NaN and infinities are null. What the encoding cannot write, and halves of surrogate pairs (of file names
    that are not UTF-8, say), are escaped.

    Args:
        encoding: of the file or the stream that the text is for.
        sort: write the keys of objects in alphabetical order.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=sort, allow_nan=False)
    except ValueError:
        value = JSON.decode(json.dumps(value))
        text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=sort)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, sort_keys=sort)
    return text


def fsync_directory(path: Path) -> None:
    """Make renames inside ``path`` durable; Windows opens no folders, and its file system sees to that."""
    if os.name != "nt":
        fsync_file(path)


def fsync_file(path: Path) -> None:
    """Make what was written to a file durable."""
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file until its descriptor is closed; the system lets go even after kill -9.

    As ``flock`` has it: a second descriptor of the same file is another holder, also in this process, and one
    that a fork inherited is the same.

    Args:
        descriptor: of the file; of a folder, too, but not on Windows.
        shared: any number may hold it at once, while nobody holds it alone.
        wait: until it is free.

    Raises:
        BlockingIOError: another holds it.
        OSError: the file system has no locks.
    """
    import portalocker

    kind = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    try:
        portalocker.lock(descriptor, kind if wait else kind | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked as error:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process holds the lock") from error
    except portalocker.LockException as error:
        raise OSError(errno.ENOLCK, f"cannot be locked ({error})") from error


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one line that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise StorageError(
                f"{path}: the disk is full for a file of this size ({error.strerror}); raise the limit on "
                "the size of files (ulimit -f) or choose another disk, and run again"
            ) from error
        if error.errno in FULL_DISK:
            raise StorageError(f"{path}: the disk is full; free some space and run again") from error
        if error.errno in NOT_WRITABLE:
            raise StorageError(f"{path}: not writable ({error.strerror}); choose another place") from error
        if error.errno in WRONG_KIND:
            raise StorageError(
                f"{path}: cannot be written, as a folder stands where a file belongs, or a file where a "
                f"folder does ({error.filename or path}: {error.strerror}); move it away and run again"
            ) from error
        raise
    except Exception as error:
        # safetensors and torch.save wrap the system's own error in their own.
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
        remove(left)


def is_unfinished(name: str, *paths: str) -> bool:
    """Whether a file of this name is what a killed :func:`atomic_write` of one of these left beside it."""
    return name.endswith(".tmp") and name.startswith(tuple(f".{path}." for path in paths))


def remove(path: Path) -> None:
    """Remove a file, a link (not what it leads to) or a folder with all that it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its place when the block ends well.

    A folder that already stands there is replaced in two renames. A kill between the two leaves the old
    one under another name, from where :func:`recover_directory` (called here first) brings it back. A link
    to a folder stays: the folder that it leads to is replaced.
    """
    path = behind_link(path)
    temporary = path.with_name(f".{path.name}.tmp")
    old = path.with_name(f".{path.name}.old")
    with storage_errors(path):
        recover_directory(path)
        remove(temporary)
        remove(old)
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
        remove(old)


def behind_link(path: Path) -> Path:
    """A folder's own place, where ``path`` is a link to it, or ``.`` or ``..``; else ``path``.

    What lies beside a folder lies beside its own place, whatever it was called by.

    Raises:
        StorageError: a link that leads back to itself.
    """
    if not path.is_symlink() and path.name not in ("", ".."):
        return path
    try:
        found = path.resolve()
        if found.is_symlink():  # a loop, which raises only before Python 3.13
            raise RuntimeError("symlink loop")
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{path}: a link that leads nowhere; name the folder itself") from error
    return found


def seen_from(folder: Path, recorded: str) -> Path:
    """The place of what a manifest in ``folder`` notes by a path as seen from there (``../models/mine``).

    Links are followed before the path is: ``..`` is the parent of the folder that a link leads to.
    """
    return Path(os.path.normpath(folder.resolve() / recorded))


def recover_directory(path: Path) -> None:
    """Undo a replacement by :func:`atomic_directory` that was killed between its two renames."""
    path = behind_link(path)
    old = path.with_name(f".{path.name}.old")
    if old.is_dir() and not path.exists():
        os.rename(old, path)


def sync_tree(folder: Path) -> None:
    """fsync every file and folder below ``folder``."""
    for root, _, names in os.walk(folder):
        for name in names:
            fsync_file(Path(root, name))
        fsync_directory(Path(root))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON; see :func:`json_text`."""
    with atomic_write(path) as handle:
        handle.write(f"{json_text(value, sort=True)}\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is a StorageError that names file and line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:  # also not UTF-8, too many digits, too deep
        where = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise StorageError(f"{path}{where}: not readable as JSON; delete the file and run again") from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


SETTLED = 2.0
"""Seconds after a change from which a file's time identifies its content: some file systems count in steps of
two, and an earlier hash could miss a second change."""


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a file, read once per process as long as its size, times and place on disk stay the same."""
    path = path.resolve()
    now = path.stat()
    if time.time() - now.st_mtime < SETTLED:
        return sha256_file(path)
    return _sha256_of(path, (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino))


@lru_cache(maxsize=4096)
def _sha256_of(path: Path, _state: tuple[int, ...]) -> str:
    return sha256_file(path)


def checksums(folder: Path, *, leave_out: Callable[[str], bool] = lambda name: False) -> dict[str, str]:
    """SHA-256 of every file below ``folder`` by its path there, without those that ``leave_out`` names."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: sha256_file(folder / name) for name in names if not leave_out(name)}


def altered(folder: Path, sums: Mapping[str, str]) -> str | None:
    """The first file that is not as ``checksums`` found it, and what happened to it; ``None`` if all are."""
    for name, digest in sums.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_file(path) != digest:
            return f"{name} was altered since it was written (its SHA-256 differs)"
    return None


def fingerprint(*values: Any) -> str:
    """16 hex digits that change when any of the JSON-able ``values`` changes."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """``"; did you mean X?"`` for the nearest known name, else the list of all."""
    near = get_close_matches(name[:80], known, n=1, cutoff=0.5)  # its time grows with the name's length
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
