"""What is kept for this user between processes: built graphs, and checksums of large files."""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ernie_search._util.files import SETTLED, read_json, sha256_file, sync_tree, write_json
from ernie_search.errors import StorageError

KNOWN_FILE = "known_files.json"
MOST = 500
"""Files that are remembered."""
UNUSED = 60 * 24 * 3600.0
"""Seconds after which a graph that nobody opened is removed."""


def cache_folder() -> Path:
    """The user's folder for this package's caches, which need not exist: all in it can be made again.

    ``$XDG_CACHE_HOME/ernie-search`` where that is set, else the platform's place for caches.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given) / "ernie-search"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "ernie-search"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ernie-search"
    return Path.home() / ".cache" / "ernie-search"


def known_sha256(path: Path) -> str:
    """SHA-256 of a file, remembered between processes."""
    return known(path, "sha256", sha256_file)


def known(path: Path, what: str, find: Callable[[Path], str]) -> str:
    """What ``find`` says of a file's content, remembered between processes by its place, size and time.

    A cache that cannot be read or written is passed over.
    """
    now = path.stat()
    key, state = f"{what}:{path.resolve()}", [now.st_size, now.st_mtime_ns]
    found = _listed().get(key)
    if isinstance(found, list) and len(found) == 3 and found[:2] == state and isinstance(found[2], str):
        return found[2]
    value = find(path)
    if time.time() - now.st_mtime >= SETTLED:
        _remember(key, [*state, value])
    return value


def _remember(key: str, value: object) -> None:
    kept = dict(list(_listed().items())[-MOST:]) | {key: value}
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_json(cache_folder() / KNOWN_FILE, kept)
    except (StorageError, OSError):
        return


def graphs_folder() -> Path:
    """The folder of graphs that were made here, without those that nobody opened for long; it exists.

    Raises:
        OSError: it cannot be made.
    """
    folder = cache_folder() / "graphs"
    folder.mkdir(parents=True, exist_ok=True)
    for one in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - one.stat().st_mtime > UNUSED:
                shutil.rmtree(one, ignore_errors=True)
    return folder


@contextlib.contextmanager
def made_once(place: Path, *files: str) -> Iterator[Path]:
    """Yield a folder that becomes ``place`` when the block ends well, unless another process was first.

    What stands there whole is never replaced: others may have opened it, and it was made of the same.

    Args:
        place: the folder to make.
        files: names in it without which it is not whole; something may have cleaned up in the cache.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        yield folder
        sync_tree(folder)
        try:
            os.rename(folder, place)
        except OSError:
            if not place.is_dir():
                raise
            if not all((place / name).is_file() for name in files):
                with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as away:
                    os.rename(place, Path(away) / place.name)
                    os.rename(folder, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def note_use(folder: Path) -> None:
    """Note that a graph's folder was used now."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def _listed() -> dict[str, object]:
    try:
        found = read_json(cache_folder() / KNOWN_FILE)
    except (StorageError, OSError):
        return {}
    return found if isinstance(found, dict) else {}
