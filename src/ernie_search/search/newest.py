"""An index that others change while it is searched: what tells its versions apart, and opening the newest."""

from dataclasses import dataclass
from pathlib import Path

from ernie_search.errors import ErnieSearchError, IndexStateError, SettingsError
from ernie_search.index.lance_files import INDEX_FILE
from ernie_search.search.searcher import Searcher
from ernie_search.search.tuning import TUNED_FILE

POINTER_BYTES = 4096
"""A pointer file is one line; anything longer is no pointer."""


def resolve(index: str) -> str:
    """What a pointer file points to, or ``index`` itself; relative paths are the pointer's folder's.

    Raises:
        IndexStateError: a file that is no pointer.
    """
    path = Path(index)
    if "://" in index or not path.is_file():
        return index
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= POINTER_BYTES else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    target = text.strip().split("\n")[0].strip()
    if not target:
        raise IndexStateError(f"{index}: a file, but no pointer: its first line should name an index")
    return target if "://" in target else str(path.parent / target)


@dataclass(frozen=True, slots=True)
class Seen:
    """What tells one version of an index from the next: two small files, as they were.

    Attributes:
        pointer: the pointer file's bytes, where there is one.
        content: the bytes of the file that an index replaces last, and of its tuned weights.
    """

    pointer: bytes
    content: bytes


def look_at(index: str, *, writable: bool) -> Seen | None:
    """How ``index`` looks now; None for what has no such files, or while they cannot be read.

    A writer is alone with its index, so only the pointer can bring it something new.
    """
    try:
        path = Path(index)
        pointer = path.read_bytes() if "://" not in index and path.is_file() else b""
        target = resolve(index)
        if "://" in target and not target.startswith("lance://"):
            return Seen(pointer, b"") if pointer else None
        folder = Path(target.removeprefix("lance://"))
        small = folder / INDEX_FILE
        content = small.read_bytes() if small.is_file() and not writable else b""
        tuned = folder / TUNED_FILE
        content += tuned.read_bytes() if content and tuned.is_file() else b""
    except (OSError, ErnieSearchError):
        return None
    return Seen(pointer, content) if pointer or content else None


def renewed(searcher: Searcher, *, trust: bool = True) -> Searcher:
    """The newest commit of an index on disk under the same model; what ``searcher`` has open stays so.

    Args:
        searcher: over an older commit.
        trust: see ``Index.newest``.

    Raises:
        IndexStateError: it is missing or damaged.
        SettingsError: everything has to be opened anew: it is of another model now, or not on disk, or
            there is a cross-encoder.
    """
    index = searcher.index
    if searcher.cross is not None:
        raise SettingsError("with a cross-encoder everything is opened anew")
    newest = index.newest(trust=trust)
    if newest.model_fingerprint != searcher.model.fingerprint:
        newest.close()
        raise SettingsError("of another model, everything is opened anew")
    try:
        return Searcher(searcher.model, newest)
    except BaseException:
        newest.close()
        raise
