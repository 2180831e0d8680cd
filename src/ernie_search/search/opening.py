"""From what the command line names to a searcher: an index's folder or address, or a pointer file."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ernie_search.encoding.opening import ChosenPrecision, Runtime
from ernie_search.errors import ErnieSearchError, IndexStateError, SettingsError
from ernie_search.index import open_index
from ernie_search.index.lance_files import INDEX_FILE
from ernie_search.search.searcher import Searcher
from ernie_search.search.settings import Mode
from ernie_search.search.tuning import TUNED_FILE


def usable_modes(searcher: Searcher) -> list[str]:
    """The modes that this index, model and installation can answer, best known first."""
    index = searcher.index
    needs = {
        "words": "bm25" in index.capabilities,
        "dense": True,
        "late": index.has_tokens,
        "hybrid": "bm25" in index.capabilities,
        "cross": searcher.cross is not None,
    }
    return [mode for mode in get_args(Mode) if needs.get(mode, False)]


POINTER_BYTES = 4096
"""A pointer file is one line; anything longer is no pointer."""


def resolve(index: str) -> str:
    """What a pointer file points to, or ``index`` itself; relative paths are the pointer's folder's.

    Raises:
        IndexStateError: a file that is no pointer.
    """
    try:
        pointer = _pointer(index)
    except OSError:
        pointer = b""
    return _target(index, pointer)


def _pointer(index: str) -> bytes | None:
    """A file's bytes, or of a larger one so many that it is no pointer; None where there is no file."""
    path = Path(index)
    if "://" in index or not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(POINTER_BYTES + 1)


def _target(index: str, pointer: bytes | None) -> str:
    """What a pointer file with these bytes points to; ``index`` itself without one."""
    if pointer is None:
        return index
    try:
        text = pointer.decode("utf-8") if len(pointer) <= POINTER_BYTES else ""
    except UnicodeDecodeError:
        text = ""
    target = text.strip().split("\n")[0].strip()
    if not target:
        raise IndexStateError(f"{index}: a file, but no pointer: its first line should name an index")
    return target if "://" in target else str(Path(index).parent / target)


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

    The pointer is read once: its bytes and the content are of the same index, also while it is moved.
    A writer is alone with its index, so only the pointer can bring it something new.
    """
    try:
        pointer = _pointer(index)
        target = _target(index, pointer)
        if "://" in target and not target.startswith("lance://"):
            return Seen(pointer, b"") if pointer else None
        folder = Path(target.removeprefix("lance://"))
        small = folder / INDEX_FILE
        content = small.read_bytes() if small.is_file() and not writable else b""
        tuned = folder / TUNED_FILE
        content += tuned.read_bytes() if content and tuned.is_file() else b""
    except (OSError, ErnieSearchError):
        return None
    return Seen(pointer or b"", content) if pointer or content else None


def open_searcher(
    index: str,
    model: str | Path | None = None,
    *,
    cross: str | None = None,
    mode: Mode | None = None,
    writable: bool = False,
    runtime: Runtime = "auto",
    precision: ChosenPrecision = "fp32",
) -> Searcher:
    """Open an index, and load its model.

    Args:
        index: a folder or an address; see ``resolve`` for pointers.
        model: the model's directory, if it was moved.
        cross: the cross-encoder of mode ``cross``.
        mode: in which it will be searched if a request names none; refused where it is not possible.
        writable: open it for upserts.
        runtime, precision: of the model; see ``open_encoder``.

    Raises:
        SettingsError: ``writable``, but it cannot be written.
        IndexStateError: the index is missing, damaged, or of another model.
        ModelError: a model cannot be loaded.
    """
    target = resolve(index)
    if not writable:
        return Searcher.open(target, model, cross=cross, mode=mode, runtime=runtime, precision=precision)
    found = open_index(target, mode="w")
    try:
        return Searcher.open(found, model, cross=cross, mode=mode, runtime=runtime, precision=precision)
    except BaseException:
        found.close()
        raise


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
